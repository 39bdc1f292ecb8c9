//! How a technical user is, in words for people: state, cause, next step.
//!
//! Invariant: pure, and every text is ours. A state says what is known, and the next step what to
//! do; what passes by itself says so.

use tokio::time::Instant;

use crate::{
    destination::SourceKind,
    http::error_mapping::{restart_note, when_in_use},
    pages::StatusMood,
    token::{DestinationStatus, Freshness, GuardState, LeaseRefusal, Reason},
};

/// One failed refresh is a disturbance.
const FAILURES_THAT_TELL: u32 = 2;

/// The broker does not try by itself: a request must need the token.
const LOCK_IS_OVER: &str =
    "The lock should be over by now: the next request that needs a token tries one logon.";

/// The parts of an advice that are for programs; a page has a button.
const FOR_PROGRAMS: [&str; 2] = [" (POST /destinations/{name}/retry)", " with force=true"];

/// How a technical user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserState {
    /// The state in a word.
    pub(crate) word: StateWord,
    /// When the state ends by itself.
    pub(crate) until: Option<Instant>,
    /// How serious it is.
    pub(crate) mood: StatusMood,
    /// What is known, in sentences; `None` if there is nothing to tell.
    pub(crate) cause: Option<String>,
    /// What to do, in sentences.
    pub(crate) next_step: Option<String>,
}

/// The state of a technical user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateWord {
    /// Requests have a token.
    Healthy,
    /// A new token is due.
    Renewing,
    /// The credentials were not used yet.
    Unused,
    /// The logon was refused.
    Refused,
    /// Something else has to be repaired.
    NeedsAttention,
    /// Too many logons failed.
    Locked,
    /// The broker tries again later.
    Waiting,
}

impl StateWord {
    /// Returns the word.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Renewing => "Renewing",
            Self::Unused => "Not used yet",
            Self::Refused => "Refused",
            Self::NeedsAttention => "Needs attention",
            Self::Locked => "Locked",
            Self::Waiting => "Waiting",
        }
    }

    fn of(refusal: &LeaseRefusal) -> Self {
        let reason = &refusal.reason;
        if matches!(reason, Reason::Rejected { .. } | Reason::AssertionRejected { .. }) {
            Self::Refused
        } else if matches!(reason, Reason::Locked { .. }) {
            Self::Locked
        } else if refusal.is_transient() {
            Self::Waiting
        } else {
            Self::NeedsAttention
        }
    }

    fn mood(self) -> StatusMood {
        match self {
            Self::Healthy | Self::Renewing => StatusMood::Good,
            Self::Unused | Self::Waiting => StatusMood::Waiting,
            Self::Refused | Self::NeedsAttention | Self::Locked => StatusMood::Bad,
        }
    }
}

impl UserState {
    /// Returns the state of a destination's technical user.
    pub(crate) fn of(status: &DestinationStatus, now: Instant) -> Self {
        let age = status.freshness.filter(|age| *age != Freshness::Expired);
        let is_fresh = age == Some(Freshness::Fresh);
        // A pause does not matter before the next token is due.
        let hold = status
            .hold
            .as_ref()
            .filter(|hold| !is_fresh || StateWord::of(hold) != StateWord::Waiting);
        let last = status.last_refusal.as_ref().filter(|past| !past.is_over);
        let last = last.map(|past| &past.refusal).filter(|_| age.is_none());
        match (hold.or(last), age) {
            (Some(refusal), _) => Self::refused(refusal, now),
            (None, Some(age)) => Self::served(status, age),
            (None, None) => Self::without_token(status),
        }
    }

    /// There is a reason why no token could be had now.
    fn refused(refusal: &LeaseRefusal, now: Instant) -> Self {
        let word = StateWord::of(refusal);
        let ends = matches!(word, StateWord::Locked | StateWord::Waiting);
        let until = refusal.retry_at.filter(|at| ends && now < *at);
        let next_step = if word == StateWord::Locked && until.is_none() {
            LOCK_IS_OVER.to_owned()
        } else {
            next_step_of(refusal)
        };
        let (mood, cause) = (word.mood(), Some(cause_of(&refusal.reason)));
        Self { word, until, mood, cause, next_step: Some(next_step) }
    }

    /// Requests have a token, and nothing is refused.
    fn served(status: &DestinationStatus, age: Freshness) -> Self {
        let word = if age == Freshness::Ageing { StateWord::Renewing } else { StateWord::Healthy };
        let failed = status.failed_refreshes;
        if failed < FAILURES_THAT_TELL {
            return Self { word, until: None, mood: word.mood(), cause: None, next_step: None };
        }
        let cause = match &status.last_refusal {
            Some(past) if !past.is_over => cause_of(&past.refusal.reason),
            Some(_) | None => "The broker logs on with the password instead.".to_owned(),
        };
        Self {
            word,
            until: None,
            mood: StatusMood::Waiting,
            cause: Some(format!("The last {failed} refreshes of the token failed. {cause}")),
            next_step: Some(
                "Nothing now: requests have a token. If it lasts, the log of the broker has the \
                 cause."
                    .to_owned(),
            ),
        }
    }

