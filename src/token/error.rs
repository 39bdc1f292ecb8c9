//! Why there is no token, in words for the administrator who repairs it.
//!
//! Invariant: every text here is ours; no text of an upstream gets in. Made by `provider` and
//! `entry`; turned into problems by `http`.

use crate::destination::{DestinationError, DestinationName, SourceKind};
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Shortest `Retry-After`: an immediate retry would only get the same refusal.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// Why there is no lease now. Remembered until `retry_at`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token for destination {destination}: {reason}")]
pub struct LeaseRefusal {
    /// Name of the destination.
    pub destination: String,
    /// The reason.
    pub reason: Reason,
    /// When a retry makes sense; `None` if waiting alone does not help.
    pub retry_at: Option<Instant>,
    /// Where the destination is read from; `None` if no source holds it.
    pub read_from: Option<SourceKind>,
}

/// What an administrator must know; one per public problem code of the token part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no destination of that name.
    DestinationMissing,
    /// The destination breaks a rule of the broker; no request was made.
    DestinationInvalid {
        /// All findings at once.
        findings: Vec<String>,
    },
    /// The Destination service cannot say what the destination holds.
    DestinationUnavailable {
        /// Which system does not answer, and what is known.
        advice: String,
    },
    /// The same, because a certificate is refused: waiting does not help.
    DestinationUntrusted {
        /// Which system, and what to do.
        advice: String,
    },
    /// The logon was refused; nothing is sent until the credentials change.
    Rejected {
        /// What is known, and what to do.
        advice: String,
    },
    /// The assertion was refused for a reason that the broker does not know.
    AssertionRejected {
        /// What is known, and what to do.
        advice: String,
    },
    /// The identity provider wants a second factor.
    SecondFactor,
    /// The user or the landscape needs a repair outside the destination.
    ActionRequired {
        /// What to do.
        advice: String,
    },
    /// Origin unknown, grant withdrawn or wrong token URL: the destination must change.
    Misconfigured {
        /// What to do.
        advice: String,
    },
    /// Too many failed logons; the lock ends by itself.
    Locked {
        /// Who has locked, and what to do.
        advice: String,
    },
    /// The login server answers with 429, 5xx, an unreadable answer or not at all.
    UaaUnavailable(UaaOutage),
    /// The caller's time ended while the login server had not answered.
    UaaSlow,
    /// The login server cannot be reached, perhaps until somebody acts.
    UaaUnreachable {
        /// What is known, and what to do.
        advice: String,
    },
    /// The certificate of the login server is refused: waiting does not help.
    UaaUntrusted {
        /// What to do.
        advice: String,
    },
    /// The last passwords had no clear result and may count as wrong ones, so the next one waits.
    Unclear {
        /// When it may be sent.
        until: Instant,
    },
    /// The token URL was answered by something that is no token endpoint.
    NoTokenEndpoint {
        /// Status of the answer.
        status: u16,
    },
    /// A refresh was answered by something that is no token endpoint.
    RefreshMisdirected {
        /// Status of the answer.
        status: u16,
    },
    /// A bug in the broker.
    Internal,
}

impl LeaseRefusal {
    /// Returns whether waiting may help.
    pub fn is_transient(&self) -> bool {
        match self.reason {
            Reason::DestinationUnavailable { .. }
            | Reason::Locked { .. }
            | Reason::UaaUnavailable(_)
            | Reason::UaaSlow
            | Reason::UaaUnreachable { .. }
            | Reason::Unclear { .. }
            | Reason::NoTokenEndpoint { .. }
            | Reason::RefreshMisdirected { .. } => true,
            Reason::DestinationMissing
            | Reason::DestinationInvalid { .. }
            | Reason::DestinationUntrusted { .. }
            | Reason::Rejected { .. }
            | Reason::AssertionRejected { .. }
            | Reason::SecondFactor
            | Reason::ActionRequired { .. }
            | Reason::Misconfigured { .. }
            | Reason::UaaUntrusted { .. }
            | Reason::Internal => false,
        }
    }

