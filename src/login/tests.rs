//! What a login and a session live on, and when they end. The clock is an argument.

use super::{
    FormHolder, FormKeys, FormUse, LoginFlow, LoginParts, SessionState, SetCookie,
    cookies::{BEGUN, CookieKeys, PAGE},
    flow::target,
    session::PageCookie,
};
use crate::{
    auth::{self, Caller, IssuerBindings, Scope, SealingKey, VerifiedLogin, Verifier},
    oauth::{ClientAuthentication, TokenEndpoint},
    telemetry::metrics::Metrics,
    upstream::{ClientFactory, Purpose, body},
};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use proptest::prelude::{prop_assert_eq, proptest};
use rstest::rstest;
use std::time::{Duration, SystemTime};
use tokio_util::task::TaskTracker;
use url::Url;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const BASE: &str = "https://gateway.example.test/cfapi";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW + Duration::from_secs(seconds)
}

fn parts(key: u8, previous: Option<u8>) -> LoginParts {
    let clients = ClientFactory::new(&crate::upstream::Settings::default()).unwrap();
    let client = clients.client(Purpose::Token).unwrap();
    let xsuaa = Url::parse("https://provider.authentication.example.test").unwrap();
    // Nobody listens there.
    let nowhere = Url::parse("https://127.0.0.1:9").unwrap();
    let (tasks, metrics) = (TaskTracker::new(), Metrics::default());
    let authentication =
        ClientAuthentication::Body { id: "sb-broker!t1".to_owned(), secret: "canary".into() };
    let issuers = IssuerBindings::default();
    LoginParts {
        client_id: "sb-broker!t1".to_owned(),
        endpoint: TokenEndpoint::new(client.clone(), nowhere, authentication, HeaderMap::new()),
        xsuaa,
        key: SealingKey::new(&[key; 32]).unwrap(),
        previous_key: previous.and_then(|byte| SealingKey::new(&[byte; 32])),
        verifier: Verifier::new(&auth::Settings::default(), &issuers, &client, &tasks, metrics),
    }
}

fn flow(key: u8, previous: Option<u8>) -> LoginFlow {
    LoginFlow::new(parts(key, previous))
}

/// `name=value` of a cookie.
fn pair(cookie: SetCookie) -> String {
    let text = cookie.into_header().to_str().unwrap().to_owned();
    text.split(';').next().unwrap().to_owned()
}

fn sent(pairs: &[String]) -> HeaderMap {
    let line = HeaderValue::try_from(pairs.join("; ")).unwrap();
    HeaderMap::from_iter([(COOKIE, line)])
}

fn login(expires: Duration) -> VerifiedLogin {
    VerifiedLogin { caller: Caller::for_tests("sb-broker!t1", &[Scope::SpacesRead]), expires }
}

/// The page cookie of a login at [`NOW`] whose token lives this long.
fn page_cookie(key: u8, token: u64) -> String {
    let keys = CookieKeys::of(&parts(key, None));
    let login = login(NOW + Duration::from_secs(token));
    pair(PageCookie::begin(&login, "id".to_owned(), at(0)).seal(&keys).unwrap())
}

fn is_valid(flow: &LoginFlow, cookie: &str, now: u64) -> bool {
    let state = flow.session(&sent(&[cookie.to_owned()]), at(now));
    matches!(state, SessionState::Valid(_))
}

#[rstest]
#[case::at_once(0, true)]
#[case::before_the_end_of_idle_time(899, true)]
#[case::idle_for_15_minutes(900, false)]
fn a_session_ends_when_nobody_asks(#[case] now: u64, #[case] expected: bool) {
    assert_eq!(is_valid(&flow(1, None), &page_cookie(1, 43_200), now), expected);
}

#[test]
fn a_session_is_renewed_once_a_minute_and_ends_after_30_minutes() {
    let flow = flow(1, None);
    let mut cookie = page_cookie(1, 43_200);
    for minute in 0..30 {
        let now = minute * 60;
        let SessionState::Valid(session) = flow.session(&sent(&[cookie.clone()]), at(now)) else {
            panic!("ended after {minute} minutes");
        };
        assert!(session.caller.has(Scope::SpacesRead));
        assert_eq!(session.renewed.is_some(), minute > 0, "{minute}");
        let Some(renewed) = session.renewed else { continue };
        let again = flow.session(&sent(&[cookie.clone()]), at(now + 59));
        assert!(matches!(again, SessionState::Valid(_)));
        cookie = pair(renewed);
        let SessionState::Valid(fresh) = flow.session(&sent(&[cookie.clone()]), at(now + 59))
        else {
            panic!("not valid after {minute} minutes");
        };
        assert!(fresh.renewed.is_none());
    }
    assert!(!is_valid(&flow, &cookie, 1800));
}

