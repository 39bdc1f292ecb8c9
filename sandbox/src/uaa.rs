//! The UAA of the foundation: the token endpoint with its three grants, and its public documents.
//! Invariant: exactly one identity provider checks a password, and the journal shows which. Mounted
//! by `lib`.

pub(crate) mod answer;
mod assertion;
pub(crate) mod faults;
mod login_hint;
pub(crate) mod pages;
mod password;
pub(crate) mod refresh;
pub(crate) mod release;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

use crate::clock::Clock;
use crate::identity::{DEFAULT_ORIGIN, Directory, User};
use crate::oauth::{BasicEncoding, OAuthClient, OAuthRefusal, TokenParameters, authenticate};
use crate::part::locked;
use crate::service::AskedProvider;
use crate::token::{CfTokenSpec, CfTokens};
use crate::uaa::answer::AnswerPatch;
use crate::uaa::assertion::Assertions;
use crate::uaa::faults::UaaFaults;
use crate::uaa::refresh::refusal::RefreshRefusal;
use crate::uaa::refresh::{RefreshCall, RefreshTokens};
use crate::uaa::release::UaaRelease;

/// The grant names of RFC 6749 and RFC 7523.
pub(crate) const PASSWORD: &str = "password";
pub(crate) const REFRESH: &str = "refresh_token";
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Grants that UAA knows and that neither client has.
const OTHER_GRANTS: [&str; 3] = ["client_credentials", "authorization_code", "user_token"];

/// A second client, with a secret that must be encoded in Basic credentials.
const SECRET_CLIENT: (&str, &str) = ("sandbox-client", "sandbox-only-s+cr=t%");

/// The UAA's state.
#[derive(Debug)]
pub(crate) struct Uaa {
    pub(crate) base: String,
    pub(crate) clock: Clock,
    pub(crate) tokens: Arc<CfTokens>,
    pub(crate) directory: Directory,
    pub(crate) refresh: RefreshTokens,
    pub(crate) faults: UaaFaults,
    pub(crate) assertions: Assertions,
    pub(crate) settings: Mutex<Settings>,
}

/// Settings that an operator of a UAA could change.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Seconds. `expires_in` is one less, because it is rounded down.
    pub(crate) lifetime: i64,
    pub(crate) default_origin: Option<String>,
    pub(crate) query: QueryParameters,
    /// The claim `origin` of access tokens, if it must differ from the real one.
    pub(crate) claimed_origin: Option<String>,
    pub(crate) patch: Option<AnswerPatch>,
    pub(crate) release: UaaRelease,
}

/// Whether `/oauth/token` takes parameters from the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryParameters {
    /// The default.
    Taken,
    /// `jwt.token.queryString.enabled: false` (F19).
    Refused,
}

/// The user, the scopes and the refresh token that a grant brings.
#[derive(Debug)]
struct GrantOutcome {
    user: User,
    scopes: Vec<String>,
    refresh_token: Option<String>,
    id_token: IdToken,
}

/// Whether a grant brings an id token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdToken {
    /// With the scope `openid`.
    ByScope,
    Never,
}

/// A parsed token call.
struct TokenCall<'a> {
    client: OAuthClient,
    parameters: &'a TokenParameters,
    /// Set by the grant that passes a password on to a provider.
    asked_provider: Option<String>,
}

