//! A landscape without sockets: scripted answers, a journal of what was sent. For the tests of this room.

use super::{
    gates::Gates,
    house::House,
    lease::{Lease, Token},
    ports::Ports,
    schedule::Window,
    settings::LogonGrant,
    vault::Vault,
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName, SourceKind, model},
    oauth::{
        ExchangeError, Fault, Fingerprint, FingerprintKey, Grant, LoginHint, OriginKey,
        TokenResponse, fault::FaultKind, fingerprint::Credentials,
    },
    telemetry::metrics::Metrics,
};
use http::HeaderValue;
use secrecy::SecretString;
use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

static KEY: LazyLock<FingerprintKey> = LazyLock::new(FingerprintKey::random);

/// Lifetime of a token on BTP.
pub(super) const LIFE: u64 = 1199;

/// What the token endpoint does.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A token that lives so long, with a refresh token.
    Token(u64),
    /// Likewise, without one.
    NoRefresh(u64),
    Fault(FaultKind),
    /// `Retry-After` in seconds.
    Later(FaultKind, u64),
    /// No connection.
    Unsent,
    /// Sent, then the connection broke.
    Broken,
    Crash,
}

/// A grant that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) grant: &'static str,
    pub(super) to: Fingerprint,
    pub(super) at: Instant,
}

#[derive(Default)]
struct State {
    contents: HashMap<String, Arc<Destination>>,
    is_service_down: bool,
    /// Answers to come, per grant; then the usual one.
    script: HashMap<&'static str, VecDeque<Answer>>,
    usual: HashMap<&'static str, Answer>,
    latency: Duration,
    sent: Vec<Sent>,
    finds: Vec<CachePolicy>,
    /// Applied when the next password has been answered.
    edit_after_logon: Option<Destination>,
}

/// The fake.
#[derive(Default)]
pub(super) struct Fake(Mutex<State>);

