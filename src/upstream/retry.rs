//! The one backoff of the broker; bounded retries of idempotent calls; `Retry-After`.
//!
//! Invariant: no wait ends past the deadline, and no call is made more than four times. [`retry`]
//! is never used for a password grant (`docs/reference/limits.md`).
//!
//! Whatever waits longer each time (retries, polls, pauses after a failure) takes its waits from a
//! [`Backoff`], and names only its numbers.

use crate::upstream::{ConnectFault, TransportError};
use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use http::{
    HeaderMap, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// SAP's table for token and destination calls allows 3 retries.
const MAX_RETRIES: usize = 3;

/// SAP asks for at least this much time between two calls; full jitter alone might wait 0 ms.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Longest `Retry-After` that token and destination calls accept. Longer ones are cut: a broken
/// header must not stop us for a year.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);

/// After this many rounds every backoff has reached its longest wait.
const LAST_ROUND: u32 = 32;

/// Waits of which each is some times as long as the one before, up to a longest one.
///
/// The caller keeps the number of rounds and starts again with 0 after a success. `backon` computes
/// the waits. The jitter is ours, because that of `backon` only lengthens a wait: clients that
/// failed together would come back less spread than with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    factor: u8,
    longest: Duration,
}

/// SAP's table of waits.
impl Backoff {
    /// Connection error, time-out, 408, 502, 504.
    pub const CONNECTION: Self =
        Self::doubling(Duration::from_millis(300), Duration::from_millis(1200));
    /// 500, 503.
    pub const OVERLOADED: Self =
        Self { first: Duration::from_secs(1), factor: 3, longest: Duration::from_secs(9) };
    /// Calls to the CF API: a caller waits for each of them.
    pub const CF_API: Self =
        Self { first: Duration::from_millis(400), factor: 4, longest: Duration::from_secs(2) };
}

impl Backoff {
    /// Makes a backoff whose waits double.
    pub const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, factor: 2, longest }
    }

    /// Returns the wait after `rounds` earlier ones, without jitter.
    pub fn wait(&self, rounds: u32) -> Duration {
        let waits = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_factor(f32::from(self.factor))
            .with_max_delay(self.longest)
            .without_max_times()
            .build();
        let nth = waits.zip(0..=rounds.min(LAST_ROUND)).last();
        nth.map_or(self.longest, |(wait, _)| wait)
    }

    /// Returns a random wait up to that of `rounds` (full jitter), but at least 100 ms unless that
    /// is less.
    pub fn random_wait(&self, rounds: u32) -> Duration {
        let longest = self.wait(rounds);
        let shortest = SHORTEST_WAIT.min(longest);
        shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64())
    }
}

/// A status that waiting may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassingStatus {
    /// 429.
    RateLimited,
    /// 408, 502, 504: no answer of the server itself.
    NoAnswer,
    /// Any other 5xx.
    ServerError,
}

impl PassingStatus {
    /// Returns the class of a status; `None` if waiting does not help.
    pub fn of(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            429 => Some(Self::RateLimited),
            408 | 502 | 504 => Some(Self::NoAnswer),
            code if code >= 500 => Some(Self::ServerError),
            _ => None,
        }
    }
}

/// What to do after an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Give up.
    No,
    /// Wait as long as the server asked for, and a little more.
    After(Duration),
    /// Wait by the given table.
    WithBackoff(Backoff),
}

impl RetryDecision {
    /// A complete answer that says nothing: empty, cut off, or a gateway's page.
    pub const UNREADABLE: Self = Self::WithBackoff(Backoff::CONNECTION);

    /// The table of transport errors, for an idempotent call.
    pub fn after_error(error: &TransportError) -> Self {
        match error {
            // The next attempt would meet the same certificate, or the same unusable address.
            TransportError::Connect { kind: ConnectFault::TlsCertificate, .. }
            | TransportError::Refused => Self::No,
            TransportError::Connect { .. }
            | TransportError::Timeout { .. }
            | TransportError::Interrupted { .. } => Self::WithBackoff(Backoff::CONNECTION),
            TransportError::Unreadable { .. } | TransportError::TooLarge => Self::UNREADABLE,
        }
    }