#[test]
fn a_session_ends_with_its_token() {
    let cookie = page_cookie(1, 300);
    let flow = flow(1, None);
    assert!(is_valid(&flow, &cookie, 299) && !is_valid(&flow, &cookie, 300));
}

#[test]
fn the_key_can_be_changed_without_ending_sessions() {
    let cookie = page_cookie(1, 3600);
    assert!(is_valid(&flow(2, Some(1)), &cookie, 0));
    assert!(!is_valid(&flow(2, None), &cookie, 0));
    assert!(!is_valid(&flow(1, None), &page_cookie(2, 3600), 0));
}

#[test]
fn a_cookie_counts_under_its_own_name_only() {
    let flow = flow(1, None);
    let begun = flow.start(None, BASE, &HeaderMap::new(), at(0)).unwrap();
    let begun = begun.cookies.into_iter().map(pair).find(|it| it.starts_with(BEGUN)).unwrap();
    let renamed = format!("{PAGE}={}", begun.split_once('=').unwrap().1);
    let state = flow.session(&sent(&[renamed]), at(0));
    assert!(matches!(state, SessionState::Ended(Some(_))));
    assert!(matches!(flow.session(&sent(&[begun]), at(0)), SessionState::Absent));
}

#[rstest]
#[case::empty("")]
#[case::no_base64("ä")]
#[case::no_text(b"\xe4")]
#[case::short("AAAA")]
#[case::oversized("A".repeat(3_600))]
fn a_strange_cookie_is_no_session_and_is_removed(#[case] value: impl AsRef<[u8]>) {
    let mut headers = HeaderMap::new();
    let line = [format!("{PAGE}=").as_bytes(), value.as_ref()].concat();
    headers.insert(COOKIE, HeaderValue::from_bytes(&line).unwrap());
    let state = flow(1, None).session(&headers, at(0));
    assert!(matches!(state, SessionState::Ended(Some(_))));
}

#[rstest]
#[case::text("theme=ä; ")]
#[case::no_text(b"theme=\xe4; ")]
#[case::no_value("theme; ")]
fn a_strange_cookie_of_somebody_else_hides_no_session(#[case] before: impl AsRef<[u8]>) {
    let keys = CookieKeys::of(&parts(1, None));
    let cookie = PageCookie::begin(&login(NOW + Duration::from_secs(3600)), "id".to_owned(), at(0));
    let ours = pair(cookie.seal(&keys).unwrap());
    let mut headers = HeaderMap::new();
    let line = [before.as_ref(), ours.as_bytes()].concat();
    headers.insert(COOKIE, HeaderValue::from_bytes(&line).unwrap());
    assert!(matches!(flow(1, None).session(&headers, at(1)), SessionState::Valid(_)));
}

#[test]
fn what_would_not_fit_into_a_browser_is_not_sealed() {
    let keys = CookieKeys::of(&parts(1, None));
    assert!(keys.seal(PAGE, &"x".repeat(2_000), Duration::ZERO).is_some());
    assert!(keys.seal(PAGE, &"x".repeat(3_000), Duration::ZERO).is_none());
}

/// The state that the browser brings back.
fn state_of(location: &str) -> String {
    let url = Url::parse(location).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

#[tokio::test]
async fn a_login_may_take_ten_minutes() {
    let flow = flow(1, None);
    let begun = flow.start(None, BASE, &HeaderMap::new(), at(0)).unwrap();
    let query = format!("state={}&error=access_denied", state_of(&begun.location));
    let cookies: Vec<_> = begun.cookies.into_iter().map(pair).collect();
    let reason = async |now| {
        let ended = flow.finish(&query, BASE, &sent(&cookies), at(now)).await;
        ended.unwrap_err().to_string()
    };
    assert_eq!(reason(599).await, "login not accepted: error");
    assert_eq!(reason(600).await, "login not accepted: state");
}

#[test]
fn five_logins_of_a_browser_may_run_and_the_oldest_gives_way() {
    let flow = flow(1, None);
    let mut jar: Vec<String> = vec![format!("{BEGUN}unreadable=x")];
    let mut removed = Vec::new();
    for now in 0..7 {
        let begun = flow.start(None, BASE, &sent(&jar), at(now)).unwrap();
        let (gone, set): (Vec<_>, Vec<_>) =
            begun.cookies.into_iter().map(pair).partition(|pair| pair.ends_with('='));
        removed.push(gone.iter().filter(|pair| pair.starts_with(BEGUN)).count());
        let is_gone = |pair: &String| gone.iter().any(|name| pair.starts_with(name.as_str()));
        jar.retain(|pair| !is_gone(pair));
        jar.extend(set);
        assert!(jar.len() <= 5, "{now}");
    }
    assert_eq!(removed, [0, 0, 0, 0, 1, 1, 1]);
    assert!(jar.iter().all(|pair| !pair.contains("unreadable")));
}

#[test]
fn addresses_are_made_of_the_public_base_and_the_binding() {
    let flow = flow(1, None);
    let begun = flow.start(None, BASE, &HeaderMap::new(), at(0)).unwrap();
    let url = Url::parse(&begun.location).unwrap();
    assert!(begun.location.starts_with(
        "https://provider.authentication.example.test/oauth/authorize?response_type=code&"
    ));
    let of = |name: &str| url.query_pairs().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(of("redirect_uri"), format!("{BASE}/login/callback"));
    assert_eq!((&*of("scope"), &*of("code_challenge_method")), ("openid", "S256"));
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(of(name).len(), 43, "{name}");
    }
    assert_eq!(
        flow.sign_out(BASE, &HeaderMap::new()).location,
        "https://provider.authentication.example.test/logout.do?redirect=https%3A%2F%2Fgateway.example.test%2Fcfapi%2Flogged-out&client_id=sb-broker%21t1"
    );
}

