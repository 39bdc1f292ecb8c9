//! Which version of the CF API answers, for the broker's own root document.
//!
//! Invariant: asked in the background, at most once an hour and behind a token that is there anyway; nobody waits for it.
//! Callers: `http`, after a call that CF has served.

use super::{Call, CapiClient, Foundation, answer, model::Root};
use http::Method;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Platforms are updated every few weeks.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// After a failed question.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the version.
#[derive(Debug, Default)]
pub(super) struct Version(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    text: Option<String>,
    next: Option<Instant>,
}

impl Version {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether it is time to ask; whoever is told so does.
    fn is_due(&self) -> bool {
        let (now, mut seen) = (Instant::now(), self.lock());
        let due = seen.next.is_none_or(|next| next <= now);
        if due {
            seen.next = Some(now + ASK_AGAIN);
        }
        due
    }

    fn learn(&self, text: String) {
        let mut seen = self.lock();
        seen.text = Some(text);
        seen.next = Some(Instant::now() + KNOWN_FOR);
    }
}

impl CapiClient {
    /// Returns the version that the CF API named last; `None` while it has not been seen.
    pub fn version(&self) -> Option<String> {
        self.0.version.lock().text.clone()
    }
}

impl Foundation {
    /// Asks for the version in the background, if that is due.
    pub fn learn_version(&self) {
        if !self.client.0.version.is_due() {
            return;
        }
        let this = self.clone();
        self.client.0.tasks.spawn(async move {
            // A question that fails is asked again later; whatever is wrong shows in calls that matter.
            let Ok(read) = this.send(&Call::new("read_root", Method::GET, "/")).await else {
                return;
            };
            let root = answer::expect::<Root>(&read).unwrap_or_default();
            if let Some(text) = root.version() {
                this.client.0.version.learn(text.to_owned());
            }
        });
    }
}
