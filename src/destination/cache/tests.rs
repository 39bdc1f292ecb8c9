use super::{CachedDestination, DestinationRenewal, FindResult};
use crate::{
    binding::Fields,
    destination::{
        CachePolicy, Destination, DestinationError, DestinationName, SourceKind,
        fault::{AskedSystem, FindFault, Transient},
        pin::HostPin,
        source::{Content, DestinationSource, FindResponse},
        validate::Validator,
    },
    oauth::FingerprintKey,
    telemetry::metrics::Metrics,
    upstream::retry::RetryDecision,
};
use http::HeaderValue;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{advance, sleep};
use tokio_util::task::TaskTracker;

const TTL: Duration = Duration::from_secs(300);
/// The last moment before the TTL ends.
const ALMOST_TTL: Duration = Duration::from_millis(299_999);
const A_BIT: Duration = Duration::from_millis(1);
const TOOK: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);

/// The next answer of the service.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// 200 with that password.
    Password(&'static str),
    /// 200 with another host in the token URL.
    Host(&'static str),
    /// 200 without user.
    NoUser,
    Unchanged,
    Absent,
    NoConnection,
    NoAnswer,
    Untrusted,
    RateLimited(Duration),
    Refused,
    Panic,
}

/// A Destination service that answers from a list; the last item repeats.
#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

struct Script {
    next: VecDeque<Next>,
    /// Entity tags of the calls so far.
    calls: Vec<Option<HeaderValue>>,
}

impl Service {
    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls.len()
    }

    fn tags(&self) -> Vec<Option<String>> {
        let tag = |tag: &Option<HeaderValue>| Some(tag.as_ref()?.to_str().unwrap().to_owned());
        self.0.lock().unwrap().calls.iter().map(tag).collect()
    }

    fn then(&self, next: &[Next]) {
        self.0.lock().unwrap().next = next.iter().copied().collect();
    }

    fn take(&self, tag: Option<&HeaderValue>) -> Next {
        let mut script = self.0.lock().unwrap();
        script.calls.push(tag.cloned());
        if script.next.len() > 1 { script.next.pop_front().unwrap() } else { script.next[0] }
    }
}

impl DestinationSource for Service {
    const SOFT_TTL: Duration = TTL;

    const NAME: &'static str = "service";

    async fn find(
        &self,
        _: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> Result<FindResponse, FindFault> {
        let next = self.take(tag);
        sleep(TOOK).await;
        let host = "login.cf.example.com";
        let (asked, again) = (AskedSystem::DestinationService, RetryDecision::No);
        let failed = |kind| Err(FindFault::transient(kind, asked, again));
        match next {
            Next::Password(password) => Ok(content(&[("Password", password), ("User", "u")], host)),
            Next::Host(host) => Ok(content(&[("Password", "p"), ("User", "u")], host)),
            Next::NoUser => Ok(content(&[("Password", "p")], host)),
            Next::Unchanged => Ok(FindResponse::Unchanged),
            Next::Absent => Ok(FindResponse::Absent),
            Next::NoConnection => failed(Transient::Connect),
            Next::NoAnswer => failed(Transient::NoAnswer),
            Next::Untrusted => failed(Transient::Certificate),
            Next::RateLimited(wait) => Err(FindFault::Transient {
                kind: Transient::RateLimited,
                asked,
                retry_after: Some(wait),
                again,
            }),
            Next::Refused => Err(FindFault::Refused("refused")),
            Next::Panic => panic!("a bug"),
        }
    }
}

fn content(own: &[(&str, &str)], token_host: &str) -> FindResponse {
    let token_url =
        format!("https://{token_host}/oauth/token?login_hint=%7B%22origin%22:%22a-platform%22%7D");
    let mut fields = Fields::default();
    let common = [
        ("Name", "CFAPI"),
        ("Type", "HTTP"),
        ("Authentication", "OAuth2Password"),
        ("URL", "https://api.cf.example.com"),
        ("clientId", "cf"),
        ("tokenServiceURL", token_url.as_str()),
    ];
    for (name, text) in common.iter().chain(own) {
        fields.push((*name).to_owned(), text);
    }
    let mark: String = own.iter().map(|(_, text)| *text).chain([token_host]).collect();
    FindResponse::Content(Content {
        fields,
        source: SourceKind::SubaccountLevel,
        tag: Some(HeaderValue::from_str(&mark).unwrap()),
        digest: mark.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(byte)),
    })
}

