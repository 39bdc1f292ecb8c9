//! Faults of any part, whatever the request is. Invariant: the first `n` matching requests use up a
//! fault, in the order in which faults were armed. Armed by `levers`, used up by `service`.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::levers::echo::Echo;
use crate::part::locked;
use crate::wire::WritePlan;

/// What happens instead of the part's own answer, or before or after it.
#[derive(Clone, Debug)]
pub(crate) enum PartFault {
    /// This answer. The part does not get the request.
    Answer(CannedAnswer),
    /// An error that repeats what the client sent. The part does not get the request.
    Echo(Echo),
    /// No answer until the release, or for a time. Then the part answers.
    Hang(Option<Duration>),
    /// A TCP reset. The part does not get the request.
    Cut,
    /// The part handles the request, but its answer is never sent.
    CommitThenHang,
    /// The part answers, and the bytes of its answer leave by this plan.
    Wire(WritePlan),
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub(crate) struct CannedAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Bytes that are not HTTP. They replace the whole answer.
    pub(crate) raw: Option<Bytes>,
    /// Whether the connection ends with a TCP reset afterwards.
    pub(crate) reset: bool,
}

/// A fault and the number of requests that it is still for.
#[derive(Clone, Debug)]
pub(crate) struct ArmedPartFault {
    pub(crate) fault: PartFault,
    pub(crate) left: usize,
    pub(crate) only: RequestFilter,
}

/// Which requests a fault is for. The default is every request.
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
    /// Reads `METHOD /path-prefix`, or only a path prefix.
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
    /// Adds a fault behind the faults that are already armed.
    pub(crate) fn arm(&self, armed: ArmedPartFault) {
        locked(&self.state).armed.push(armed);
    }

    /// Takes the first fault that matches the request.
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

    /// Removes all faults and the delay.
    pub(crate) fn clear(&self) {
        *locked(&self.state) = PartFaultState::default();
    }

    /// Waits for the next [`PartFaults::release`].
    pub(crate) async fn released(&self) {
        self.released.notified().await;
    }

    /// Releases every request that hangs without a time limit.
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
