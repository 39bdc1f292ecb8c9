//! The three steps of a login, and the logout.
//!
//! Invariant: a code is exchanged only for the browser that began the login, and only once: its
//! cookie is removed by whatever comes back.

use super::{
    LoginError, LoginParts, SessionState,
    cookies::{BEGUN, CookieKeys, PAGE, SetCookie, presented, value_of},
    session::{PageCookie, since_epoch},
};
use crate::{
    auth::{LoginTokens, Verifier},
    oauth::{Grant, TokenEndpoint, TokenResponse},
};
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::HeaderMap;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    num::NonZeroU32,
    time::{Duration, SystemTime},
};
use url::Url;

/// The path to which XSUAA sends the browser back.
const CALLBACK: &str = "/login/callback";
/// The path of the page after a logout.
pub const LOGGED_OUT: &str = "/logged-out";
/// Paths to which a login may lead, besides single spaces. Any other leads to the last one.
const TARGETS: [&str; 4] = ["/", "/destinations", "/docs", "/spaces"];
/// How long a person may take to log in.
const PATIENCE: Duration = Duration::from_secs(600);
/// Logins of one browser that may run at once; the oldest is given up.
const MOST_BEGUN: usize = 5;
/// Characters of `state` in the name of the cookie.
const NAMED: usize = 9;
/// Bytes of `state`, `nonce`, verifier and session id.
const RANDOM: usize = 32;
/// Codes that one process sends to XSUAA per second in the long run. The cookie of a login that has
/// begun can come again with an invented code, so a single browser must not cost XSUAA more.
const CODES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Codes that it sends at once: a whole team that logs in at nine o'clock.
const CODES_AT_ONCE: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// Logs people in.
pub struct LoginFlow {
    client_id: String,
    xsuaa: Url,
    endpoint: TokenEndpoint,
    keys: CookieKeys,
    verifier: Verifier,
    codes: DefaultDirectRateLimiter,
}

/// The content of the cookie of a login that has begun.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BegunLogin {
    state: String,
    nonce: String,
    verifier: String,
    target: String,
    /// Seconds since 1970.
    at: u64,
}

/// What XSUAA sends with the browser.
#[derive(Default)]
struct CallbackAnswer {
    state: String,
    code: Option<SecretString>,
    is_refusal: bool,
}

/// The first answer of a login.
#[derive(Debug)]
pub struct LoginStart {
    /// XSUAA's page.
    pub location: String,
    /// The cookies to set and to remove.
    pub cookies: Vec<SetCookie>,
}

/// The end of a login.
#[derive(Debug)]
pub struct LoginDone {
    /// The path to show.
    pub target: String,
    /// The cookie of the session.
    pub cookie: SetCookie,
}

/// The answer of a logout.
#[derive(Debug)]
pub struct SignOut {
    /// XSUAA's logout, which leads back.
    pub location: String,
    /// The cookies to remove.
    pub cookies: Vec<SetCookie>,
}

impl LoginFlow {
    pub(super) fn new(parts: LoginParts) -> Self {
        Self {
            keys: CookieKeys::of(&parts),
            client_id: parts.client_id,
            xsuaa: parts.xsuaa,
            endpoint: parts.endpoint,
            verifier: parts.verifier,
            codes: RateLimiter::direct(
                Quota::per_second(CODES_PER_SECOND).allow_burst(CODES_AT_ONCE),
            ),
        }
    }

    /// Reads who has logged in.
    pub fn session(&self, headers: &HeaderMap, now: SystemTime) -> SessionState {
        SessionState::read(&self.keys, headers, now)
    }

    /// Begins a login. `wanted` is the path to show afterwards, `base` the broker's public base. A
    /// session that exists ends.
    ///
    /// # Errors
    /// [`LoginError::Cookie`].
    pub fn start(
        &self,
        wanted: Option<&str>,
        base: &str,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<LoginStart, LoginError> {
        let begun = BegunLogin {
            state: random().ok_or(LoginError::Cookie)?,
            nonce: random().ok_or(LoginError::Cookie)?,
            verifier: random().ok_or(LoginError::Cookie)?,
            target: target(wanted.unwrap_or_default()).to_owned(),
            at: since_epoch(now).as_secs(),
        };
        let name = cookie_name(&begun.state).ok_or(LoginError::Cookie)?;
        let cookie = self.keys.seal(&name, &begun, PATIENCE).ok_or(LoginError::Cookie)?;
        let given_up = self.given_up(headers);
        let removed = given_up.into_iter().chain([PAGE]).filter_map(SetCookie::removal);
        let location = self.authorization_url(&begun, base);
        Ok(LoginStart { location, cookies: removed.chain([cookie]).collect() })
    }

    /// Returns the cookies of further logins that leave no room for one more, the oldest first.
    /// Those that cannot be read are older than all others.
    fn given_up<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        let mut begun: Vec<_> = presented(headers)
            .filter(|(name, _)| name.starts_with(BEGUN))
            .map(|(name, value)| {
                (self.keys.open::<BegunLogin>(name, value).map_or(0, |it| it.at), name)
            })
            .collect();
        begun.sort_unstable();
        let many = (begun.len() + 1).saturating_sub(MOST_BEGUN);
        begun.into_iter().take(many).map(|(_, name)| name).collect()
    }

