//! A backend without sockets, for the tests of this module: scripted answers and a record of what
//! was sent.

use super::{
    LogonGrant, TokenVault, VaultDeps,
    backend::{Backend, BackendFuture},
    lease::{GrantedToken, Lease},
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName, SourceKind, model},
    oauth::{
        ExchangeError, Fault, Fingerprint, FingerprintKey, Grant, GrantKind, LoginHint, OriginKey,
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
use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{Layer, layer::Context};
use url::Url;

static KEY: LazyLock<FingerprintKey> = LazyLock::new(FingerprintKey::random);

/// Lifetime of a token on BTP, in seconds.
pub(super) const LIFE: u64 = 1199;

/// What the token endpoint does.
#[derive(Clone, Debug)]
pub(super) enum ScriptedAnswer {
    /// A token with this lifetime in seconds, with a refresh token.
    Token(u64),
    /// The same, without a refresh token.
    NoRefresh(u64),
    Fault(FaultKind),
    /// A 4xx that is no OAuth error.
    Page(u16),
    /// `Retry-After` in seconds.
    Later(FaultKind, u64),
    /// No connection.
    Unsent,
    /// Sent, then the connection broke.
    Broken,
    Panic,
}

/// A grant that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentGrant {
    pub(super) grant: &'static str,
    pub(super) to: Fingerprint,
    pub(super) at: Instant,
}

#[derive(Default)]
struct FakeState {
    contents: HashMap<String, Arc<Destination>>,
    is_service_down: bool,
    is_service_untrusted: bool,
    find_latency: Duration,
    /// Answers to come, per grant; then the usual one.
    script: HashMap<&'static str, VecDeque<ScriptedAnswer>>,
    usual: HashMap<&'static str, ScriptedAnswer>,
    latency: Duration,
    sent: Vec<SentGrant>,
    finds: Vec<CachePolicy>,
    /// Applied when the next password has been answered.
    edit_after_logon: Option<Destination>,
}

/// The fake backend.
#[derive(Default)]
pub(super) struct FakeBackend(Mutex<FakeState>);

/// A vault on a fake backend.
pub(super) struct TestVault {
    pub(super) fake: Arc<FakeBackend>,
    pub(super) vault: TokenVault,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The messages of the log lines that were written.
#[derive(Clone, Default)]
pub(super) struct LogMessages(Arc<Mutex<Vec<String>>>);

impl LogMessages {
    pub(super) fn count(&self, message: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|written| *written == message).count()
    }
}

impl<S: Subscriber> Layer<S> for LogMessages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        });
    }
}

pub(super) fn name(text: &str) -> DestinationName {
    DestinationName::parse(text).unwrap()
}

/// A destination; `password` makes different passwords.
pub(super) fn destination(text: &str, password: u32) -> Destination {
    destination_of("tech@example.com", text, password)
}

/// The same for another user.
pub(super) fn destination_of(user: &str, text: &str, password: u32) -> Destination {
    let credentials = model::PasswordCredentials {
        client_id: "cf".to_owned(),
        client_secret: SecretString::from(""),
        user: user.to_owned(),
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
        identity: None,
        sent_at: Instant::now(),
        claims: None,
    }
}

/// A lease with this lifetime in seconds.
pub(super) fn lease(sent_at: Instant, lifetime: u64) -> Lease {
    let response = TokenResponse { sent_at, ..response(lifetime, Some("canary-refresh-token")) };
    let token = Arc::new(GrantedToken::new(GrantKind::RefreshToken, response, None));
    Lease::new(token, Url::parse("https://api.cf.example.test").unwrap())
}

/// A fresh lease with this token, for tests of other modules.
pub(crate) fn lease_for_tests(api: Url, authorization: HeaderValue) -> Lease {
    let response = TokenResponse { authorization, ..response(LIFE, None) };
    Lease::new(Arc::new(GrantedToken::new(GrantKind::RefreshToken, response, None)), api)
}

