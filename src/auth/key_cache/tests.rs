//! The key cache on a paused clock, with a scripted source.

use super::{Fetched, KeyCache, KeyError, KeySource};
use crate::{auth::jwks::KeySet, telemetry::metrics::Metrics, upstream::ConnectFault};
use http::HeaderValue;
use rstest::rstest;
use serde_json::json;
use std::{
    iter,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{self, Instant};
use tokio_util::task::TaskTracker;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const UNKNOWN: Result<(), KeyError> = Err(KeyError::Unknown);

#[derive(Debug, thiserror::Error)]
#[error("scripted")]
struct Scripted(Option<ConnectFault>);

/// What the source returns, and its recorded requests.
struct Script {
    answer: Answer,
    takes: Duration,
    fetches: Vec<(Instant, Option<HeaderValue>)>,
    /// How long each fetch may be repeated.
    retry_times: Vec<Duration>,
}

#[derive(Clone)]
enum Answer {
    Keys(Vec<&'static str>),
    Unchanged,
    NoKeys,
    Untrusted,
    Fault,
    Panic,
}

#[derive(Clone)]
struct Source(Arc<Mutex<Script>>);

impl KeySource for Source {
    type Fault = Scripted;

    async fn fetch(
        &self,
        etag: Option<HeaderValue>,
        retry_until: Instant,
    ) -> Result<Fetched, Scripted> {
        let (answer, takes) = {
            let mut script = self.0.lock().unwrap();
            script.fetches.push((Instant::now(), etag));
            script.retry_times.push(retry_until - Instant::now());
            (script.answer.clone(), script.takes)
        };
        time::sleep(takes).await;
        match answer {
            Answer::Keys(names) => Ok(Fetched::Keys {
                keys: set(&names),
                etag: Some(HeaderValue::from_static("1717")),
            }),
            Answer::Unchanged => Ok(Fetched::Unchanged),
            Answer::NoKeys => Ok(Fetched::NoKeys),
            Answer::Untrusted => Err(Scripted(Some(ConnectFault::TlsCertificate))),
            Answer::Fault => Err(Scripted(None)),
            Answer::Panic => panic!("scripted"),
        }
    }

    fn connect_fault(fault: &Scripted) -> Option<ConnectFault> {
        fault.0
    }
}

/// A set of usable keys with these key ids. The same key id is the same key.
fn set(names: &[&str]) -> KeySet {
    let keys: Vec<_> = names
        .iter()
        // 342 characters are 256 bytes. The four unused bits of the last character are zero.
        .map(|name| (name, format!("{}w", "_".repeat(341))))
        .map(|(name, modulus)| json!({"kty": "RSA", "kid": name, "n": modulus, "e": "AQAB"}))
        .collect();
    let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    assert_eq!(set.len(), names.len());
    set
}

struct Fixture {
    cache: KeyCache<Source>,
    source: Source,
    tasks: TaskTracker,
}

impl Fixture {
    fn new() -> Self {
        let source = Source(Arc::new(Mutex::new(Script {
            answer: Answer::Keys(vec!["a"]),
            takes: Duration::from_millis(100),
            fetches: Vec::new(),
            retry_times: Vec::new(),
        })));
        let tasks = TaskTracker::new();
        let cache = KeyCache::new(source.clone(), tasks.clone(), Metrics::default());
        Self { cache, source, tasks }
    }

    /// A fixture whose cache has fetched key `a` just now.
    async fn warm() -> Self {
        let fixture = Self::new();
        fixture.ask("a").await.unwrap();
        fixture
    }

    async fn ask(&self, kid: &str) -> Result<(), KeyError> {
        self.cache.key(kid).await.map(|_| ())
    }

    fn answer(&self, answer: Answer) {
        self.source.0.lock().unwrap().answer = answer;
    }

    fn takes(&self, takes: Duration) {
        self.source.0.lock().unwrap().takes = takes;
    }

    fn fetches(&self) -> usize {
        self.source.0.lock().unwrap().fetches.len()
    }

    fn fetched_first(&self) -> Instant {
        self.source.0.lock().unwrap().fetches[0].0
    }

    /// Waits for the end of a background fetch.
    async fn settle(&self) {
        time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_unavailable(verdict: Result<(), KeyError>) -> bool {
    matches!(verdict, Err(KeyError::Unavailable { retry_after, .. }) if retry_after >= SECOND)
}

fn is_undecided(verdict: Result<(), KeyError>) -> bool {
    matches!(verdict, Err(KeyError::Undecided { retry_after })
        if (SECOND..=5 * SECOND).contains(&retry_after))
}

#[tokio::test(start_paused = true)]
async fn only_the_first_lookup_fetches() {
    let fixture = Fixture::new();
    assert_eq!(fixture.fetches(), 0);
    for _ in 0..50 {
        fixture.ask("a").await.unwrap();
    }
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn parallel_lookups_share_one_fetch() {
    let fixture = Arc::new(Fixture::new());
    let parallel = TaskTracker::new();
    let askers: Vec<_> = (0..200)
        .map(|_| {
            let fixture = Arc::clone(&fixture);
            parallel.spawn(async move { fixture.ask("a").await })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap().unwrap();
    }
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_cancel_the_fetch() {
    let fixture = Fixture::new();
    let asked = time::timeout(Duration::from_millis(10), fixture.ask("a")).await;
    assert!(asked.is_err());
    fixture.settle().await;
    fixture.takes(60 * MINUTE);
    fixture.ask("a").await.unwrap();
    assert_eq!(fixture.fetches(), 1);
}

#[rstest]
#[case::fresh(Duration::from_secs(599), 1)]
#[case::ageing(10 * MINUTE, 2)]
#[case::late(Duration::from_secs(899), 2)]
#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_in_the_background_from_10_minutes_on_without_waiting_until_15(
    #[case] age: Duration,
    #[case] fetches: usize,
) {
    let fixture = Fixture::warm().await;
    time::advance(age).await;
    let asked_at = Instant::now();
    fixture.ask("a").await.unwrap();
    assert_eq!(asked_at.elapsed(), Duration::ZERO);
    fixture.settle().await;
    assert_eq!(fixture.fetches(), fetches);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_background_refresh_at_a_time() {
    let fixture = Fixture::warm().await;
    time::advance(11 * MINUTE).await;
    for _ in 0..100 {
        fixture.ask("a").await.unwrap();
    }
    fixture.settle().await;
    for _ in 0..100 {
        fixture.ask("a").await.unwrap();
    }
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_15_minutes_lookups_wait_and_a_removed_key_is_not_served() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Keys(vec!["b"]));
    time::advance(15 * MINUTE).await;
    assert_eq!(fixture.ask("a").await, UNKNOWN);
    fixture.ask("b").await.unwrap();
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_refresh_does_not_bring_ends_at_once() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Keys(vec!["b"]));
    fixture.ask("b").await.unwrap();
    assert_eq!(fixture.ask("a").await, UNKNOWN);
}

#[tokio::test(start_paused = true)]
async fn the_entity_tag_is_sent_and_unchanged_counts_as_success() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Unchanged);
    time::advance(11 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    fixture.settle().await;
    time::advance(9 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    time::advance(2 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    fixture.settle().await;
    let fetches = fixture.source.0.lock().unwrap().fetches.clone();
    let tags: Vec<_> = fetches.into_iter().map(|(_, tag)| tag).collect();
    let known = Some(HeaderValue::from_static("1717"));
    assert_eq!(tags, [None, known.clone(), known]);
}

#[tokio::test(start_paused = true)]
async fn the_generation_changes_with_the_keys_only() {
    let fixture = Fixture::new();
    assert_eq!(fixture.cache.generation(), None);
    fixture.ask("a").await.unwrap();
    let first = fixture.cache.generation();
    assert!(first.is_some());
    for answer in [Answer::Keys(vec!["a"]), Answer::Unchanged] {
        fixture.answer(answer);
        time::advance(16 * MINUTE).await;
        fixture.ask("a").await.unwrap();
        assert_eq!(fixture.cache.generation(), first);
    }
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    time::advance(16 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    assert_ne!(fixture.cache.generation(), first);
    fixture.answer(Answer::Fault);
    time::advance(121 * MINUTE).await;
    assert_eq!(fixture.cache.generation(), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_on_first_use() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    fixture.ask("b").await.unwrap();
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_lookups_of_a_new_key_wait_for_one_fetch() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    let (first, second, third) = tokio::join!(fixture.ask("b"), fixture.ask("b"), fixture.ask("b"));
    assert_eq!((first, second, third), (Ok(()), Ok(()), Ok(())));
    assert_eq!(fixture.fetches(), 2);
}

/// The times of all fetches but the first.
fn later_fetches(fixture: &Fixture) -> Vec<Instant> {
    fixture.source.0.lock().unwrap().fetches.iter().skip(1).map(|(at, _)| *at).collect()
}

#[tokio::test(start_paused = true)]
async fn under_a_flood_of_invented_key_ids_a_new_key_is_found_within_five_seconds() {
    let fixture = Fixture::warm().await;
    let (mut unknown, mut waits) = (0, Vec::new());
    for number in 0..10_000 {
        match fixture.ask(&format!("invented-{number}")).await {
            UNKNOWN => unknown += 1,
            Err(KeyError::Undecided { retry_after }) => waits.push(retry_after),
            other => panic!("{other:?}"),
        }
        // The issuer rotates in the middle of a cooldown, and the callers get new tokens.
        if number == 5000 {
            fixture.answer(Answer::Keys(vec!["a", "b"]));
            let since = Instant::now();
            while let Err(error) = fixture.ask("b").await {
                assert!(matches!(error, KeyError::Undecided { .. }), "{error:?}");
                assert_eq!(
                    fixture.ask(&format!("more-{:?}", since.elapsed())).await.err(),
                    Some(error)
                );
                time::advance(Duration::from_millis(250)).await;
            }
            assert!(since.elapsed() <= 5 * SECOND + SECOND / 2, "{:?}", since.elapsed());
        }
        time::advance(Duration::from_millis(18)).await;
    }
    let times = later_fetches(&fixture);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 5 * SECOND));
    assert!((30..=38).contains(&times.len()), "{}", times.len());
    assert!(unknown >= times.len() - 2, "what a fetch was made for is decided: {unknown}");
    assert!(waits.iter().all(|wait| (SECOND..=5 * SECOND).contains(wait)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_at_the_start_causes_only_the_first_fetch() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ask("unknown").await, UNKNOWN);
    for number in 0..100 {
        assert!(is_undecided(fixture.ask(&format!("unknown-{number}")).await));
    }
    assert_eq!(fixture.fetches(), 1);
    fixture.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_fetched_again_after_five_seconds() {
    let fixture = Fixture::warm().await;
    assert_eq!(fixture.ask("b").await, UNKNOWN);
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    time::advance(4 * SECOND).await;
    assert_eq!(fixture.ask("b").await, UNKNOWN);
    time::advance(2 * SECOND).await;
    fixture.ask("b").await.unwrap();
    assert_eq!(fixture.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_for_a_new_key_delays_the_next_one_by_a_second_only() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    let failed = fixture.ask("b").await;
    assert_eq!(failed, Err(KeyError::Unavailable { retry_after: SECOND, cause: None }));
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    time::advance(SECOND).await;
    fixture.ask("b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_invented_key_id_does_not_make_a_new_key_unknown() {
    let fixture = Fixture::warm().await;
    assert_eq!(fixture.ask("invented").await, UNKNOWN);
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    let Err(KeyError::Undecided { retry_after }) = fixture.ask("b").await else {
        panic!("decided without a fetch");
    };
    assert!(retry_after <= 5 * SECOND);
    time::advance(retry_after).await;
    fixture.ask("b").await.unwrap();
    assert_eq!(fixture.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_id_that_waited_for_the_cooldown_is_decided_by_the_next_fetch_for_any_other() {
    let fixture = Fixture::warm().await;
    assert_eq!(fixture.ask("one").await, UNKNOWN);
    assert!(is_undecided(fixture.ask("two").await));
    time::advance(5 * SECOND).await;
    assert_eq!(fixture.ask("one").await, UNKNOWN);
    assert_eq!(fixture.ask("two").await, UNKNOWN);
    assert_eq!(fixture.fetches(), 3);
}

/// The issuer may have answered before the key was made.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_before_the_question_does_not_decide() {
    let fixture = Fixture::warm().await;
    time::advance(11 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    time::sleep(Duration::from_millis(50)).await;
    let asked_at = Instant::now();
    let (asked, ()) = tokio::join!(fixture.ask("b"), async {
        fixture.answer(Answer::Keys(vec!["a", "b"]));
    });
    assert_eq!((asked, fixture.fetches()), (Ok(()), 3));
    assert!(asked_at.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_repeated_for_ten_seconds_but_not_in_a_known_outage() {
    let fixture = Fixture::new();
    fixture.answer(Answer::Fault);
    assert!(is_unavailable(fixture.ask("a").await));
    time::advance(SECOND).await;
    assert!(is_unavailable(fixture.ask("a").await));
    fixture.answer(Answer::Keys(vec!["a"]));
    time::advance(2 * SECOND).await;
    fixture.ask("a").await.unwrap();
    assert_eq!(fixture.ask("b").await, UNKNOWN);
    let retry_times = fixture.source.0.lock().unwrap().retry_times.clone();
    assert_eq!(retry_times, [10 * SECOND, Duration::ZERO, Duration::ZERO, 10 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_bridged_for_two_hours_and_not_longer() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    while Instant::now() < fixture.fetched_first() + Duration::from_secs(7199) {
        fixture.ask("a").await.unwrap();
        time::advance(20 * SECOND).await;
    }
    time::advance(30 * SECOND).await;
    assert!(is_unavailable(fixture.ask("a").await));
    fixture.answer(Answer::Keys(vec!["a"]));
    time::advance(MINUTE).await;
    fixture.ask("a").await.unwrap();
}

#[rstest]
#[case::just_before(Duration::from_millis(7_199_999), true)]
#[case::exactly(Duration::from_secs(7200), false)]
#[tokio::test(start_paused = true)]
async fn old_keys_end_two_hours_after_the_last_success(
    #[case] age: Duration,
    #[case] is_served: bool,
) {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    fixture.takes(Duration::ZERO);
    time::advance(age).await;
    assert_eq!(fixture.ask("a").await.is_ok(), is_served);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_unknown_keys_are_fetched_with_growing_pauses() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    for number in 0..50 {
        assert!(is_unavailable(fixture.ask(&format!("unknown-{number}")).await));
        time::advance(SECOND).await;
    }
    let times = later_fetches(&fixture);
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(pauses.starts_with(&[1, 2, 4, 8]), "{pauses:?}");
    assert!(pauses.len() <= 6, "{pauses:?}");
}

#[rstest]
#[case::cold(Duration::ZERO)]
#[case::dead(3 * 60 * MINUTE)]
#[case::stale(20 * MINUTE)]
#[tokio::test(start_paused = true)]
async fn in_an_outage_at_most_one_fetch_a_second_is_made(#[case] age: Duration) {
    let fixture = if age.is_zero() { Fixture::new() } else { Fixture::warm().await };
    fixture.answer(Answer::Fault);
    fixture.takes(Duration::ZERO);
    time::advance(age).await;
    let warm = fixture.fetches();
    for _ in 0..600 {
        let _ = fixture.ask("a").await;
        let _ = fixture.ask("unknown").await;
        time::advance(Duration::from_millis(100)).await;
    }
    let times: Vec<_> =
        fixture.source.0.lock().unwrap().fetches.iter().skip(warm).map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{times:?}");
    // 60 s with pauses of 1, 2, 4, 8, 16, 16 … s.
    assert!((5..=9).contains(&times.len()), "{}", times.len());
}

#[tokio::test(start_paused = true)]
async fn in_a_known_outage_no_lookup_waits_for_the_next_fetch() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    time::advance(16 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    fixture.takes(5 * SECOND);
    time::advance(2 * SECOND).await;
    let asked_at = Instant::now();
    fixture.ask("a").await.unwrap();
    assert_eq!(asked_at.elapsed(), Duration::ZERO);
    fixture.settle().await;
    assert_eq!(fixture.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_lookups_fail_until_the_endpoint_is_back() {
    let fixture = Fixture::new();
    fixture.answer(Answer::Fault);
    assert!(is_unavailable(fixture.ask("a").await));
    fixture.answer(Answer::Keys(vec!["a"]));
    let Err(KeyError::Unavailable { retry_after, .. }) = fixture.ask("a").await else {
        panic!("fetched within the pause");
    };
    time::advance(retry_after).await;
    fixture.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_denies_its_keys_once_ends_none() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::NoKeys);
    time::advance(16 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    assert_eq!(fixture.fetches(), 2);
    // The key may exist: the answer is a failed fetch, and the next one decides.
    assert!(is_unavailable(fixture.ask("b").await));
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    time::advance(5 * SECOND).await;
    fixture.ask("b").await.unwrap();
    fixture.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_denies_its_keys_for_a_minute_has_none() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::NoKeys);
    time::advance(16 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    time::advance(59 * SECOND).await;
    fixture.ask("a").await.unwrap();
    fixture.settle().await;
    time::advance(20 * SECOND).await;
    fixture.ask("a").await.unwrap();
    fixture.settle().await;
    assert_eq!(fixture.ask("a").await, UNKNOWN);
}

#[tokio::test(start_paused = true)]
async fn denials_with_a_key_set_between_them_are_single_ones() {
    let fixture = Fixture::warm().await;
    for _ in 0..4 {
        fixture.answer(Answer::NoKeys);
        time::advance(16 * MINUTE).await;
        fixture.ask("a").await.unwrap();
        fixture.answer(Answer::Keys(vec!["a"]));
        time::advance(2 * SECOND).await;
        fixture.ask("a").await.unwrap();
        fixture.settle().await;
    }
    fixture.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_told_and_ends_no_key() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Untrusted);
    time::advance(16 * MINUTE).await;
    fixture.ask("a").await.unwrap();
    let Err(KeyError::Unavailable { cause, .. }) = fixture.ask("b").await else {
        panic!("decided without an answer");
    };
    assert_eq!(cause, Some(ConnectFault::TlsCertificate));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_in_an_outage_is_unavailable_and_not_refused() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Fault);
    assert!(is_unavailable(fixture.ask("b").await));
    fixture.ask("a").await.unwrap();
    let Err(KeyError::Unavailable { retry_after, .. }) = fixture.ask("b").await else {
        panic!("decided without an answer");
    };
    time::advance(retry_after).await;
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    fixture.ask("b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_counts_as_failed_and_is_not_repeated_at_once() {
    let fixture = Fixture::new();
    fixture.answer(Answer::Panic);
    assert!(is_unavailable(fixture.ask("a").await));
    assert!(is_unavailable(fixture.ask("a").await));
    assert_eq!(fixture.fetches(), 1);
    fixture.answer(Answer::Keys(vec!["a"]));
    time::advance(SECOND).await;
    fixture.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_cache_makes_no_call() {
    let fixture = Fixture::warm().await;
    time::sleep(300 * MINUTE).await;
    assert_eq!((fixture.fetches(), fixture.tasks.len()), (1, 0));
}

/// A fetch begins the cooldown just before its keys are there.
#[tokio::test(start_paused = true)]
async fn in_the_cooldown_a_fetch_that_has_not_landed_is_joined() {
    let fixture = Fixture::warm().await;
    fixture.answer(Answer::Keys(vec!["a", "b"]));
    let meanwhile = async {
        time::sleep(Duration::from_millis(50)).await;
        {
            let mut missing = fixture.cache.missing();
            missing.note("invented", Instant::now());
            let fetch = missing.begin(Instant::now());
            missing.end(&fetch, iter::empty(), |kid| kid == "b");
        }
        tokio::join!(fixture.ask("b"), fixture.ask("another"))
    };
    let (first, (second, another)) = tokio::join!(fixture.ask("b"), meanwhile);
    assert_eq!((first, second, fixture.fetches()), (Ok(()), Ok(()), 2));
    assert!(is_undecided(another), "{another:?}");
}