    /// The table of statuses, for an idempotent call. `asked` is the answer's `Retry-After`.
    pub fn after_status(status: StatusCode, asked: Option<Duration>) -> Self {
        match PassingStatus::of(status) {
            Some(PassingStatus::RateLimited) => {
                asked.map_or(Self::WithBackoff(Backoff::OVERLOADED), Self::After)
            }
            Some(PassingStatus::NoAnswer) => Self::WithBackoff(Backoff::CONNECTION),
            Some(PassingStatus::ServerError) => Self::WithBackoff(Backoff::OVERLOADED),
            None => Self::No,
        }
    }

    /// Returns the wait before the next attempt; `None` to give up.
    fn wait(self, done: u32) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::After(wait) => Some(after(wait)),
            Self::WithBackoff(backoff) => Some(backoff.random_wait(done)),
        }
    }
}

/// Adds up to a tenth, so that instances which were refused together do not come back together.
/// Never less than the server asked for.
fn after(wait: Duration) -> Duration {
    wait.saturating_add(wait.min(RETRY_AFTER_CAP).mul_f64(fastrand::f64() * 0.1))
}

/// Reads `Retry-After` (RFC 9110, 10.2.3) as seconds or HTTP date. An invalid value counts as
/// absent, a date in the past as zero; never above `cap`.
fn retry_after(headers: &HeaderMap, now: SystemTime, cap: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are a very long time, not an invalid value.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(cap))
}

/// Reads the `Retry-After` of an answer. A date counts from the answer's own `Date`, so that our
/// clock does not matter; without one it counts as absent.
pub fn asked_pause(headers: &HeaderMap, cap: Duration) -> Option<Duration> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let sent = date.and_then(|text| httpdate::parse_http_date(text).ok());
    let is_number = headers
        .get(RETRY_AFTER)
        .is_some_and(|value| value.as_bytes().iter().all(u8::is_ascii_digit));
    match (sent, is_number) {
        (Some(now), _) => retry_after(headers, now, cap),
        (None, true) => retry_after(headers, SystemTime::UNIX_EPOCH, cap),
        (None, false) => None,
    }
}

/// Runs `attempt` until it succeeds, `decide` says no, the retries are used up or the deadline
/// would pass.
///
/// # Errors
/// The last attempt's.
///
/// # Cancel safety
/// Dropping the future ends the current attempt or wait.
pub async fn retry<T, E, F, Fut>(
    deadline: Instant,
    attempt: F,
    decide: impl Fn(&E) -> RetryDecision,
) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    retry_while(deadline, attempt, decide, |_| true).await
}

/// As [`retry`], and each repeat must be allowed: `allow` is asked last, with the number of earlier
/// repeats, so that a [`RetryBudget`] pays only for repeats that are made.
///
/// # Errors
/// The last attempt's.
///
/// # Cancel safety
/// As [`retry`].
pub async fn retry_while<T, E, F, Fut>(
    deadline: Instant,
    attempt: F,
    decide: impl Fn(&E) -> RetryDecision,
    allow: impl Fn(u32) -> bool,
) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut done = 0;
    attempt
        .retry(ExponentialBuilder::new().with_max_times(MAX_RETRIES))
        // The kind of each failure decides about the wait, not the kind of the first one.
        .adjust(|error, left| {
            let wait = left.and_then(|_| decide(error).wait(done))?;
            let is_repeated = Instant::now() + wait < deadline && allow(done);
            done += 1;
            is_repeated.then_some(wait)
        })
        .await
}

/// Cost of a retry in a [`RetryBudget`], counted in calls: one retry for five calls is 20 %.
const PRICE: u64 = 5;

/// Largest budget: ten retries. Double would let a fault after a quiet hour start with a burst;
/// half would be too few for the pages of one list.
const RESERVE: u64 = 10 * PRICE;

/// Limits the retries to one upstream to 20 % of the calls, so that they do not add to a fault that
/// load has caused.
///
/// Each call and each second add one credit, a retry takes five. The seconds matter for a broker
/// that makes one call an hour. Starts full.
#[derive(Debug)]
pub struct RetryBudget(Mutex<RetryCredits>);

#[derive(Debug)]
struct RetryCredits {
    left: u64,
    refilled_at: Instant,
}

impl RetryBudget {
    /// Counts a call that is not a retry.
    pub fn deposit(&self, now: Instant) {
        self.with(now, |credits| credits.left = credits.left.saturating_add(1).min(RESERVE));
    }