#[rstest]
#[case("/", "/")]
#[case("/spaces", "/spaces")]
#[case("/destinations", "/destinations")]
#[case("/docs", "/docs")]
#[case("/destinations/", "/spaces")]
#[case("/destinations/CFAPI/release", "/spaces")]
#[case("/spaces/", "/spaces")]
#[case(
    "/spaces/4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a",
    "/spaces/4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a"
)]
#[case("/spaces/dev/..", "/spaces")]
#[case("/spaces/..", "/spaces")]
#[case("/spaces/a?next=b", "/spaces")]
#[case("/spaces/a#b", "/spaces")]
#[case("//evil.example", "/spaces")]
#[case("/\\evil.example", "/spaces")]
#[case("https://evil.example", "/spaces")]
#[case("/spaces?next=https://evil.example", "/spaces")]
#[case("/spaces#", "/spaces")]
#[case("/metrics", "/spaces")]
#[case("/logout", "/spaces")]
#[case("", "/spaces")]
fn a_login_leads_to_pages_of_the_broker_only(#[case] wanted: &str, #[case] expected: &str) {
    assert_eq!(target(wanted), expected);
}

/// What browsers and libraries have taken for the start of an absolute address, and ways to write
/// another host.
#[test]
fn no_spelling_of_another_address_leads_away() {
    const STARTS: [&str; 30] = [
        "//",
        "///",
        "////",
        "/\\",
        "\\\\",
        "\\/",
        "/\t/",
        "/\n/",
        "/\r/",
        "/%09/",
        "/%0a/",
        "/%2f",
        "/%5c",
        "/.//",
        "/..//",
        "/./\\",
        "/;//",
        "/@",
        "//@",
        "//:@",
        "/\u{a0}/",
        "/\u{2028}/",
        " //",
        "\t//",
        "https:",
        "https:/",
        "https://",
        "https:///",
        "hTTp://",
        "javascript://",
    ];
    const HOSTS: [&str; 12] = [
        "evil.example",
        "evil.example:443",
        "user@evil.example",
        "gateway.example.test@evil.example",
        "gateway.example.test.evil.example",
        "evil%2eexample",
        "evil\u{3002}example",
        "%65vil.example",
        "127.0.0.1",
        "2130706433",
        "[::1]",
        "localhost",
    ];
    const ENDS: [&str; 6] = ["", "/", "/spaces", "/../spaces", "?x=/spaces", "#/spaces"];
    let ends = |start: String| ENDS.map(|end| format!("{start}{end}"));
    let all = STARTS.iter().flat_map(|start| HOSTS.map(|host| format!("{start}{host}")));
    let all: Vec<_> = all.flat_map(ends).collect();
    assert_eq!(all.len(), 2160);
    for wanted in all {
        assert_eq!(target(&wanted), "/spaces", "{wanted}");
        let below = format!("/spaces/{wanted}");
        assert_eq!(target(&below), "/spaces", "{below}");
    }
}

#[tokio::test]
async fn one_begun_login_does_not_send_codes_without_end() {
    let flow = flow(1, None);
    let begun = flow.start(None, BASE, &HeaderMap::new(), at(0)).unwrap();
    let query = format!("state={}&code=invented", state_of(&begun.location));
    let cookies: Vec<_> = begun.cookies.into_iter().map(pair).collect();
    let mut ends = Vec::new();
    for _ in 0..60 {
        let ended = flow.finish(&query, BASE, &sent(&cookies), at(1)).await;
        ends.push(ended.unwrap_err().to_string());
    }
    assert!(ends[..50].iter().all(|end| end == "code not exchanged"), "{ends:?}");
    assert!(ends[50..].iter().any(|end| end == "too many logins at once"), "{ends:?}");
    let other = format!("state={}&code=invented", state_of(&begun.location).to_uppercase());
    let ended = flow.finish(&other, BASE, &sent(&cookies), at(1)).await;
    assert_eq!(ended.unwrap_err().to_string(), "login not accepted: state");
}