/// The fake with a vault on it.
pub(super) struct Stage {
    pub(super) fake: Arc<Fake>,
    pub(super) vault: Arc<Vault<Fake>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

pub(super) fn name(text: &str) -> DestinationName {
    DestinationName::parse(text).unwrap()
}

/// A destination; `password` tells passwords apart.
pub(super) fn destination(text: &str, password: u32) -> Destination {
    let credentials = model::PasswordCredentials {
        client_id: "cf".to_owned(),
        client_secret: SecretString::from(""),
        user: "tech@example.com".to_owned(),
        password: SecretString::from(format!("canary-password-{password}")),
    };
    let token_url = Url::parse("https://login.cf.example.test/oauth/token").unwrap();
    let hint = LoginHint::new(OriginKey::parse("acme-platform").unwrap());
    let fingerprint = KEY.fingerprint(&Credentials {
        token_url: token_url.as_str(),
        client_id: &credentials.client_id,
        client_secret: &credentials.client_secret,
        user: &credentials.user,
        password: &credentials.password,
        login_hint: Some(&hint),
    });
    Destination {
        name: name(text),
        source: SourceKind::SubaccountLevel,
        api: Url::parse("https://api.cf.example.test").unwrap(),
        token_url,
        credentials,
        login_hint: Some(hint),
        scope: None,
        extra: Vec::new(),
        headers: http::HeaderMap::new(),
        fingerprint,
    }
}

pub(super) fn response(lifetime: u64, refresh: Option<&str>) -> TokenResponse {
    let mut authorization = HeaderValue::from_static("bearer canary-access-token");
    authorization.set_sensitive(true);
    TokenResponse {
        access_token: SecretString::from("canary-access-token"),
        refresh_token: refresh.map(SecretString::from),
        expires_in: Some(Duration::from_secs(lifetime)),
        scope: None,
        authorization,
        sent_at: Instant::now(),
        claims: None,
    }
}

/// A lease that lives so long.
pub(super) fn lease(sent_at: Instant, lifetime: u64) -> Lease {
    let response = TokenResponse { sent_at, ..response(lifetime, Some("canary-refresh-token")) };
    let window = Window::new(response.sent_at, response.expires_in, 0.5);
    let token = Arc::new(Token::new(response, None, window));
    Lease::new(token, Url::parse("https://api.cf.example.test").unwrap())
}

pub(super) fn refused(kind: FaultKind, retry_after: Option<u64>) -> ExchangeError {
    ExchangeError::Refused(Fault {
        kind,
        status: 401.try_into().unwrap(),
        error: Some("invalid_client".to_owned()),
        excerpt: None,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

/// No connection: nothing was sent.
pub(super) fn unsent() -> ExchangeError {
    let error = reqwest::Identity::from_pem(b"").unwrap_err();
    ExchangeError::Transport(error.into())
}

/// Sent, and then nothing was heard.
pub(super) fn broken() -> ExchangeError {
    let answer = http::Response::builder().status(500).body("").unwrap();
    let error = reqwest::Response::from(answer).error_for_status();
    ExchangeError::Transport(error.unwrap_err().into())
}

impl Fake {
    pub(super) fn put(&self, content: Destination) {
        let key = content.name.as_str().to_owned();
        self.state().contents.insert(key, Arc::new(content));
    }

    pub(super) fn put_after_logon(&self, content: Destination) {
        self.state().edit_after_logon = Some(content);
    }

    pub(super) fn delete(&self, text: &str) {
        self.state().contents.remove(text);
    }

    pub(super) fn service_is_down(&self, is_down: bool) {
        self.state().is_service_down = is_down;
    }

    pub(super) fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// What `grant` is answered with from now on.
    pub(super) fn usually(&self, grant: &'static str, answer: Answer) {
        self.state().usual.insert(grant, answer);
    }

    /// What `grant` is answered with first.
    pub(super) fn next(&self, grant: &'static str, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.state();
        state.script.entry(grant).or_default().extend(answers);
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    pub(super) fn grants(&self) -> Vec<&'static str> {
        self.state().sent.iter().map(|sent| sent.grant).collect()
    }

    pub(super) fn count(&self, grant: &str) -> usize {
        let state = self.state();
        state.sent.iter().filter(|sent| sent.grant == grant).count()
    }

    pub(super) fn finds(&self, wanted: CachePolicy) -> usize {
        let state = self.state();
        state.finds.iter().filter(|find| **find == wanted).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, to: &Destination, grant: &'static str) -> Answer {
        let mut state = self.state();
        state.sent.push(Sent { grant, to: to.fingerprint, at: Instant::now() });
        if grant == "password"
            && let Some(content) = state.edit_after_logon.take()
        {
            let key = content.name.as_str().to_owned();
            state.contents.insert(key, Arc::new(content));
        }
        let scripted = state.script.get_mut(grant).and_then(VecDeque::pop_front);
        let usual = state.usual.get(grant).cloned();
        scripted.or(usual).unwrap_or(Answer::Token(LIFE))
    }
}

impl Ports for Fake {
    async fn find(
        &self,
        name: &DestinationName,
        wanted: CachePolicy,
    ) -> Result<Arc<Destination>, DestinationError> {
        self.state().finds.push(wanted);
        // A call takes a while; the caller must not rely on an answer at once.
        tokio::task::yield_now().await;
        let state = self.state();
        let known = state.contents.get(name.as_str()).cloned();
        if state.is_service_down && (wanted != CachePolicy::Cached || known.is_none()) {
            return Err(DestinationError::Unavailable {
                name: name.to_string(),
                retry_after: Duration::from_secs(2),
            });
        }
        known.ok_or_else(|| DestinationError::Missing {
            name: name.to_string(),
            tried: "fake".to_owned(),
        })
    }

    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>> {
        self.state().contents.get(name.as_str()).cloned()
    }

    async fn exchange(
        &self,
        to: &Destination,
        grant: &Grant,
    ) -> Result<TokenResponse, ExchangeError> {
        let sent_at = Instant::now();
        let answer = self.answer(to, grant.name());
        let latency = self.state().latency;
        sleep(latency).await;
        let response = match answer {
            Answer::Token(lifetime) => response(lifetime, Some("canary-refresh-token")),
            Answer::NoRefresh(lifetime) => response(lifetime, None),
            Answer::Fault(kind) => return Err(refused(kind, None)),
            Answer::Later(kind, wait) => return Err(refused(kind, Some(wait))),
            Answer::Unsent => return Err(unsent()),
            Answer::Broken => return Err(broken()),
            Answer::Crash => panic!("scripted"),
        };
        Ok(TokenResponse { sent_at, ..response })
    }

    async fn assertion(&self) -> io::Result<SecretString> {
        Ok(SecretString::from("canary-assertion"))
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Fake")
    }
}

impl Stage {
    /// One destination, `CFAPI`, that logs on with a password.
    pub(super) fn new() -> Self {
        Self::with(&["CFAPI"], LogonGrant::Password)
    }

    pub(super) fn with(names: &[&str], grant: LogonGrant) -> Self {
        let fake = Arc::new(Fake::default());
        for text in names {
            fake.put(destination(text, 1));
        }
        Self::on(fake, names, grant)
    }

    /// Another process life on the same landscape.
    pub(super) fn on(fake: Arc<Fake>, names: &[&str], grant: LogonGrant) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let house = House {
            ports: Arc::clone(&fake),
            grant,
            gates: Gates::default(),
            slots: super::slots(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            metrics: Metrics::default(),
            born: Instant::now(),
        };
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        let vault = Arc::new(Vault::new(&names, house));
        Self { fake, vault, tasks, stop }
    }

    /// What `TokenVault::lease` does, for `CFAPI`.
    pub(super) async fn lease(&self) -> Result<Arc<Lease>, super::Refusal> {
        self.lease_of("CFAPI").await
    }

    pub(super) async fn lease_of(&self, text: &str) -> Result<Arc<Lease>, super::Refusal> {
        let name = name(text);
        match self.vault.fresh(&name) {
            Some(lease) => Ok(lease),
            None => self.vault.lease(&name).await,
        }
    }

    /// Lets `seconds` pass with a caller in each of them; returns how many were refused.
    pub(super) async fn callers_for(&self, seconds: u64) -> usize {
        let mut refused = 0;
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            refused += usize::from(self.lease().await.is_err());
        }
        refused
    }
}
