//! Load shedding: reads are refused when the technical user's rate limit runs out, so that writes
//! still get through.
//!
//! Invariant: writes, and reads that belong to a write, are never refused here. While other reads
//! are refused, one of them is admitted from time to time: only a response can show that the limit
//! is open again. Callers: [`super::api_state::ApiState`].

use super::{answer::MAX_PAUSE, error::CapiError};
use http::{HeaderMap, HeaderName, header};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Reads are refused at or below this share of the limit, in percent. CF rounds the remaining calls
/// down to tenths of the limit of one process (recorded), so this is the last step.
const LOW_PERCENT: u64 = 10;
/// How long reads are refused if CF does not say when the limit resets.
const SHORT: Duration = Duration::from_secs(10);
/// One read per this time is admitted: six a minute, of a limit that is thousands an hour.
const PROBE_EVERY: Duration = Duration::from_secs(10);

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Whether a call may be refused to save the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criticality {
    /// A read that no write depends on.
    Sheddable,
    /// A write, or a read that a write needs.
    Critical,
}

/// State of the rate limit, shared by all calls of a technical user.
#[derive(Debug, Default)]
pub(super) struct LoadShedding(Mutex<RateLimit>);

#[derive(Debug, Default)]
struct RateLimit {
    left: Option<CallsLeft>,
    /// Only while it is low.
    low: Option<LowLimit>,
}

/// What CF has said last about the technical user's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsLeft {
    /// The calls that are left; CF rounds them down.
    pub remaining: u64,
    /// The calls that are allowed, mostly in an hour.
    pub limit: u64,
}

#[derive(Clone, Copy, Debug)]
struct LowLimit {
    until: Instant,
    probe: Instant,
}

impl LoadShedding {
    /// Admits a call, unless it may be refused and the limit is nearly used up.
    pub(super) fn admit(&self, criticality: Criticality) -> Result<(), CapiError> {
        let mut rate = self.rate();
        // The clock is read only while the limit is low.
        let Some(state) = rate.low else { return Ok(()) };
        let now = Instant::now();
        if state.until <= now {
            rate.low = None;
            return Ok(());
        }
        if criticality == Criticality::Critical {
            return Ok(());
        }
        if state.probe <= now {
            rate.low = Some(LowLimit { probe: now + PROBE_EVERY, ..state });
            return Ok(());
        }
        Err(CapiError::RateLimited { retry_after: state.until - now })
    }

    /// Reads the rate limit of a response; a response without a limit changes nothing.
    pub(super) fn learn(&self, headers: &HeaderMap, remaining: u64) {
        let Some(limit) = number(headers, &LIMIT).filter(|limit| *limit > 0) else {
            return;
        };
        let mut rate = self.rate();
        rate.left = Some(CallsLeft { remaining, limit });
        if remaining.saturating_mul(100) > limit.saturating_mul(LOW_PERCENT) {
            if rate.low.take().is_some() {
                tracing::info!("the rate limit of the cf api is open again");
            }
            return;
        }
        let now = Instant::now();
        let until = now + resets_in(headers).unwrap_or(SHORT);
        let probe = rate.low.map_or(now + PROBE_EVERY, |state| state.probe);
        if rate.low.replace(LowLimit { until, probe }).is_none() {
            tracing::warn!(
                limit,
                remaining,
                "the rate limit of the cf api is low: reads are refused"
            );
        }
    }

    /// Returns what CF has said last; `None` before it said anything.
    pub(super) fn calls_left(&self) -> Option<CallsLeft> {
        self.rate().left
    }

    fn rate(&self) -> MutexGuard<'_, RateLimit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time until the limit resets. CF sends seconds of the epoch; they count relative to the
/// response's own `Date`, so that our clock does not matter. A past moment counts as absent; an
/// hour is the maximum.
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
    async fn reads_are_refused_at_a_tenth_of_the_limit_and_writes_never(
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
    async fn retry_after_is_the_time_until_the_limit_resets(
        #[case] reset: &str,
        #[case] expected: u64,
    ) {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(reset));
        assert_eq!(seconds(&shedding), Some(expected));
        advance(Duration::from_secs(expected)).await;
        assert_eq!(seconds(&shedding), None);
        assert_eq!(seconds(&shedding), None, "it is over, not a probe");
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_in_ten_seconds_is_admitted() {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(&(NOW + 600).to_string()));
        advance(Duration::from_secs(10)).await;
        assert_eq!((seconds(&shedding), seconds(&shedding)), (None, Some(590)));
        // Its response says the same as before.
        learn(&shedding, &until(&(NOW + 600).to_string()));
        assert!(seconds(&shedding).is_some());
        advance(Duration::from_secs(10)).await;
        assert_eq!(seconds(&shedding), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_with_more_calls_left_admits_reads_and_one_without_a_limit_does_not() {
        let shedding = LoadShedding::default();
        learn(&shedding, &until(&(NOW + 600).to_string()));
        learn(&shedding, &HeaderMap::new());
        assert!(seconds(&shedding).is_some());
        learn(&shedding, &counted("1000", "900"));
        assert_eq!((seconds(&shedding), seconds(&shedding)), (None, None));
    }
}