    fn authorization_url(&self, begun: &BegunLogin, base: &str) -> String {
        let challenge = digest::digest(&digest::SHA256, begun.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        self.address(
            "/oauth/authorize",
            &[
                ("response_type", "code"),
                ("client_id", &self.client_id),
                ("redirect_uri", &redirect_uri(base)),
                ("scope", "openid"),
                ("state", &begun.state),
                ("nonce", &begun.nonce),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ],
        )
    }

    /// Ends a login with what XSUAA sent in the query. The cookie of [`LoginFlow::used`] is to be
    /// removed in any case.
    ///
    /// # Errors
    /// Why nobody has logged in.
    ///
    /// # Cancel safety
    /// A code that was sent is used up.
    pub async fn finish(
        &self,
        query: &str,
        base: &str,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<LoginDone, LoginError> {
        let refused = |reason| LoginError::NotAccepted { reason };
        let answer = CallbackAnswer::read(query).ok_or(refused("query"))?;
        let begun = self.begun(&answer.state, headers, now).ok_or(refused("state"))?;
        if answer.is_refusal {
            return Err(refused("error"));
        }
        let code = answer.code.ok_or(refused("code"))?;
        self.codes.check().map_err(|_| LoginError::Busy)?;
        let grant = Grant::AuthorizationCode {
            code,
            verifier: begun.verifier.into(),
            redirect_uri: redirect_uri(base),
        };
        let tokens = self.endpoint.exchange(&grant).await?;
        self.session_of(&tokens, &begun.nonce, now)
            .await
            .map(|cookie| LoginDone { target: target(&begun.target).to_owned(), cookie })
    }

    async fn session_of(
        &self,
        tokens: &TokenResponse,
        nonce: &str,
        now: SystemTime,
    ) -> Result<SetCookie, LoginError> {
        let missing = LoginError::NotAccepted { reason: "id_token" };
        let id = tokens.identity.as_ref().ok_or(missing)?;
        let tokens = LoginTokens { access: &tokens.authorization, id, nonce };
        let login = self.verifier.verify_login(tokens, now).await.map_err(LoginError::Token)?;
        let id = random().ok_or(LoginError::Cookie)?;
        let cookie = PageCookie::begin(&login, id, now).seal(&self.keys);
        let caller = &login.caller;
        tracing::info!(
            subject = caller.subject(),
            origin = caller.origin(),
            zone = caller.zone(),
            token_hash = caller.token_hash(),
            "a person has logged in"
        );
        cookie.ok_or(LoginError::Cookie)
    }

    /// Returns the login to which an answer with this state belongs.
    fn begun(&self, state: &str, headers: &HeaderMap, now: SystemTime) -> Option<BegunLogin> {
        let name = cookie_name(state)?;
        let begun: BegunLogin = self.keys.open(&name, value_of(headers, &name)?)?;
        let is_same = verify_slices_are_equal(begun.state.as_bytes(), state.as_bytes()).is_ok();
        let is_live = since_epoch(now).as_secs() < begun.at.saturating_add(PATIENCE.as_secs());
        (is_same && is_live).then_some(begun)
    }

    /// Returns the removal of the cookie to which a query belongs.
    pub fn used(query: &str) -> Option<SetCookie> {
        SetCookie::removal(&cookie_name(&CallbackAnswer::read(query)?.state)?)
    }

    /// Ends the session here and at XSUAA, which leads back to the page [`LOGGED_OUT`]. The root
    /// would begin a new login, which an identity provider that still knows the person answers at
    /// once.
    pub fn sign_out(&self, base: &str, headers: &HeaderMap) -> SignOut {
        let names = presented(headers).map(|(name, _)| name).filter(|name| name.starts_with(BEGUN));
        let cookies = names.chain([PAGE]).filter_map(SetCookie::removal).collect();
        let after = format!("{base}{LOGGED_OUT}");
        let parameters = [("redirect", after.as_str()), ("client_id", &self.client_id)];
        SignOut { location: self.address("/logout.do", &parameters), cookies }
    }

    /// An address of XSUAA.
    fn address(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = self.xsuaa.clone();
        url.set_path(&format!("{}{path}", self.xsuaa.path().trim_end_matches('/')));
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }
}

impl fmt::Debug for LoginFlow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LoginFlow").field("xsuaa", &self.xsuaa.as_str()).finish_non_exhaustive()
    }
}

impl CallbackAnswer {
    /// Reads a query; `None` if a parameter that counts is there twice.
    fn read(query: &str) -> Option<Self> {
        let mut state = None;
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "state" if state.is_none() => state = Some(value.into_owned()),
                "code" if answer.code.is_none() => answer.code = Some(value.into_owned().into()),
                "state" | "code" => return None,
                "error" => answer.is_refusal = true,
                _ => {}
            }
        }
        Some(Self { state: state.unwrap_or_default(), ..answer })
    }
}

/// The name of the cookie of a login; `None` if the state is not one of ours.
fn cookie_name(state: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(state).ok().filter(|bytes| bytes.len() == RANDOM);
    bytes.and(state.get(..NAMED)).map(|part| format!("{BEGUN}{part}"))
}

fn redirect_uri(base: &str) -> String {
    format!("{base}{CALLBACK}")
}

/// Returns where a login leads.
pub(super) fn target(wanted: &str) -> &str {
    let space = wanted.strip_prefix("/spaces/").is_some_and(is_guid);
    if space || TARGETS.contains(&wanted) { wanted } else { "/spaces" }
}

/// Returns whether a text has the form of a guid of CF.
fn is_guid(text: &str) -> bool {
    let is_valid = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_valid)
}

/// Makes a text of 256 random bits that is safe in a URL; `None` if the system has none.
fn random() -> Option<String> {
    let mut bytes = [0; RANDOM];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