proptest! {
    #[test]
    fn every_other_text_leads_to_the_spaces(wanted in "[/\\\\.:@%?#a-z0-9 \t\r\n<>\"-]{2,24}") {
        prop_assert_eq!(target(&wanted), "/spaces");
        let below = format!("/spaces/{wanted}");
        let simple = wanted.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        prop_assert_eq!(target(&below) == below, simple);
    }
}

/// The person of the session of a login at [`NOW`].
fn holder(id: &str) -> FormHolder {
    let keys = CookieKeys::of(&parts(1, None));
    let cookie = PageCookie::begin(&login(NOW + Duration::from_secs(3600)), id.to_owned(), at(0));
    let sent = sent(&[pair(cookie.seal(&keys).unwrap())]);
    let SessionState::Valid(session) = flow(1, None).session(&sent, at(0)) else {
        panic!("no session");
    };
    session.holder
}

fn forms(key: u8, previous: Option<u8>) -> FormKeys {
    let LoginParts { key, previous_key, .. } = parts(key, previous);
    FormKeys::new(key, previous_key)
}

fn opened(forms: &FormKeys, purpose: FormUse, holder: &FormHolder, token: &str, now: u64) -> bool {
    forms.open::<String>(purpose, holder, token, at(now)).is_some_and(|it| it == "content")
}

#[test]
fn a_form_is_for_one_use_one_person_and_fifteen_minutes() {
    let (one, other) = (holder("one"), holder("other"));
    let keys = forms(1, None);
    let token = keys.seal(FormUse::Release, &one, "content", at(0)).unwrap();
    let is_open = |purpose, holder, now| opened(&keys, purpose, holder, &token, now);
    assert!(is_open(FormUse::Release, &one, 0) && is_open(FormUse::Release, &one, 899));
    assert!(!is_open(FormUse::Release, &one, 900));
    assert!(!is_open(FormUse::Outcome, &one, 0));
    assert!(!is_open(FormUse::Release, &other, 0));
    assert!(!opened(&keys, FormUse::Release, &one, "", 0));
    assert!(!opened(&keys, FormUse::Release, &one, &token.chars().skip(1).collect::<String>(), 0));
    assert!(opened(&forms(2, Some(1)), FormUse::Release, &one, &token, 0));
    assert!(!opened(&forms(2, None), FormUse::Release, &one, &token, 0));
    assert!(format!("{one:?} {keys:?}").len() < 200, "no id is shown");
}

#[test]
fn a_form_for_the_user_of_a_token_is_for_no_session_and_no_other_user() {
    let of = |user| FormHolder::of_token(&Caller::user_for_tests("sb-broker!t1", user)).unwrap();
    let keys = forms(1, None);
    let token = keys.seal(FormUse::Release, &of("a"), "content", at(0)).unwrap();
    assert!(opened(&keys, FormUse::Release, &of("a"), &token, 0));
    assert!(!opened(&keys, FormUse::Release, &of("b"), &token, 0));
    assert!(!opened(&keys, FormUse::Release, &holder("token"), &token, 0));
}

#[test]
fn a_form_for_the_user_of_a_token_is_for_its_zone() {
    let user = Caller::user_for_tests("sb-broker!t1", "a");
    let mut record = serde_json::to_value(user.to_record()).unwrap();
    record["zone"] = "other-zone".into();
    let record = body::decode(&serde_json::to_vec(&record).unwrap()).unwrap();
    let namesake = Caller::from_record(record);
    assert_eq!(namesake.subject(), user.subject());
    let [user, namesake] = [user, namesake].map(|it| FormHolder::of_token(&it).unwrap());
    let keys = forms(1, None);
    let token = keys.seal(FormUse::Release, &user, "content", at(0)).unwrap();
    assert!(opened(&keys, FormUse::Release, &user, &token, 0));
    assert!(!opened(&keys, FormUse::Release, &namesake, &token, 0));
}

#[test]
fn a_cookie_is_no_form() {
    let keys = forms(1, None);
    let cookie = page_cookie(1, 3600);
    let value = cookie.split_once('=').unwrap().1;
    assert!(!opened(&keys, FormUse::Release, &holder("one"), value, 0));
}