fn status_of(kind: FaultKind) -> u16 {
    let others =
        [(FaultKind::QueryNotAllowed, 405), (FaultKind::NotFound, 404), (FaultKind::Redirect, 302)];
    others.iter().find(|(other, _)| *other == kind).map_or(401, |(_, status)| *status)
}

pub(super) fn refused(kind: FaultKind, retry_after: Option<u64>) -> ExchangeError {
    ExchangeError::Refused(Fault {
        kind,
        status: status_of(kind).try_into().unwrap(),
        error: Some("invalid_client".to_owned()),
        excerpt: None,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

/// A 4xx that is no OAuth error.
pub(super) fn page(status: u16) -> ExchangeError {
    ExchangeError::Refused(Fault {
        kind: FaultKind::UnknownRefusal,
        status: status.try_into().unwrap(),
        error: None,
        excerpt: None,
        retry_after: None,
    })
}

/// No connection: nothing was sent.
pub(super) fn unsent() -> ExchangeError {
    let error = reqwest::Identity::from_pem(b"").unwrap_err();
    ExchangeError::Transport(error.into())
}

/// Sent, then no answer.
pub(super) fn broken() -> ExchangeError {
    let answer = http::Response::builder().status(500).body("").unwrap();
    let error = reqwest::Response::from(answer).error_for_status();
    ExchangeError::Transport(error.unwrap_err().into())
}

impl FakeBackend {
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

    pub(super) fn service_is_untrusted(&self) {
        self.state().is_service_untrusted = true;
    }

    /// How long a read past the cache takes.
    pub(super) fn find_latency(&self, latency: Duration) {
        self.state().find_latency = latency;
    }

    pub(super) fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// How `grant` is answered from now on.
    pub(super) fn usually(&self, grant: &'static str, answer: ScriptedAnswer) {
        self.state().usual.insert(grant, answer);
    }

    /// How `grant` is answered first.
    pub(super) fn next(
        &self,
        grant: &'static str,
        answers: impl IntoIterator<Item = ScriptedAnswer>,
    ) {
        let mut state = self.state();
        state.script.entry(grant).or_default().extend(answers);
    }

    pub(super) fn sent(&self) -> Vec<SentGrant> {
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

    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap()
    }

    fn answer(&self, to: &Destination, grant: &'static str) -> ScriptedAnswer {
        let mut state = self.state();
        state.sent.push(SentGrant { grant, to: to.fingerprint, at: Instant::now() });
        if grant == "password"
            && let Some(content) = state.edit_after_logon.take()
        {
            let key = content.name.as_str().to_owned();
            state.contents.insert(key, Arc::new(content));
        }
        let scripted = state.script.get_mut(grant).and_then(VecDeque::pop_front);
        let usual = state.usual.get(grant).cloned();
        scripted.or(usual).unwrap_or(ScriptedAnswer::Token(LIFE))
    }
}

impl FakeBackend {
    async fn found(
        &self,
        name: &DestinationName,
        wanted: CachePolicy,
    ) -> Result<Arc<Destination>, DestinationError> {
        self.state().finds.push(wanted);
        // A real call takes a while; the caller must not rely on an immediate answer.
        let latency = self.state().find_latency;
        if wanted == CachePolicy::Cached {
            tokio::task::yield_now().await;
        } else {
            sleep(latency).await;
        }
        let state = self.state();
        let known = state.contents.get(name.as_str()).cloned();
        if state.is_service_down && (wanted != CachePolicy::Cached || known.is_none()) {
            return Err(DestinationError::Unavailable {
                name: name.to_string(),
                advice: "scripted".to_owned(),
                retry_after: Duration::from_secs(2),
            });
        }
        if state.is_service_untrusted && wanted != CachePolicy::Cached {
            let (name, advice) = (name.to_string(), "scripted".to_owned());
            return Err(DestinationError::Untrusted { name, advice });
        }
        known.ok_or_else(|| DestinationError::Missing {
            name: name.to_string(),
            tried: "fake".to_owned(),
        })
    }

    async fn answered(
        &self,
        to: &Destination,
        grant: &Grant,
    ) -> Result<TokenResponse, ExchangeError> {
        let sent_at = Instant::now();
        let answer = self.answer(to, grant.name());
        let latency = self.state().latency;
        sleep(latency).await;
        let response = match answer {
            ScriptedAnswer::Token(lifetime) => response(lifetime, Some("canary-refresh-token")),
            ScriptedAnswer::NoRefresh(lifetime) => response(lifetime, None),
            ScriptedAnswer::Fault(kind) => return Err(refused(kind, None)),
            ScriptedAnswer::Page(status) => return Err(page(status)),
            ScriptedAnswer::Later(kind, wait) => return Err(refused(kind, Some(wait))),
            ScriptedAnswer::Unsent => return Err(unsent()),
            ScriptedAnswer::Broken => return Err(broken()),
            ScriptedAnswer::Panic => panic!("scripted"),
        };
        Ok(TokenResponse { sent_at, ..response })
    }
}

impl Backend for FakeBackend {
    fn find<'a>(
        &'a self,
        name: &'a DestinationName,
        wanted: CachePolicy,
    ) -> BackendFuture<'a, Result<Arc<Destination>, DestinationError>> {
        Box::pin(self.found(name, wanted))
    }

    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>> {
        self.state().contents.get(name.as_str()).cloned()
    }

    fn read_from(&self, _: &DestinationName) -> Option<SourceKind> {
        Some(SourceKind::SubaccountLevel)
    }

    fn exchange<'a>(
        &'a self,
        to: &'a Destination,
        grant: &'a Grant,
    ) -> BackendFuture<'a, Result<TokenResponse, ExchangeError>> {
        Box::pin(self.answered(to, grant))
    }

    fn assertion(&self) -> BackendFuture<'_, io::Result<SecretString>> {
        Box::pin(async { Ok(SecretString::from("canary-assertion")) })
    }
}

