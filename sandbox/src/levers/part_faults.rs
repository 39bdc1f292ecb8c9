//! The generic levers: what can go wrong at any part, whatever was asked. Invariant: a fault is used up by the first `n` requests
//! that fit it, in the order in which faults were armed. Armed by `levers`, consumed by `service`.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::part::locked;
use crate::wire::WritePlan;

/// What happens instead of, before or after the part's own answer.
#[derive(Clone, Debug)]
pub(crate) enum PartFault {
    /// This answer; the part is not asked.
    Answer(CannedAnswer),
    /// No answer until it is released, or for a time; then the part is asked.
    Hang(Option<Duration>),
    /// A TCP reset; the part is not asked.
    Cut,
    /// The part is asked, the answer is never sent.
    CommitThenHang,
    /// The part is asked, and its answer leaves by this plan.
    Wire(WritePlan),
}

/// A ready-made answer.
#[derive(Clone, Debug)]
pub(crate) struct CannedAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Bytes that are no HTTP at all; they replace everything.
    pub(crate) raw: Option<Bytes>,
    /// Whether the connection then ends with a TCP reset.
    pub(crate) reset: bool,
}

/// A fault that waits for its requests.
#[derive(Clone, Debug)]
pub(crate) struct ArmedPartFault {
    pub(crate) fault: PartFault,
    pub(crate) left: usize,
    pub(crate) only: RequestFilter,
}

/// Which requests a fault is for; the default is every one.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestFilter {
    pub(crate) method: Option<String>,
    pub(crate) path: String,
}

/// The faults of one part.
#[derive(Debug, Default)]
pub(crate) struct PartFaults {
    state: Mutex<PartFaultState>,
    released: Notify,
}

#[derive(Debug, Default)]
struct PartFaultState {
    armed: Vec<ArmedPartFault>,
    latency: Duration,
}

impl RequestFilter {
    /// Reads `method path-prefix`, or a path prefix alone.
    pub(crate) fn parse(text: &str) -> Self {
        match text.trim().split_once(' ') {
            Some((method, path)) => {
                Self { method: Some(method.to_ascii_uppercase()), path: path.trim().to_owned() }
            }
            None => Self { method: None, path: text.trim().to_owned() },
        }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method) && path.starts_with(&self.path)
    }
}

impl PartFaults {
    /// Adds a fault behind those that wait already.
    pub(crate) fn arm(&self, armed: ArmedPartFault) {
        locked(&self.state).armed.push(armed);
    }

    /// Takes the first fault that fits the request.
    pub(crate) fn next(&self, method: &str, path: &str) -> Option<PartFault> {
        let mut state = locked(&self.state);
        let armed = state.armed.iter_mut().find(|armed| armed.only.fits(method, path))?;
        armed.left = armed.left.saturating_sub(1);
        let fault = armed.fault.clone();
        state.armed.retain(|armed| armed.left > 0);
        Some(fault)
    }

    /// Returns the delay of every answer.
    pub(crate) fn latency(&self) -> Duration {
        locked(&self.state).latency
    }

    /// Delays every answer from now on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        locked(&self.state).latency = latency;
    }

    /// Disarms everything.
    pub(crate) fn clear(&self) {
        *locked(&self.state) = PartFaultState::default();
    }

    /// Waits for the next [`PartFaults::release`].
    pub(crate) async fn released(&self) {
        self.released.notified().await;
    }

    /// Lets every request go on that hangs without a time.
    pub(crate) fn release(&self) {
        self.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{ArmedPartFault, PartFault, PartFaults, RequestFilter};

    #[test]
    fn a_fault_waits_for_its_request_and_is_used_up() {
        let faults = PartFaults::default();
        faults.arm(ArmedPartFault {
            fault: PartFault::Cut,
            left: 2,
            only: RequestFilter::parse("post /oauth"),
        });
        assert!(faults.next("GET", "/oauth/token").is_none());
        assert!(faults.next("POST", "/info").is_none());
        assert!(faults.next("POST", "/oauth/token").is_some());
        assert!(faults.next("POST", "/oauth/token").is_some());
        assert!(faults.next("POST", "/oauth/token").is_none());
    }

    #[test]
    fn without_a_rule_every_request_fits() {
        let faults = PartFaults::default();
        faults.arm(ArmedPartFault {
            fault: PartFault::Cut,
            left: 1,
            only: RequestFilter::default(),
        });
        assert!(faults.next("GET", "/").is_some());
    }
}