    /// There is no token, and no reason is known.
    fn without_token(status: &DestinationStatus) -> Self {
        const NEXT: &str = "The next request that needs a token gets one.";
        let (word, cause, next_step) = match (status.guard, status.source) {
            (GuardState::Unknown, None) => {
                (StateWord::Unused, "No request has needed the destination yet.", NEXT)
            }
            (GuardState::Unknown, Some(_)) => {
                (StateWord::Unused, "Nothing was sent with these credentials yet.", NEXT)
            }
            (GuardState::Good, _) => (StateWord::Renewing, "There is no valid token now.", NEXT),
            (GuardState::Rejected, _) => (
                StateWord::Refused,
                "The logon was refused before, and one more is under way.",
                "Wait for its result.",
            ),
            (GuardState::Blocked, _) => (
                StateWord::NeedsAttention,
                "The logon did not work before.",
                "The next request that needs a token tries one logon.",
            ),
            (GuardState::Locked, _) => (
                StateWord::Locked,
                "The technical user was locked after too many failed logons.",
                LOCK_IS_OVER,
            ),
            (GuardState::Waiting, _) => (
                StateWord::Waiting,
                "The login server gave no usable answer.",
                "Wait: the broker tries again by itself.",
            ),
        };
        let (cause, next_step) = (Some(cause.to_owned()), Some(next_step.to_owned()));
        Self { word, until: None, mood: word.mood(), cause, next_step }
    }
}

/// What is known about a refusal, as a sentence.
pub(crate) fn cause_of(reason: &Reason) -> String {
    let text = match reason {
        Reason::DestinationMissing => "There is no destination of this name.",
        Reason::DestinationInvalid { findings } => {
            return format!("The destination cannot be used: {}.", findings.join("; "));
        }
        Reason::DestinationUnavailable { advice } => {
            return format!("The destination cannot be read now: {}", sentence_end(advice));
        }
        Reason::DestinationUntrusted { .. } => {
            "The destination cannot be read: a certificate is refused."
        }
        Reason::Rejected { .. } => "The CF login server refused the logon.",
        Reason::AssertionRejected { .. } => {
            "The CF login server refused the logon with the assertion."
        }
        Reason::SecondFactor => "The technical user is asked for a second factor.",
        Reason::ActionRequired { .. } => "The technical user cannot log on.",
        Reason::Misconfigured { .. } => "The destination does not lead to a logon.",
        Reason::Locked { .. } => "The technical user is locked after too many failed logons.",
        Reason::UaaUnavailable(outage) => {
            return format!("The CF login server {}.", outage.text());
        }
        Reason::UaaSlow => "The CF login server has not answered in time.",
        Reason::UaaUnreachable { .. } => "The CF login server cannot be reached.",
        Reason::UaaUntrusted { .. } => "The certificate of the CF login server is refused.",
        Reason::Unclear { .. } => {
            "A logon had no clear answer, so it may count as a wrong password, and five lock the \
             user."
        }
        Reason::NoTokenEndpoint { status } => {
            return format!(
                "The token URL was answered with HTTP {status}, which is no answer of a token \
                 endpoint."
            );
        }
        Reason::RefreshMisdirected { status } => {
            return format!(
                "The token URL answered a refresh with HTTP {status}, which is no answer of a \
                 token endpoint."
            );
        }
        Reason::Internal => "The broker made a mistake.",
    };
    text.to_owned()
}

/// What to do about a refusal, in sentences.
fn next_step_of(refusal: &LeaseRefusal) -> String {
    let place = refusal.read_from.map_or("the destination", SourceKind::place);
    match &refusal.reason {
        Reason::DestinationMissing => match refusal.read_from {
            None => sentence(&refusal.hint()),
            Some(source) => {
                let place = if source == SourceKind::File { place } else { "the subaccount" };
                format!("Create it in {place}; {}.", when_in_use(refusal))
            }
        },
        Reason::DestinationInvalid { .. } => {
            format!("Correct it in {place}; {}.", when_in_use(refusal))
        }
        Reason::Rejected { advice } => {
            let advice = sentence(advice);
            format!("{advice} Correct what is wrong in {place}; {}.", when_in_use(refusal))
        }
        Reason::AssertionRejected { advice } => {
            format!("{} The broker reads the file again for each logon.", sentence(advice))
        }
        Reason::SecondFactor => {
            "Switch the second factor off for the technical user, then release one attempt."
                .to_owned()
        }
        Reason::Locked { advice } => format!(
            "{} The broker waits for the end of the lock and then tries once.",
            sentence(advice)
        ),
        Reason::DestinationUntrusted { advice }
        | Reason::ActionRequired { advice }
        | Reason::Misconfigured { advice }
        | Reason::UaaUnreachable { advice }
        | Reason::UaaUntrusted { advice } => {
            format!("{}{}", sentence(advice), restart_note(refusal))
        }
        Reason::DestinationUnavailable { .. } | Reason::UaaUnavailable(_) | Reason::UaaSlow => {
            "Wait: the broker tries again by itself when a request needs a token.".to_owned()
        }
        Reason::Unclear { .. } => "Wait for the next attempt. An operator can release one before, \
             but only with a password that is known to be right: it may be the fifth that counts."
            .to_owned(),
        Reason::NoTokenEndpoint { .. } => format!(
            "Wait: the broker asks again, without a password, and logs on as soon as a token \
             endpoint answers. If it lasts, check host and path of the token URL.{}",
            restart_note(refusal)
        ),
        Reason::RefreshMisdirected { .. } => format!(
            "Wait: the broker repeats the refresh, and logs on instead if it keeps failing. If it \
             lasts, check host and path of the token URL.{}",
            restart_note(refusal)
        ),
        Reason::Internal => "Report it with the log of the broker.".to_owned(),
    }
}

/// An advice for people, as a sentence.
pub(crate) fn sentence(advice: &str) -> String {
    let text = sentence_end(advice);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

/// An advice for people, as the end of a sentence.
fn sentence_end(advice: &str) -> String {
    let text = FOR_PROGRAMS.iter().fold(advice.to_owned(), |text, part| text.replace(part, ""));
    format!("{}.", text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests;
