//! What an operator may see of a destination's token: states, times, causes; never a secret.
//!
//! Invariant: no text of an upstream gets in, and at most eight events are kept. Filled by `entry`;
//! read by `http`.

use super::{
    error::LeaseRefusal,
    lockout::{GuardState, forget},
};
use crate::{
    destination::{DestinationName, SourceKind},
    oauth::Freshness,
};
use std::{collections::VecDeque, mem, time::Duration};
use tokio::time::Instant;

/// Events that are remembered for each destination; the oldest gives way. Repetitions are one.
const MOST_EVENTS: usize = 8;

/// Status of a destination.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// Its name.
    pub name: DestinationName,
    /// Where it was found; `None` if it was not found or not looked for yet.
    pub source: Option<SourceKind>,
    /// The user that logs on; only for answers that need a scope.
    pub user: Option<String>,
    /// Key of the identity provider; `None`: UAA's default, or no destination was found.
    pub origin: Option<String>,
    /// Whether a password may be sent.
    pub guard: GuardState,
    /// When the lockout guard opens by itself: the end of a pause, or the next probe of a lock.
    pub guard_opens_in: Option<Duration>,
    /// Why no password is sent now; `None` if one may be sent.
    pub hold: Option<LeaseRefusal>,
    /// Age of the token; `None` if there is none.
    pub freshness: Option<Freshness>,
    /// How long CF accepts the token; `None` if there is none.
    pub expires_in: Option<Duration>,
    /// Refreshes that failed since the last one that worked.
    pub failed_refreshes: u32,
    /// What is odd about the token of the last grant.
    pub warning: Option<String>,
    /// The last grant that succeeded.
    pub last_renewal: Option<Renewal>,
    /// The last refusal, also one that is over.
    pub last_refusal: Option<PastRefusal>,
    /// The last events, the newest first.
    pub events: Vec<PastEvent>,
    /// The attempts of the last 65 min.
    pub attempts: AttemptCounts,
}

/// What this instance has sent in the last 65 min.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Attempts of this destination that an operator released.
    pub released: usize,
    /// Passwords of the user that were refused or had no clear answer.
    pub unsuccessful: usize,
    /// When an attempt can be released without `force`; `None` if now.
    pub free_in: Option<Duration>,
}

/// A grant that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its OAuth name.
    pub grant: &'static str,
    /// How long the token endpoint took.
    pub took: Duration,
    /// How long ago.
    pub ago: Duration,
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct PastRefusal {
    /// Why, and what to do.
    pub refusal: LeaseRefusal,
    /// How long ago.
    pub ago: Duration,
    /// Whether there was a token or another credential since then.
    pub is_over: bool,
}

/// An event, or several in a row that are alike.
#[derive(Clone, Debug)]
pub struct PastEvent {
    /// What happened.
    pub kind: PastEventKind,
    /// How often in a row.
    pub times: u32,
    /// How long ago the first one was.
    pub first_ago: Duration,
    /// How long ago the last one was.
    pub ago: Duration,
}

/// What happened to a destination.
#[derive(Clone, Debug)]
pub enum PastEventKind {
    /// A grant brought a token; its OAuth name.
    Renewed(&'static str),
    /// There was no token.
    Refused(LeaseRefusal),
    /// An operator released one attempt, and it was sent.
    Released,
    /// The credentials in the destination have changed.
    Changed,
}

/// An attempt of this destination was released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedRelease {
    /// How many were released in the last 65 min.
    pub earlier: usize,
    /// Passwords of the user that this instance sent without success in the last 65 min.
    pub unsuccessful: usize,
    /// From when on `force` is not needed.
    pub free_at: Instant,
}

/// The last events of one destination name, across changes of its credentials.
#[derive(Debug, Default)]
pub(super) struct PastEvents {
    renewal: Option<GrantedRenewal>,
    refusal: Option<(LeaseRefusal, Instant)>,
    is_refusal_over: bool,
    /// Oldest first.
    events: VecDeque<RememberedEvent>,
    /// Attempts that an operator released and that were sent, oldest first.
    releases: VecDeque<Instant>,
    has_warned_of_no_refresh: bool,
}

