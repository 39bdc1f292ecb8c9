//! Key ids that the cached set did not have, and the cooldown after a fetch for one of them.
//!
//! Invariant: a key id counts as unknown only if a fetch that began after the question did not
//! bring it. After a fetch for an unknown key id the next one waits for [`COOLDOWN`]: a flood of
//! invented key ids must not become a flood of fetches. Pure. For
//! [`key_cache`](super::key_cache) only.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Time between two fetches for unknown key ids, and how long a key id counts as unknown. A new key
/// must work soon.
const COOLDOWN: Duration = Duration::from_secs(5);

/// Most key ids that are remembered as missing: 256 KiB with the longest `kid`.
const MISSING_LIMIT: usize = 1024;

/// The missing key ids of one address.
#[derive(Default)]
pub(super) struct MissingKeys {
    /// Oldest first. When the list is full, the oldest one is removed.
    missing: VecDeque<MissingKid>,
    /// Whether the next fetch is begun for an unknown key id.
    is_wanted: bool,
    /// No fetch for an unknown key id before this moment. Only a successful fetch sets it.
    cooldown_until: Option<Instant>,
}

/// A key id that the cached set did not have.
struct MissingKid {
    kid: String,
    /// When it was first asked for.
    asked_at: Instant,
    /// Set by a successful fetch that began after the question and did not bring it.
    unknown_until: Option<Instant>,
}

/// A fetch that has begun.
pub(super) struct BegunFetch {
    at: Instant,
    is_for_unknown: bool,
}

/// What to do about a key id that was noted as missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingKidStep {
    /// Fetch: the issuer may have a new key.
    Fetch,
    /// The last fetch was too recent.
    WaitUntil(Instant),
    /// The issuer does not know it.
    Unknown,
}

impl MissingKeys {
    /// Records that the cached set does not have `kid`.
    pub(super) fn note(&mut self, kid: &str, now: Instant) {
        self.missing.retain(|missing| missing.unknown_until.is_none_or(|until| now < until));
        if self.missing.iter().any(|missing| missing.kid == kid) {
            return;
        }
        if self.missing.len() == MISSING_LIMIT {
            self.missing.pop_front();
        }
        let kid = kid.to_owned();
        self.missing.push_back(MissingKid { kid, asked_at: now, unknown_until: None });
    }

    /// Decides about a key id that was noted.
    pub(super) fn decide(&mut self, kid: &str, now: Instant) -> MissingKidStep {
        if self.is_unknown(kid, now) {
            return MissingKidStep::Unknown;
        }
        match self.cooldown_until {
            Some(until) if now < until => MissingKidStep::WaitUntil(until),
            Some(_) | None => {
                self.is_wanted = true;
                MissingKidStep::Fetch
            }
        }
    }

    /// Records that a fetch begins.
    pub(super) fn begin(&mut self, now: Instant) -> BegunFetch {
        BegunFetch { at: now, is_for_unknown: std::mem::take(&mut self.is_wanted) }
    }

    /// Records a successful fetch. `has` tells whether the new set has a key id; `withdrawn` are
    /// the key ids of the set before that it has not. What was asked for before the fetch began is
    /// decided now.
    pub(super) fn end<'a>(
        &mut self,
        fetch: &BegunFetch,
        withdrawn: impl Iterator<Item = &'a str>,
        has: impl Fn(&str) -> bool,
    ) {
        for kid in withdrawn {
            self.note(kid, fetch.at);
        }
        // Who still misses a key asks again.
        self.is_wanted = false;
        let until = Instant::now() + COOLDOWN;
        self.missing.retain(|missing| !has(&missing.kid));
        let mut is_for_unknown = fetch.is_for_unknown;
        for missing in self.missing.iter_mut().filter(|missing| missing.asked_at <= fetch.at) {
            missing.unknown_until = Some(until);
            is_for_unknown = true;
        }
        if is_for_unknown {
            self.cooldown_until = Some(until);
        }
    }

    fn is_unknown(&self, kid: &str, now: Instant) -> bool {
        let is_decided = |missing: &MissingKid| missing.unknown_until.is_some_and(|end| now < end);
        self.missing.iter().any(|missing| missing.kid == kid && is_decided(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::{COOLDOWN, MISSING_LIMIT, MissingKeys};
    use std::iter;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_list_of_missing_key_ids_is_bounded_and_drops_the_oldest() {
        let mut keys = MissingKeys::default();
        let now = Instant::now();
        for number in 0..=MISSING_LIMIT {
            keys.note(&format!("kid-{number}"), now);
        }
        let fetch = keys.begin(now);
        keys.end(&fetch, iter::empty(), |_| false);
        assert_eq!(keys.missing.len(), MISSING_LIMIT);
        assert!(!keys.is_unknown("kid-0", now));
        assert!(keys.is_unknown("kid-1", now));
        assert!(!keys.is_unknown("kid-1", now + COOLDOWN));
        keys.note("kid-1", now + COOLDOWN);
        assert_eq!(keys.missing.len(), 1, "what is over is dropped");
    }
}
