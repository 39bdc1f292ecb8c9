//! What the CF API says about itself in its root document: its version, and the address that its
//! links begin with.
//!
//! Invariant: asked in the background, at most once an hour, and only after a call that CF has
//! served; no request waits for it. Callers: `http`.

use super::{Call, CapiClient, CfRequestClient, answer, model};
use crate::upstream::is_loopback;
use http::Method;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use url::Url;

/// Platforms are updated every few weeks.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// Time until the next attempt after a failure.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is known about the API of one destination.
#[derive(Debug, Default)]
pub(super) struct ApiInfo(Mutex<ApiInfoState>);

#[derive(Debug, Default)]
struct ApiInfoState {
    external: Option<Arc<Url>>,
    next: Option<Instant>,
}

impl ApiInfo {
    fn lock(&self) -> std::sync::MutexGuard<'_, ApiInfoState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether it is time to ask; a caller that gets `true` asks.
    fn is_due(&self) -> bool {
        let (now, mut state) = (Instant::now(), self.lock());
        let due = state.next.is_none_or(|next| next <= now);
        if due {
            state.next = Some(now + RETRY_AFTER_FAILURE);
        }
        due
    }

    fn learn(&self, external: Option<Url>) {
        let mut state = self.lock();
        state.external = external.map(Arc::new);
        state.next = Some(Instant::now() + KNOWN_FOR);
    }

    /// Returns the address that the API last gave for itself.
    pub(super) fn external(&self) -> Option<Arc<Url>> {
        self.lock().external.clone()
    }
}

impl CapiClient {
    fn last_version(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the version that the CF API reported last; `None` before the first time.
    pub fn version(&self) -> Option<String> {
        self.last_version().clone()
    }
}

impl CfRequestClient {
    /// Reads the root document in the background, if that is due.
    pub fn learn_version(&self) {
        if !self.api_state.info.is_due() {
            return;
        }
        let this = self.clone();
        self.client.0.tasks.spawn(async move {
            // After a failure it is asked again later; real problems show in the calls that matter.
            let Ok(read) = this.send(&Call::new("read_root", Method::GET, "/")).await else {
                return;
            };
            let root = answer::expect::<model::CfRoot>(&read).unwrap_or_default();
            if let Some(text) = root.version() {
                *this.client.last_version() = Some(text.to_owned());
                this.api_state.info.learn(root.address().and_then(origin));
            }
        });
    }
}

/// Parses an address that is only an origin, https or loopback.
fn origin(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(&url),
        _ => false,
    };
    let more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    let named = !url.username().is_empty() || url.password().is_some();
    (safe && !more && !named).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::origin;
    use rstest::rstest;

    #[rstest]
    #[case("https://api.cf.test", true)]
    #[case("https://api.cf.test:8443/", true)]
    #[case("http://127.0.0.1:8080", true)]
    #[case("http://api.cf.test", false)]
    #[case("https://api.cf.test/cf", false)]
    #[case("https://user@api.cf.test", false)]
    #[case("https://api.cf.test?x", false)]
    #[case("api.cf.test", false)]
    #[case("ftp://api.cf.test", false)]
    fn an_address_is_only_an_origin(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(origin(text).is_some(), expected);
    }
}