#[derive(Debug)]
struct RememberedEvent {
    kind: PastEventKind,
    times: u32,
    first: Instant,
    last: Instant,
}

/// A grant that brought a token.
#[derive(Debug)]
pub(super) struct GrantedRenewal {
    /// Its OAuth name.
    pub(super) grant: &'static str,
    /// How long the token endpoint took.
    pub(super) took: Duration,
    pub(super) at: Instant,
    /// What is odd about the token.
    pub(super) warning: Option<String>,
}

impl PastEvents {
    pub(super) fn renewed(&mut self, renewal: GrantedRenewal) {
        self.remember(PastEventKind::Renewed(renewal.grant), renewal.at);
        self.renewal = Some(renewal);
    }

    /// The last refusal is over: there is a token, or another credential.
    pub(super) fn refusal_is_over(&mut self) {
        self.is_refusal_over = true;
    }

    /// The credentials in the destination have changed.
    pub(super) fn changed(&mut self, now: Instant) {
        self.remember(PastEventKind::Changed, now);
    }

    pub(super) fn refused(&mut self, refusal: LeaseRefusal, now: Instant) {
        self.remember(PastEventKind::Refused(refusal.clone()), now);
        self.refusal = Some((refusal, now));
        self.is_refusal_over = false;
    }

    pub(super) fn warning(&self) -> Option<String> {
        self.renewal.as_ref().and_then(|renewal| renewal.warning.clone())
    }

    pub(super) fn last_renewal(&self, now: Instant) -> Option<Renewal> {
        let GrantedRenewal { grant, took, at, .. } = self.renewal.as_ref()?;
        Some(Renewal { grant, took: *took, ago: now.saturating_duration_since(*at) })
    }

    pub(super) fn last_refusal(&self, now: Instant) -> Option<PastRefusal> {
        let (refusal, at) = self.refusal.as_ref()?;
        let ago = now.saturating_duration_since(*at);
        Some(PastRefusal { refusal: refusal.clone(), ago, is_over: self.is_refusal_over })
    }

    /// Returns the events that are remembered, the newest first.
    pub(super) fn events(&self, now: Instant) -> Vec<PastEvent> {
        let events = self.events.iter().rev().map(|event| PastEvent {
            kind: event.kind.clone(),
            times: event.times,
            first_ago: now.saturating_duration_since(event.first),
            ago: now.saturating_duration_since(event.last),
        });
        events.collect()
    }

    /// An operator's release begins: what comes of it is an event after it.
    pub(super) fn release_begins(&mut self, now: Instant) {
        self.remember(PastEventKind::Released, now);
    }

    /// Takes note of a released attempt that was sent.
    pub(super) fn released(&mut self, now: Instant) {
        self.releases.push_back(now);
    }

    /// The released attempt that began then was not sent: it does not count.
    pub(super) fn not_released(&mut self, begun: Instant) {
        let is_it = |event: &RememberedEvent| {
            matches!(event.kind, PastEventKind::Released) && event.last == begun
        };
        self.events.retain(|event| !is_it(event));
    }

    /// Returns the times of the released attempts of the last 65 min that were sent.
    pub(super) fn releases(&mut self, now: Instant) -> &VecDeque<Instant> {
        forget(&mut self.releases, now);
        &self.releases
    }

    fn remember(&mut self, kind: PastEventKind, now: Instant) {
        if let Some(last) = self.events.back_mut().filter(|last| last.kind.is_like(&kind)) {
            (last.kind, last.last, last.times) = (kind, now, last.times.saturating_add(1));
            return;
        }
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(RememberedEvent { kind, times: 1, first: now, last: now });
    }

    /// Returns `true` the first time only: the missing refresh token is logged once.
    pub(super) fn warns_of_no_refresh(&mut self) -> bool {
        !mem::replace(&mut self.has_warned_of_no_refresh, true)
    }
}