    /// Returns how long to wait before a retry, at least 1 s; `None` if waiting does not help.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        let at = self.retry_at.filter(|_| self.is_transient())?;
        Some(at.saturating_duration_since(now).max(SHORTEST_RETRY))
    }

    /// Returns what to do about it, for a log line or a list.
    pub fn hint(&self) -> String {
        let hint = self.reason.hint();
        match (&self.reason, self.read_from) {
            (Reason::DestinationMissing, None) => {
                "bind a Destination service or a user-provided service that holds it, and restart"
                    .to_owned()
            }
            (_, Some(source)) if self.needs_restart() => {
                format!("{hint} (a change of {} needs a restart of the broker)", source.place())
            }
            _ => hint,
        }
    }

    /// Returns whether the destination may have to be corrected and is read only at start.
    pub fn needs_restart(&self) -> bool {
        let is_in_destination = match self.reason {
            Reason::DestinationMissing
            | Reason::DestinationInvalid { .. }
            | Reason::Rejected { .. }
            | Reason::ActionRequired { .. }
            | Reason::Misconfigured { .. }
            | Reason::NoTokenEndpoint { .. }
            | Reason::RefreshMisdirected { .. }
            | Reason::UaaUnreachable { .. }
            | Reason::UaaUntrusted { .. } => true,
            Reason::DestinationUnavailable { .. }
            | Reason::DestinationUntrusted { .. }
            | Reason::AssertionRejected { .. }
            | Reason::SecondFactor
            | Reason::Locked { .. }
            | Reason::UaaUnavailable(_)
            | Reason::UaaSlow
            | Reason::Unclear { .. }
            | Reason::Internal => false,
        };
        is_in_destination && self.read_from.is_some_and(|source| !source.is_read_again())
    }

    pub(super) fn new(name: &DestinationName, reason: Reason, retry_at: Option<Instant>) -> Self {
        Self { destination: name.as_str().to_owned(), reason, retry_at, read_from: None }
    }

    /// Names the source of the destination.
    pub(super) fn with_read_from(mut self, source: Option<SourceKind>) -> Self {
        self.read_from = source;
        self
    }

    /// Turns a destination error into a refusal.
    pub(super) fn of_destination(
        name: &DestinationName,
        error: DestinationError,
        now: Instant,
    ) -> Self {
        let (reason, retry_at) = match error {
            DestinationError::Missing { .. } => (Reason::DestinationMissing, None),
            DestinationError::Invalid { findings, .. } => {
                (Reason::DestinationInvalid { findings }, None)
            }
            DestinationError::Untrusted { advice, .. } => {
                (Reason::DestinationUntrusted { advice }, None)
            }
            DestinationError::Unavailable { advice, retry_after, .. } => {
                (Reason::DestinationUnavailable { advice }, Some(now + retry_after))
            }
        };
        Self::new(name, reason, retry_at)
    }
}

impl Reason {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        let text = match self {
            Self::DestinationMissing => "create the destination in the subaccount",
            Self::DestinationInvalid { findings } => return findings.join("; "),
            Self::SecondFactor => {
                "switch off two-factor authentication for the technical user, then release one attempt"
            }
            Self::DestinationUnavailable { advice }
            | Self::DestinationUntrusted { advice }
            | Self::Rejected { advice }
            | Self::AssertionRejected { advice }
            | Self::ActionRequired { advice }
            | Self::Misconfigured { advice }
            | Self::Locked { advice }
            | Self::UaaUnreachable { advice }
            | Self::UaaUntrusted { advice } => advice,
            Self::UaaUnavailable(_) | Self::UaaSlow => "wait for the login server",
            Self::Unclear { until } => return unclear_hint(*until),
            Self::NoTokenEndpoint { status } => {
                return format!(
                    "HTTP {status} is no answer of a token endpoint; the broker asks again without a password; if it \
                     lasts, check host and path of the token URL"
                );
            }
            Self::RefreshMisdirected { status } => {
                return format!(
                    "HTTP {status} to a refresh is no answer of a token endpoint; the broker repeats the refresh, and \
                     logs on instead if it keeps failing; if it lasts, check host and path of the token URL"
                );
            }
            Self::Internal => "report it with the broker's log",
        };
        text.to_owned()
    }
}

fn unclear_hint(until: Instant) -> String {
    format!(
        "a logon without a clear answer may count as a wrong password, and five lock the user: the next one is sent at \
         {} or later; an operator can release one attempt before (POST /destinations/{{name}}/retry), but only with a \
         password that is known to be right: it may be the fifth",
        clock_time(until)
    )
}