impl fmt::Debug for FakeBackend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FakeBackend")
    }
}

impl TestVault {
    /// One destination, `CFAPI`, that logs on with a password.
    pub(super) fn new() -> Self {
        Self::with(&["CFAPI"], LogonGrant::Password)
    }

    pub(super) fn with(names: &[&str], grant: LogonGrant) -> Self {
        let fake = Arc::new(FakeBackend::default());
        for text in names {
            fake.put(destination(text, 1));
        }
        Self::on(fake, names, grant)
    }

    /// A restarted process with the same backend.
    pub(super) fn on(fake: Arc<FakeBackend>, names: &[&str], grant: LogonGrant) -> Self {
        Self::instance(fake, names, grant, None)
    }

    /// The same as this instance of the app.
    pub(super) fn instance(
        fake: Arc<FakeBackend>,
        names: &[&str],
        grant: LogonGrant,
        instance_index: Option<u32>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let deps = VaultDeps {
            endpoint_factory: Arc::new(|_, _| unreachable!("the fake has its own answers")),
            tasks: tasks.clone(),
            stop: stop.clone(),
            metrics: Metrics::default(),
            instance_index,
        };
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        let backend = Arc::clone(&fake) as Arc<dyn Backend>;
        let vault = TokenVault::on(&backend, &names, grant, deps);
        Self { fake, vault, tasks, stop }
    }

    /// A lease of `CFAPI`.
    pub(super) async fn lease(&self) -> Result<Arc<Lease>, super::LeaseRefusal> {
        self.lease_of("CFAPI").await
    }

    /// An operator's release for `CFAPI`.
    pub(super) async fn release(
        &self,
        force: super::Force,
    ) -> Result<super::ReleasedAttempt, super::RetryError> {
        self.vault.retry(&name("CFAPI"), force, |_| ()).await
    }

    pub(super) async fn lease_of(&self, text: &str) -> Result<Arc<Lease>, super::LeaseRefusal> {
        self.vault.lease(&name(text)).await
    }

    /// Makes one call per second for `seconds`. Returns how many were refused.
    pub(super) async fn callers_for(&self, seconds: u64) -> usize {
        let mut refused = 0;
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            refused += usize::from(self.lease().await.is_err());
        }
        refused
    }
}