impl Uaa {
    /// Makes a UAA whose tokens `tokens` signs and whose address is `base`.
    pub(crate) fn new(base: String, clock: Clock, tokens: Arc<CfTokens>) -> Self {
        let settings = Settings {
            lifetime: 1200,
            default_origin: Some(DEFAULT_ORIGIN.to_owned()),
            query: QueryParameters::Taken,
            claimed_origin: None,
            patch: None,
            release: UaaRelease::New,
        };
        Self {
            base,
            clock: clock.clone(),
            directory: Directory::seeded(),
            refresh: RefreshTokens::new(clock, Arc::clone(&tokens)),
            tokens,
            faults: UaaFaults::default(),
            assertions: Assertions::default(),
            settings: Mutex::new(settings),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        locked(&self.settings).clone()
    }

    /// Answers one token call.
    fn token(&self, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let parameters = TokenParameters::read(query, headers, body);
        let grant = parameters.get("grant_type").unwrap_or_default();
        let release = self.settings().release;
        if let Some(fault) = self.faults.next(grant) {
            return fault.answer(release, headers);
        }
        if parameters.have_nul() {
            return release.answer(&OAuthRefusal::unexplained(StatusCode::BAD_REQUEST), headers);
        }
        let refused = |refusal: OAuthRefusal| release.answer(&release.worded(refusal), headers);
        if query.is_some() && self.settings().query == QueryParameters::Refused {
            return refused(faults::query_refused());
        }
        let client = authenticate(&clients(), BasicEncoding::Always, headers, &parameters);
        let client = match client {
            Ok(client) => client,
            Err(refusal) => return refused(refusal),
        };
        let mut call = TokenCall { client, parameters: &parameters, asked_provider: None };
        let mut answer = match self.granted(&mut call) {
            Ok(granted) => self.success(&call.client, granted),
            Err(refusal) => refused(refusal),
        };
        if let Some(asked) = call.asked_provider {
            answer.extensions_mut().insert(AskedProvider(asked));
        }
        answer
    }

    /// Runs the grant of the call.
    fn granted(&self, call: &mut TokenCall<'_>) -> Result<GrantOutcome, OAuthRefusal> {
        match call.parameters.get("grant_type") {
            None | Some("") => {
                Err(OAuthRefusal::bad_request("invalid_request", "Missing grant type"))
            }
            Some(PASSWORD) => password::granted(self, call),
            Some(REFRESH) => self.refreshed(call),
            Some(JWT_BEARER) => assertion::granted(self, call),
            Some(known) if OTHER_GRANTS.contains(&known) => Err(OAuthRefusal::unauthorized_grant()),
            Some(_) => {
                Err(OAuthRefusal::bad_request("unsupported_grant_type", "Unsupported grant type"))
            }
        }
    }

    /// A refresh does not ask the provider. Of the user only a deletion is noticed.
    fn refreshed(&self, call: &TokenCall<'_>) -> Result<GrantOutcome, OAuthRefusal> {
        let release = self.settings().release;
        let value = match (call.parameters.get("refresh_token"), release) {
            (None, UaaRelease::Old) => return Err(RefreshRefusal::Absent.into()),
            (None | Some(""), UaaRelease::New) => return Err(RefreshRefusal::Missing.into()),
            (Some(value), _) => value,
        };
        if !call.client.may(REFRESH) || !self.refresh.settings().is_granted {
            return Err(OAuthRefusal::unauthorized_grant());
        }
        let claims = self.tokens.ring().verified(value);
        if claims.is_some_and(|claims| !is_refresh_token(&claims)) {
            return Err(RefreshRefusal::AccessToken.into());
        }
        let asked = call.parameters.get("scope").unwrap_or_default();
        let refresh = RefreshCall { value, client: &call.client.id, asked, release };
        let used = self.refresh.redeem(&refresh)?;
        let Some(holder) = self.directory.by_guid(&used.user_guid) else {
            return Err(RefreshRefusal::UserGone(used.user_guid).into());
        };
        let refresh_token = Some(used.value);
        let scopes = used.scopes;
        Ok(GrantOutcome { user: holder, scopes, refresh_token, id_token: IdToken::ByScope })
    }

    /// Issues the first refresh token, if client and settings allow it.
    fn first_refresh(
        &self,
        client: &OAuthClient,
        user: &User,
        scopes: &[String],
    ) -> Option<String> {
        let granted = client.may(REFRESH) && self.refresh.settings().is_granted;
        granted.then(|| self.refresh.issue(&client.id, &user.guid, scopes))
    }
}

/// Tells a refresh token from an access token, by its id.
fn is_refresh_token(claims: &Value) -> bool {
    claims.get("jti").and_then(Value::as_str).is_some_and(|id| id.ends_with("-r"))
}

/// Returns the clients: `cf` with its empty secret, and one whose secret must be encoded.
fn clients() -> Vec<OAuthClient> {
    let client = |id: &str, secret: &str| OAuthClient {
        id: id.to_owned(),
        secret: secret.to_owned(),
        grants: [PASSWORD, REFRESH, JWT_BEARER].map(str::to_owned).to_vec(),
        scopes: CfTokenSpec::default().scopes,
        authorities: vec!["uaa.none".to_owned()],
    };
    let (id, secret) = SECRET_CLIENT;
    vec![client("cf", ""), client(id, secret)]
}

/// Mounts the UAA.
pub(crate) fn router(uaa: Arc<Uaa>) -> Router {
    Router::new()
        .route("/oauth/token", get(token).post(token).fallback(other_method))
        .route("/oauth/token/", get(token).post(token).fallback(other_method))
        .merge(pages::router())
        .route("/token_keys", get(pages::token_keys))
        .fallback(pages::elsewhere)
        .method_not_allowed_fallback(pages::elsewhere)
        .layer(axum::middleware::map_response(with_request_id))
        .with_state(uaa)
}

async fn token(
    State(uaa): State<Arc<Uaa>>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if method == Method::POST {
        return uaa.token(query.as_deref(), &headers, &body);
    }
    match uaa.settings().query {
        QueryParameters::Taken => uaa.token(query.as_deref(), &headers, b""),
        QueryParameters::Refused => other_method(method).await,
    }
}

/// F19, another method than POST. GET is one of them only where queries are refused.
async fn other_method(method: Method) -> Response<Body> {
    let text = format!("Request method '{method}' not supported");
    OAuthRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text).answer()
}

/// The router of the platform adds a request id to every answer.
async fn with_request_id(mut answer: Response<Body>) -> Response<Body> {
    let id = uuid::Uuid::new_v4().to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert("x-vcap-request-id", id);
    }
    answer
}