/// Returns the wall time of a moment to come, as RFC 3339. Only for texts.
pub fn clock_time(at: Instant) -> String {
    let wait = at.saturating_duration_since(Instant::now());
    #[expect(clippy::disallowed_methods, reason = "a text; nothing is decided by it")]
    let now = SystemTime::now();
    humantime::format_rfc3339_seconds(now.checked_add(wait).unwrap_or(now)).to_string()
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::DestinationMissing => "destination missing",
            Self::DestinationInvalid { .. } => "destination invalid",
            Self::DestinationUnavailable { .. } => "destination service unavailable",
            Self::DestinationUntrusted { .. } => "certificate for the destination refused",
            Self::Rejected { .. } | Self::AssertionRejected { .. } => "technical user rejected",
            Self::SecondFactor => "second factor required",
            Self::ActionRequired { .. } => "technical user needs a repair",
            Self::Misconfigured { .. } => "destination misconfigured",
            Self::Locked { .. } => "technical user locked",
            Self::UaaUnavailable(_) => "login server unavailable",
            Self::UaaSlow => "login server slow",
            Self::UaaUnreachable { .. } => "login server unreachable",
            Self::UaaUntrusted { .. } => "certificate of the login server refused",
            Self::Unclear { .. } => "logon without a clear answer",
            Self::NoTokenEndpoint { .. } => "no token endpoint",
            Self::RefreshMisdirected { .. } => "refresh not answered by a token endpoint",
            Self::Internal => "internal",
        })
    }
}

/// What the login server does in place of a usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UaaOutage {
    /// No connection can be made.
    NotReached,
    /// It took the request and gave no whole answer.
    NoAnswer,
    /// 429.
    RateLimited,
    /// Its router says that it reaches no instance.
    NotRunning,
    /// 408 and 5xx.
    ServerError,
    /// It could not ask the identity provider.
    ProviderTrouble,
    /// An answer that is none of a token endpoint.
    Unreadable,
    /// The credentials have changed, and a logon with the new ones is under way.
    Changing,
}

impl UaaOutage {
    /// Returns what is known, for people: the end of a sentence that begins with the login server.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotReached => "cannot be reached",
            Self::NoAnswer => "took the request, and gave no whole answer",
            Self::RateLimited => "answers that it gets too many requests (429)",
            Self::NotRunning => "is not available, as its router says",
            Self::ServerError => "answers with a server error (5xx or time-out)",
            Self::ProviderTrouble => "could not ask the identity provider of the technical user",
            Self::Unreadable => "gives an answer that cannot be read",
            Self::Changing => "is being asked with the changed credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LeaseRefusal, Reason, UaaOutage};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::Instant;

    fn refusal(reason: Reason, wait: Option<Duration>) -> (LeaseRefusal, Instant) {
        let now = Instant::now();
        let refusal = LeaseRefusal {
            destination: "CFAPI".to_owned(),
            reason,
            retry_at: wait.map(|wait| now + wait),
            read_from: None,
        };
        (refusal, now)
    }

    #[rstest]
    #[case(Reason::DestinationMissing, false)]
    #[case(Reason::DestinationInvalid { findings: Vec::new() }, false)]
    #[case(Reason::DestinationUnavailable { advice: String::new() }, true)]
    #[case(Reason::DestinationUntrusted { advice: String::new() }, false)]
    #[case(Reason::UaaUntrusted { advice: String::new() }, false)]
    #[case(Reason::UaaSlow, true)]
    #[case(Reason::Rejected { advice: String::new() }, false)]
    #[case(Reason::SecondFactor, false)]
    #[case(Reason::ActionRequired { advice: String::new() }, false)]
    #[case(Reason::Misconfigured { advice: String::new() }, false)]
    #[case(Reason::Locked { advice: String::new() }, true)]
    #[case(Reason::UaaUnreachable { advice: String::new() }, true)]
    #[case(Reason::UaaUnavailable(UaaOutage::NotReached), true)]
    #[case(Reason::Unclear { until: Instant::now() }, true)]
    #[case(Reason::NoTokenEndpoint { status: 302 }, true)]
    #[case(Reason::RefreshMisdirected { status: 302 }, true)]
    #[case(Reason::Internal, false)]
    fn only_transient_reasons_have_a_wait(#[case] reason: Reason, #[case] transient: bool) {
        let (refusal, now) = refusal(reason, Some(Duration::from_secs(7)));
        assert_eq!(refusal.is_transient(), transient);
        let wait = refusal.retry_after(now);
        assert_eq!(wait, transient.then_some(Duration::from_secs(7)));
    }

    #[test]
    fn a_moment_in_the_past_asks_for_one_second() {
        let (refusal, now) =
            refusal(Reason::UaaUnavailable(UaaOutage::NotReached), Some(Duration::ZERO));
        let later = now + Duration::from_secs(5);
        assert_eq!(refusal.retry_after(later), Some(Duration::from_secs(1)));
    }
}
