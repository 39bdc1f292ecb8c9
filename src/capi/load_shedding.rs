//! Reads give way when the technical user's rate limit runs out, so that writes still get through.
//!
//! Invariant: writes, and reads that belong to a write, are never held back here; while others are, one of them
//! goes through now and then, for only an answer can tell that the limit is open again (`reliability.md` U6).
//! Callers: [`super::api_state::ApiState`].

use super::{answer::MAX_PAUSE, error::CapiError};
use http::{HeaderMap, HeaderName, header};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Reads give way at this share of the limit, in percent. CF floors what it tells to tenths of the limit of one
/// process (recorded), so this is its last step.
const LOW_PERCENT: u64 = 10;
/// How long reads give way where CF does not say when the limit starts anew.
const SHORT: Duration = Duration::from_secs(10);
/// One read goes through in this time: six a minute of a limit that is counted in thousands an hour.
const PROBE_EVERY: Duration = Duration::from_secs(10);

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Whether a call may be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criticality {
    /// A read for its own sake.
    Sheddable,
    /// A write, or a read that a write needs.
    Critical,
}

/// What is known of the limit; shared by all calls of a technical user.
#[derive(Debug, Default)]
pub(super) struct LoadShedding(Mutex<Option<LowLimit>>);

#[derive(Clone, Copy, Debug)]
struct LowLimit {
    until: Instant,
    probe: Instant,
}

impl LoadShedding {
    /// Lets a call pass, unless it can wait and the limit is nearly used up.
    pub(super) fn admit(&self, criticality: Criticality) -> Result<(), CapiError> {
        let mut low = self.low();
        // The clock is looked at only while there is something to wait for.
        let Some(state) = *low else { return Ok(()) };
        let now = Instant::now();
        if state.until <= now {
            *low = None;
            return Ok(());
        }
        if criticality == Criticality::Critical {
            return Ok(());
        }
        if state.probe <= now {
            *low = Some(LowLimit { probe: now + PROBE_EVERY, ..state });
            return Ok(());
        }
        Err(CapiError::RateLimited { retry_after: state.until - now })
    }

    /// Reads what an answer tells of the limit beside what is left; one without a limit changes nothing.
    pub(super) fn learn(&self, headers: &HeaderMap, remaining: u64) {
        let Some(limit) = number(headers, &LIMIT).filter(|limit| *limit > 0) else {
            return;
        };
        let mut low = self.low();
        if remaining.saturating_mul(100) > limit.saturating_mul(LOW_PERCENT) {
            if low.take().is_some() {
                tracing::info!("the rate limit of the cf api is open again");
            }
            return;
        }
        let now = Instant::now();
        let until = now + resets_in(headers).unwrap_or(SHORT);
        let probe = low.map_or(now + PROBE_EVERY, |state| state.probe);
        if low.replace(LowLimit { until, probe }).is_none() {
            tracing::warn!(limit, remaining, "the rate limit of the cf api is low: reads give way");
        }
    }

    fn low(&self) -> MutexGuard<'_, Option<LowLimit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long until the limit starts anew: seconds of the epoch, taken relative to the answer's own `Date`, so
/// that our clock does not matter. A moment that has passed is none; an hour is the longest.
fn resets_in(headers: &HeaderMap) -> Option<Duration> {
    let reset = Duration::from_secs(number(headers, &RESET)?);
    let sent = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let sent = sent.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let left = reset.checked_sub(sent).filter(|left| !left.is_zero())?;
    Some(left.min(MAX_PAUSE))
}

/// Reads how many calls are left.
pub(super) fn remaining(headers: &HeaderMap) -> Option<u64> {
    number(headers, &REMAINING)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Criticality, LoadShedding, remaining};
    use crate::capi::CapiError;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::advance;

    /// 2026-11-24T10:00:00Z.
    const DATE: &str = "Tue, 24 Nov 2026 10:00:00 GMT";
    const NOW: u64 = 1_795_514_400;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(header).collect()
    }

    fn counted(limit: &str, remaining: &str) -> HeaderMap {
        headers(&[("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining)])
    }

    fn until(reset: &str) -> HeaderMap {
        let mut all = counted("1000", "100");
        all.extend(headers(&[("x-ratelimit-reset", reset), ("date", DATE)]));
        all
    }

    fn learn(shedding: &LoadShedding, headers: &HeaderMap) {
        if let Some(remaining) = remaining(headers) {
            shedding.learn(headers, remaining);
        }
    }

    fn seconds(shedding: &LoadShedding) -> Option<u64> {
        match shedding.admit(Criticality::Sheddable) {
            Err(CapiError::RateLimited { retry_after }) => Some(retry_after.as_secs()),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[rstest]
    #[case::plenty("1000", "1000", false)]
    #[case::next_step("1000", "200", false)]
    #[case::just_above("1000", "101", false)]
    #[case::a_tenth("1000", "100", true)]
    #[case::nothing("1000", "0", true)]
    #[case::no_limit("0", "0", false)]
    #[case::junk("many", "few", false)]
    #[tokio::test(start_paused = true)]
    async fn reads_give_way_at_a_tenth_of_the_limit_and_writes_never(
        #[case] limit: &str,
        #[case] remaining: &str,
        #[case] held: bool,
    ) {
        let shedding = LoadShedding::default();
        learn(&shedding, &counted(limit, remaining));
        assert_eq!(shedding.admit(Criticality::Sheddable).is_err(), held);
        assert!(shedding.admit(Criticality::Critical).is_ok());
    }

    #[rstest]
    #[case::half_an_hour(&(NOW + 1800).to_string(), 1800)]
    #[case::longest(&(NOW + 86_400).to_string(), 3600)]
    #[case::passed(&(NOW - 1).to_string(), 10)]
    #[case::this_second(&NOW.to_string(), 10)]
    #[case::junk("soon", 10)]
    #[tokio::test(start_paused = true)]
    async fn they_are_told_when_the_limit_starts_anew(#[case] reset: &str, #[case] told: u64) {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(reset));
        assert_eq!(seconds(&shedding), Some(told));
        advance(Duration::from_secs(told)).await;
        assert_eq!(seconds(&shedding), None);
        assert_eq!(seconds(&shedding), None, "it is over, not a probe");
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_in_ten_seconds_goes_through() {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(&(NOW + 600).to_string()));
        advance(Duration::from_secs(10)).await;
        assert_eq!((seconds(&shedding), seconds(&shedding)), (None, Some(590)));
        // The answer to it says the same as before.
        learn(&shedding, &until(&(NOW + 600).to_string()));
        assert!(seconds(&shedding).is_some());
        advance(Duration::from_secs(10)).await;
        assert_eq!(seconds(&shedding), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_with_more_left_opens_the_way_and_one_without_a_word_does_not() {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(&(NOW + 600).to_string()));
        learn(&shedding, &HeaderMap::new());
        assert!(seconds(&shedding).is_some());
        learn(&shedding, &counted("1000", "900"));
        assert_eq!((seconds(&shedding), seconds(&shedding)), (None, None));
    }
}