fn cached(next: &[Next]) -> (CachedDestination<Service>, Service) {
    let service = Service(Arc::new(Mutex::new(Script {
        next: next.iter().copied().collect(),
        calls: Vec::new(),
    })));
    let renewal = DestinationRenewal::new(
        DestinationName::parse("CFAPI").unwrap(),
        service.clone(),
        Validator { pin: HostPin::new(None, &[]), key: FingerprintKey::random() },
        Metrics::default(),
    );
    (CachedDestination::new(renewal, TaskTracker::new()), service)
}

async fn found(cached: &CachedDestination<Service>, cache_policy: CachePolicy) -> Arc<Destination> {
    cached.find(cache_policy).await.unwrap()
}

/// Lets background fetches finish.
async fn settle() {
    sleep(TOOK * 2).await;
}

fn is_unavailable(outcome: &FindResult) -> bool {
    matches!(outcome, Err(DestinationError::Unavailable { .. }))
}

fn is_missing(outcome: &FindResult) -> bool {
    matches!(outcome, Err(DestinationError::Missing { .. }))
}

fn is_invalid(outcome: &FindResult) -> bool {
    matches!(outcome, Err(DestinationError::Invalid { .. }))
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_fetch_and_the_first_may_hang_up() {
    let (cached, service) = cached(&[Next::Password("p")]);
    let tasks = TaskTracker::new();
    let first = tasks.spawn({
        let cached = cached.clone();
        async move { cached.find(CachePolicy::Cached).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let cached = cached.clone();
            tasks.spawn(async move { cached.find(CachePolicy::Confirmed).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(service.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn within_the_ttl_no_call_is_made() {
    let (cached, service) = cached(&[Next::Password("p")]);
    let first = found(&cached, CachePolicy::Cached).await;
    advance(ALMOST_TTL).await;
    let again = found(&cached, CachePolicy::Confirmed).await;
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(service.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn older_content_is_served_at_once_while_one_revalidation_runs() {
    let (cached, service) = cached(&[Next::Password("old"), Next::Password("new")]);
    let old = found(&cached, CachePolicy::Cached).await;
    advance(TTL + A_BIT).await;
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&old, &found(&cached, CachePolicy::Cached).await));
    }
    settle().await;
    let new = found(&cached, CachePolicy::Cached).await;
    assert_ne!(old.fingerprint, new.fingerprint);
    assert_eq!(service.tags(), [None, Some("oldulogin.cf.example.com".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn confirmed_waits_for_a_revalidation_of_older_content() {
    let (cached, service) = cached(&[Next::Password("old"), Next::Password("new")]);
    let old = found(&cached, CachePolicy::Cached).await;
    advance(TTL + A_BIT).await;
    let new = found(&cached, CachePolicy::Confirmed).await;
    assert_ne!(old.fingerprint, new.fingerprint);
    assert_eq!(service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn unchanged_restarts_the_ttl() {
    let (cached, service) = cached(&[Next::Password("p"), Next::Unchanged]);
    let first = found(&cached, CachePolicy::Cached).await;
    advance(TTL + A_BIT).await;
    assert!(Arc::ptr_eq(&first, &found(&cached, CachePolicy::Confirmed).await));
    advance(ALMOST_TTL).await;
    found(&cached, CachePolicy::Confirmed).await;
    assert_eq!(service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_content_again_is_the_same_destination() {
    let (cached, _) = cached(&[Next::Password("p")]);
    let first = found(&cached, CachePolicy::Cached).await;
    let again = found(&cached, CachePolicy::PastCache).await;
    assert!(Arc::ptr_eq(&first, &again));
}

#[tokio::test(start_paused = true)]
async fn past_the_cache_sends_no_tag_and_is_shared() {
    let (cached, service) = cached(&[Next::Password("p")]);
    found(&cached, CachePolicy::Cached).await;
    let (one, other) =
        tokio::join!(cached.find(CachePolicy::PastCache), cached.find(CachePolicy::PastCache));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(service.tags(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn past_the_cache_does_not_accept_a_conditional_fetch() {
    let (cached, service) =
        cached(&[Next::Password("old"), Next::Unchanged, Next::Password("new")]);
    let old = found(&cached, CachePolicy::Cached).await;
    advance(TTL + A_BIT).await;
    found(&cached, CachePolicy::Cached).await;
    let new = found(&cached, CachePolicy::PastCache).await;
    assert_ne!(old.fingerprint, new.fingerprint);
    assert_eq!(service.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_twelfth_revalidation_sends_no_tag() {
    let (cached, service) = cached(&[Next::Password("p"), Next::Unchanged]);
    found(&cached, CachePolicy::Cached).await;
    for round in 1..=12 {
        if round == 12 {
            service.then(&[Next::Password("new"), Next::Unchanged]);
        }
        advance(TTL + A_BIT).await;
        found(&cached, CachePolicy::Confirmed).await;
    }
    let tags = service.tags();
    assert!(tags[1..12].iter().all(Option::is_some));
    assert_eq!((tags.len(), &tags[12]), (13, &None));
}

#[tokio::test(start_paused = true)]
async fn while_the_service_is_down_old_content_is_served_for_a_day_but_not_confirmed() {
    let (cached, service) = cached(&[Next::Password("p"), Next::NoConnection]);
    let first = found(&cached, CachePolicy::Cached).await;
    advance(HOUR * 23).await;
    assert!(Arc::ptr_eq(&first, &found(&cached, CachePolicy::Cached).await));
    settle().await;
    assert!(is_unavailable(&cached.find(CachePolicy::Confirmed).await));
    assert!(cached.known().is_some());
    advance(HOUR).await;
    assert!(is_unavailable(&cached.find(CachePolicy::Cached).await));
    assert!(cached.known().is_none());
    service.then(&[Next::Password("p")]);
    advance(Duration::from_secs(5)).await;
    assert!(cached.find(CachePolicy::Confirmed).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_told_and_the_content_stays() {
    let (cached, _service) = cached(&[Next::Password("p"), Next::Untrusted]);
    found(&cached, CachePolicy::Cached).await;
    advance(HOUR).await;
    let outcome = cached.find(CachePolicy::Confirmed).await;
    let Err(DestinationError::Untrusted { advice, .. }) = &outcome else { panic!("{outcome:?}") };
    assert!(advice.contains("upstream.extra_ca_file"), "{advice}");
    found(&cached, CachePolicy::Cached).await;
}

#[tokio::test(start_paused = true)]
async fn after_each_failed_fetch_the_pause_grows() {
    for (next, expected) in [
        (Next::NoConnection, [1, 2, 4, 5, 5]),
        (Next::NoAnswer, [1, 2, 4, 8, 16]),
        (Next::RateLimited(Duration::from_secs(30)), [30; 5]),
    ] {
        let (cached, service) = cached(&[next]);
        for (round, seconds) in expected.into_iter().enumerate() {
            assert!(is_unavailable(&cached.find(CachePolicy::Cached).await));
            let pause = Duration::from_secs(seconds);
            advance(pause.saturating_sub(A_BIT)).await;
            let held_back = cached.find(CachePolicy::Confirmed).await;
            let Err(DestinationError::Unavailable { retry_after, .. }) = held_back else {
                panic!("{held_back:?}");
            };
            assert_eq!(retry_after, A_BIT);
            assert_eq!(service.calls(), round + 1);
            advance(A_BIT).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_destination_is_remembered_for_half_a_minute_and_then_found() {
    let (cached, service) = cached(&[Next::Absent, Next::Password("p")]);
    assert!(is_missing(&cached.find(CachePolicy::Cached).await));
    advance(Duration::from_millis(29_999)).await;
    assert!(is_missing(&cached.find(CachePolicy::Confirmed).await));
    assert_eq!(service.calls(), 1);
    advance(A_BIT).await;
    found(&cached, CachePolicy::Cached).await;
}

#[tokio::test(start_paused = true)]
async fn one_404_leaves_the_content_in_service_and_a_later_second_one_removes_it() {
    let (cached, service) = cached(&[Next::Password("p"), Next::Absent]);
    found(&cached, CachePolicy::Cached).await;
    advance(TTL + A_BIT).await;
    assert!(is_missing(&cached.find(CachePolicy::Confirmed).await));
    found(&cached, CachePolicy::Cached).await;
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    assert!(cached.known().is_some(), "the second 404 came too early");
    advance(Duration::from_secs(30)).await;
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    assert!(cached.known().is_none());
    assert!(is_missing(&cached.find(CachePolicy::Cached).await));
    assert_eq!(service.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_404_that_was_a_glitch_is_forgotten() {
    let (cached, _) =
        cached(&[Next::Password("p"), Next::Absent, Next::Password("p"), Next::Absent]);
    found(&cached, CachePolicy::Cached).await;
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    advance(Duration::from_secs(31)).await;
    found(&cached, CachePolicy::PastCache).await;
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    assert!(cached.known().is_some());
}

#[tokio::test(start_paused = true)]
async fn invalid_content_leaves_the_older_in_service_until_it_is_corrected() {
    let (cached, _) = cached(&[Next::Password("old"), Next::NoUser, Next::Password("new")]);
    let old = found(&cached, CachePolicy::Cached).await;
    let refused = cached.find(CachePolicy::PastCache).await;
    let Err(DestinationError::Invalid { findings, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(findings, &["User is missing"]);
    assert!(Arc::ptr_eq(&old, &found(&cached, CachePolicy::Cached).await));
    let new = found(&cached, CachePolicy::PastCache).await;
    assert_ne!(old.fingerprint, new.fingerprint);
}

#[tokio::test(start_paused = true)]
async fn a_host_changed_at_run_time_is_refused_even_after_a_deletion() {
    let changed = Next::Host("uaa.cf.example.com");
    let (cached, service) = cached(&[Next::Password("p"), changed, Next::Absent]);
    let first = found(&cached, CachePolicy::Cached).await;
    assert!(is_invalid(&cached.find(CachePolicy::PastCache).await));
    assert!(Arc::ptr_eq(&first, &cached.known().unwrap()));
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    advance(Duration::from_secs(31)).await;
    assert!(is_missing(&cached.find(CachePolicy::PastCache).await));
    assert!(cached.known().is_none());
    service.then(&[changed]);
    assert!(is_invalid(&cached.find(CachePolicy::PastCache).await));
}

#[tokio::test(start_paused = true)]
async fn a_refused_binding_is_invalid_and_asked_again_after_half_a_minute() {
    let (cached, service) = cached(&[Next::Refused, Next::Password("p")]);
    assert!(is_invalid(&cached.find(CachePolicy::Cached).await));
    assert!(is_invalid(&cached.find(CachePolicy::Cached).await));
    assert_eq!(service.calls(), 1);
    advance(Duration::from_secs(30)).await;
    found(&cached, CachePolicy::Cached).await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_does_not_block_the_next_one() {
    let (cached, _) = cached(&[Next::Panic, Next::Password("p")]);
    assert!(is_unavailable(&cached.find(CachePolicy::Cached).await));
    found(&cached, CachePolicy::Cached).await;
}

#[tokio::test(start_paused = true)]
async fn unchanged_without_content_is_a_fault() {
    let (cached, _) = cached(&[Next::Unchanged]);
    assert!(is_unavailable(&cached.find(CachePolicy::Cached).await));
}

#[tokio::test(start_paused = true)]
async fn debug_shows_the_name_only() {
    let (cached, _) = cached(&[Next::Password("canary")]);
    found(&cached, CachePolicy::Cached).await;
    assert!(!format!("{cached:?}").contains("canary"));
}