impl PastEventKind {
    /// Returns whether an event only repeats this one. Each release is one of its own.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Renewed(one), Self::Renewed(other)) => one == other,
            (Self::Refused(one), Self::Refused(other)) => {
                mem::discriminant(&one.reason) == mem::discriminant(&other.reason)
            }
            (Self::Changed, Self::Changed) => true,
            (
                Self::Renewed(_) | Self::Refused(_) | Self::Released | Self::Changed,
                Self::Renewed(_) | Self::Refused(_) | Self::Released | Self::Changed,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GrantedRenewal, MOST_EVENTS, PastEventKind, PastEvents};
    use crate::token::{LeaseRefusal, Reason, UaaOutage};
    use std::time::Duration;
    use tokio::time::Instant;

    fn refusal(reason: Reason) -> LeaseRefusal {
        LeaseRefusal { destination: "CFAPI".to_owned(), reason, retry_at: None, read_from: None }
    }

    fn renewal(grant: &'static str, at: Instant) -> GrantedRenewal {
        GrantedRenewal { grant, took: Duration::ZERO, at, warning: None }
    }

    fn words(past: &PastEvents, now: Instant) -> Vec<String> {
        let events = past.events(now).into_iter().map(|event| {
            let word = match event.kind {
                PastEventKind::Renewed(grant) => grant.to_owned(),
                PastEventKind::Refused(refusal) => refusal.reason.to_string(),
                PastEventKind::Released => "released".to_owned(),
                PastEventKind::Changed => "changed".to_owned(),
            };
            let (first, last) = (event.first_ago.as_secs(), event.ago.as_secs());
            format!("{word} x{} {first}-{last}", event.times)
        });
        events.collect()
    }

    #[test]
    fn events_that_are_alike_are_one() {
        let (mut past, start) = (PastEvents::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        past.renewed(renewal("password", at(0)));
        past.renewed(renewal("refresh_token", at(10)));
        past.renewed(renewal("refresh_token", at(20)));
        past.refused(refusal(Reason::UaaUnavailable(UaaOutage::NoAnswer)), at(30));
        past.refused(refusal(Reason::UaaUnavailable(UaaOutage::NotReached)), at(40));
        past.refused(refusal(Reason::SecondFactor), at(50));
        past.release_begins(at(60));
        past.released(at(61));
        past.release_begins(at(70));
        let expected = [
            "released x1 10-10",
            "released x1 20-20",
            "second factor required x1 30-30",
            "login server unavailable x2 50-40",
            "refresh_token x2 70-60",
            "password x1 80-80",
        ];
        assert_eq!(words(&past, at(80)), expected);
        // The second one got no connection.
        past.not_released(at(70));
        assert_eq!(words(&past, at(80)), expected[1..]);
    }

    #[test]
    fn the_oldest_event_gives_way() {
        let (mut past, now) = (PastEvents::default(), Instant::now());
        for _ in 0..MOST_EVENTS {
            past.changed(now);
            past.refused(refusal(Reason::SecondFactor), now);
        }
        past.renewed(renewal("password", now));
        let words = words(&past, now);
        assert_eq!(words.len(), MOST_EVENTS);
        let oldest = "second factor required x1 0-0";
        assert_eq!((words[0].as_str(), words[7].as_str()), ("password x1 0-0", oldest));
    }

    #[test]
    fn a_refusal_is_over_until_the_next_one() {
        let (mut past, now) = (PastEvents::default(), Instant::now());
        let is_over = |past: &PastEvents| past.last_refusal(now).map(|past| past.is_over);
        assert_eq!(is_over(&past), None);
        past.refused(refusal(Reason::SecondFactor), now);
        assert_eq!(is_over(&past), Some(false));
        past.refusal_is_over();
        assert_eq!(is_over(&past), Some(true));
        past.refused(refusal(Reason::SecondFactor), now);
        assert_eq!(is_over(&past), Some(false));
    }
}