    /// Returns whether one more retry is allowed, and pays for it.
    pub fn withdraw(&self, now: Instant) -> bool {
        self.with(now, |credits| match credits.left.checked_sub(PRICE) {
            Some(rest) => {
                credits.left = rest;
                true
            }
            None => false,
        })
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut RetryCredits) -> T) -> T {
        let mut credits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.saturating_duration_since(credits.refilled_at).as_secs();
        credits.left = credits.left.saturating_add(seconds).min(RESERVE);
        credits.refilled_at += Duration::from_secs(seconds);
        act(&mut credits)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Mutex::new(RetryCredits { left: RESERVE, refilled_at: Instant::now() }))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Backoff, RETRY_AFTER_CAP, RetryBudget, RetryDecision, asked_pause, retry, retry_after,
        retry_while,
    };
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
    use rstest::rstest;
    use std::{
        cell::{Cell, RefCell},
        time::{Duration, SystemTime},
    };
    use tokio::time::{Instant, advance};

    const LONG: Duration = Duration::from_secs(3600);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[rstest]
    #[case::seconds("7", Some(7))]
    #[case::blanks(" 7 ", Some(7))]
    #[case::zero("0", Some(0))]
    #[case::above_the_cap("1000000000", Some(60))]
    #[case::beyond_u64("99999999999999999999999", Some(60))]
    #[case::date("Sun, 06 Nov 1994 08:49:47 GMT", Some(10))]
    #[case::date_in_the_past("Sun, 06 Nov 1994 08:49:30 GMT", Some(0))]
    #[case::far_date("Sat, 06 Nov 2094 08:49:37 GMT", Some(60))]
    #[case::negative("-1", None)]
    #[case::fraction("1.5", None)]
    #[case::word("soon", None)]
    #[case::exponent("1e9", None)]
    #[case::empty("", None)]
    fn retry_after_is_seconds_or_a_date(#[case] text: &str, #[case] wait: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        let now = SystemTime::UNIX_EPOCH + seconds(784_111_777);
        assert_eq!(retry_after(&headers, now, RETRY_AFTER_CAP), wait.map(seconds));
    }

    #[rstest]
    #[case::seconds(&[("retry-after", "192")], Some(192))]
    #[case::capped(&[("retry-after", "999999")], Some(3600))]
    #[case::date(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("retry-after", "Tue, 24 Nov 2026 10:01:30 GMT")], Some(90))]
    #[case::date_without_reference(&[("retry-after", "Tue, 24 Nov 2026 10:01:30 GMT")], None)]
    #[case::junk(&[("retry-after", "soon")], None)]
    #[case::absent(&[], None)]
    fn the_pause_of_an_answer_is_read(
        #[case] headers: &[(&'static str, &'static str)],
        #[case] expected: Option<u64>,
    ) {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(header).collect();
        assert_eq!(asked_pause(&headers, LONG), expected.map(seconds));
    }

    #[test]
    fn no_header_is_no_wait() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(retry_after(&HeaderMap::new(), now, RETRY_AFTER_CAP), None);
    }

    #[rstest]
    #[case(429, Some(7), RetryDecision::After(seconds(7)))]
    #[case(429, None, RetryDecision::WithBackoff(Backoff::OVERLOADED))]
    #[case(408, None, RetryDecision::WithBackoff(Backoff::CONNECTION))]
    #[case(500, None, RetryDecision::WithBackoff(Backoff::OVERLOADED))]
    #[case(502, None, RetryDecision::WithBackoff(Backoff::CONNECTION))]
    #[case(503, Some(7), RetryDecision::WithBackoff(Backoff::OVERLOADED))]
    #[case(504, None, RetryDecision::WithBackoff(Backoff::CONNECTION))]
    #[case(302, None, RetryDecision::No)]
    #[case(401, Some(7), RetryDecision::No)]
    #[case(404, None, RetryDecision::No)]
    fn statuses_are_repeated_as_the_table_says(
        #[case] status: u16,
        #[case] asked: Option<u64>,
        #[case] expected: RetryDecision,
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(RetryDecision::after_status(status, asked.map(seconds)), expected);
    }

    #[rstest]
    #[case(Backoff::CONNECTION, &[300, 600, 1200])]
    #[case(Backoff::CF_API, &[400, 1600])]
    #[case(Backoff::OVERLOADED, &[1000, 3000, 9000, 9000])]
    fn waits_grow_as_the_tables_say(#[case] backoff: Backoff, #[case] waits: &[u128]) {
        let found: Vec<_> =
            (0..).zip(waits).map(|(rounds, _)| backoff.wait(rounds).as_millis()).collect();
        assert_eq!(found, waits);
    }

    #[test]
    fn after_any_number_of_rounds_the_wait_is_the_longest() {
        let slow = Backoff::doubling(Duration::from_millis(50), seconds(3600));
        for backoff in [slow, Backoff::CONNECTION, Backoff::OVERLOADED, Backoff::CF_API] {
            assert_eq!(backoff.wait(u32::MAX), backoff.longest);
        }
    }

    #[test]
    fn jitter_stays_between_100_ms_and_the_upper_bound() {
        for _ in 0..1000 {
            let wait = Backoff::OVERLOADED.random_wait(1);
            assert!((Duration::from_millis(100)..=seconds(3)).contains(&wait));
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_cut_and_at_most_a_tenth_longer() {
        for _ in 0..1000 {
            let wait = RetryDecision::After(seconds(7)).wait(0).unwrap();
            assert!((seconds(7)..=Duration::from_millis(7700)).contains(&wait));
        }
    }

    #[rstest]
    #[case::no(RetryDecision::No, 1)]
    #[case::table(RetryDecision::WithBackoff(Backoff::CONNECTION), 4)]
    #[case::asked_for(RetryDecision::After(seconds(1)), 4)]
    #[tokio::test(start_paused = true)]
    async fn attempts_are_bounded(#[case] decision: RetryDecision, #[case] attempts: u32) {
        let made = Cell::new(0);
        let result: Result<(), _> = retry(
            Instant::now() + LONG,
            async || {
                made.set(made.get() + 1);
                Err("down")
            },
            |_| decision,
        )
        .await;
        assert_eq!((result, made.get()), (Err("down"), attempts));
    }

    #[tokio::test(start_paused = true)]
    async fn only_repeats_that_can_be_made_are_asked_for() {
        let asked = RefCell::new(Vec::new());
        let allow = |done| {
            asked.borrow_mut().push(done);
            done < 1
        };
        for (wait, expected) in [(1, vec![0, 1]), (3600, vec![])] {
            let decide = |_: &_| RetryDecision::After(seconds(wait));
            let end = Instant::now() + LONG;
            let result: Result<(), _> = retry_while(end, async || Err("down"), decide, allow).await;
            assert_eq!((result, asked.take()), (Err("down"), expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_decides_about_the_wait_after_it() {
        let (begun, made) = (Instant::now(), Cell::new(0));
        let result: Result<(), _> = retry(
            begun + LONG,
            async || {
                made.set(made.get() + 1);
                Err(made.get())
            },
            |attempt| match attempt {
                1 => RetryDecision::After(seconds(60)),
                2 => RetryDecision::WithBackoff(Backoff::OVERLOADED),
                _ => RetryDecision::No,
            },
        )
        .await;
        assert_eq!(result, Err(3));
        assert!((seconds(60)..=seconds(66 + 3)).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_past_the_deadline_is_not_begun() {
        let begun = Instant::now();
        let result: Result<(), _> =
            retry(begun + seconds(5), async || Err("down"), |_| RetryDecision::After(seconds(5)))
                .await;
        assert_eq!((result, begun.elapsed()), (Err("down"), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_ends_it() {
        let made = Cell::new(0);
        let result = retry(
            Instant::now() + LONG,
            async || {
                made.set(made.get() + 1);
                if made.get() < 3 { Err("down") } else { Ok(made.get()) }
            },
            |_| RetryDecision::WithBackoff(Backoff::CONNECTION),
        )
        .await;
        assert_eq!(result, Ok(3));
    }

    fn spend_all(budget: &RetryBudget) -> usize {
        (0..1000).take_while(|_| budget.withdraw(Instant::now())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_allows_one_retry_for_five_calls() {
        let budget = RetryBudget::default();
        spend_all(&budget);
        (0..25).for_each(|_| budget.deposit(Instant::now()));
        assert_eq!(spend_all(&budget), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_holds_at_most_ten_retries_and_refills_with_time() {
        let budget = RetryBudget::default();
        assert_eq!(spend_all(&budget), 10);
        advance(seconds(10)).await;
        assert_eq!(spend_all(&budget), 2);
        advance(LONG).await;
        assert_eq!(spend_all(&budget), 10);
    }
}
