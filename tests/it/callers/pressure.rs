//! Keys under pressure: attackers with their own key servers, floods, rotations, outages.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cfapi_sandbox::{Part, Sandbox, token::key::SigningKey};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::{CALLER, PATH, TokenIssuer, split};
use crate::support::{TestBroker, answer, client, pull, sandbox};

fn fetches(sandbox: &Sandbox) -> usize {
    sandbox.journal().iter().filter(|entry| entry.path == "/token_keys").count()
}

fn good(sandbox: &Sandbox) -> String {
    sandbox.caller_token(CALLER, &["Spaces.Read"])
}

#[tokio::test]
async fn an_attackers_key_server_is_never_called() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let issuer = TokenIssuer::of(&sandbox);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let url = json!(format!("http://{address}/token_keys"));
    let attacker = SigningKey::first("attacker");
    for kid in [issuer.key.kid(), attacker.kid()] {
        for member in ["jku", "x5u", "iss", "jwks_uri", "kid"] {
            let (mut header, mut claims) = (issuer.header.clone(), issuer.claims.clone());
            header["kid"] = json!(kid);
            header[member] = url.clone();
            // A second unknown key id is not decided at once.
            let status = broker.get(PATH, &attacker.sign_with(&header, &claims)).await.status;
            assert!(matches!(status, 401 | 503), "{status}");
            claims[member] = url.clone();
            claims["iss"] = json!(format!("http://{address}/oauth/token"));
            assert_eq!(broker.get(PATH, &attacker.sign_with(&header, &claims)).await.status, 401);
        }
    }
    let redirect = json!({"part": "xsuaa", "only": "GET /token_keys", "status": 302, "headers": {"location": url}});
    let fresh = TestBroker::start(&sandbox).await;
    pull(&sandbox, "fail_next", &redirect);
    assert_eq!(fresh.get(PATH, &issuer.token()).await.code(), "keys_unavailable");
    // Connections are accepted in order: the first one is ours, so no other came before.
    let own = TcpStream::connect(address).await.unwrap();
    let (_, first) = server.accept().await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

#[tokio::test]
async fn a_flood_of_ten_thousand_unknown_key_ids_fetches_once_in_five_seconds() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = good(&sandbox);
    assert_eq!(broker.get(PATH, &token).await.status, 200);
    let [_, payload, signature] = split(&token).map(str::to_owned);
    let url = format!("{}{PATH}", broker.base);
    let (http, started) = (client(), Instant::now());
    let mut workers = JoinSet::new();
    for worker in 0..16 {
        let (http, url) = (http.clone(), url.clone());
        let (payload, signature) = (payload.clone(), signature.clone());
        workers.spawn(async move {
            for number in 0..625 {
                let kid = format!("{worker}-{number}");
                let header = json!({"alg": "RS256", "kid": kid}).to_string();
                let token = format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header));
                let got = answer(http.get(&url).bearer_auth(token)).await;
                assert!(matches!(got.status, 401 | 503), "{}", got.text);
                if got.status == 503 {
                    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
                    assert!((1..=5).contains(&wait), "{wait}");
                }
            }
        });
    }
    workers.join_all().await;
    let periods = usize::try_from(started.elapsed().as_secs() / 5).unwrap();
    let fetched = fetches(&sandbox);
    assert!(fetched <= 2 + periods, "{fetched} in {periods} times 5 s, the first for the caller");
    assert_eq!(broker.get(PATH, &token).await.status, 200);
}

#[tokio::test]
async fn a_token_of_a_foreign_zone_causes_no_fetch() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    for zid in [json!("11111111-0815-4711-8899-aabbccddeeff"), json!(""), Value::Null, json!("*")] {
        let token = sandbox.token_with_claims(&json!({ "zid": zid }));
        assert_eq!(broker.get(PATH, &token).await.status, 401);
    }
    assert_eq!(fetches(&sandbox), 0);
}

#[tokio::test]
async fn a_new_key_is_accepted_on_first_use_and_the_old_one_while_it_is_published() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let before = good(&sandbox);
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    pull(&sandbox, "rotate_keys", &json!({"part": "xsuaa", "keep_old": true}));
    let after = good(&sandbox);
    let mut parallel = JoinSet::new();
    for _ in 0..10 {
        let request = client().get(format!("{}{PATH}", broker.base)).bearer_auth(&after);
        parallel.spawn(async move { answer(request).await.status });
    }
    assert!(parallel.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    assert_eq!(fetches(&sandbox), 2);
}

#[tokio::test]
async fn after_a_forced_rotation_the_old_key_ends_with_the_first_use_of_the_new_one() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let before = good(&sandbox);
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    pull(&sandbox, "rotate_keys", &json!({"part": "xsuaa"}));
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    assert_eq!(broker.get(PATH, &before).await.status, 401, "its entry in the cache ends, too");
}

#[tokio::test]
async fn without_any_keys_the_answer_is_503_with_retry_after() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    sandbox.stop_part(Part::Xsuaa).await;
    let token = good(&sandbox);
    for token in [token.as_str(), &SigningKey::first("attacker").sign(&json!({}))] {
        let got = broker.get(PATH, token).await;
        if token.len() > 600 {
            assert_eq!(
                (got.status, got.code().as_str()),
                (503, "keys_unavailable"),
                "{}",
                got.text
            );
            let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=16).contains(&wait), "{wait}");
        } else {
            assert_eq!(got.status, 401, "what breaks a rule is refused without any key");
        }
    }
    sandbox.start_part(Part::Xsuaa).await.unwrap();
    for _ in 0..200 {
        if broker.get(PATH, &token).await.status == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the keys are not fetched again");
}

#[tokio::test]
async fn callers_with_cached_keys_do_not_notice_an_outage_of_the_issuer() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    sandbox.stop_part(Part::Xsuaa).await;
    for _ in 0..5 {
        assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    }
}

#[rstest]
#[case::ten_megabytes(json!({"status": 200, "body_size": 10_000_000}))]
#[case::not_json(json!({"status": 200, "body": "<html>"}))]
#[case::no_key(json!({"status": 200, "body": "{\"keys\":[]}"}))]
#[case::gateway_error(json!({"status": 502}))]
#[case::refused(json!({"status": 403}))]
#[case::unchanged_without_cached_keys(json!({"status": 304}))]
#[tokio::test]
async fn answers_that_are_no_key_set_make_keys_unavailable(#[case] fault: Value) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let mut fault = fault;
    fault["part"] = json!("xsuaa");
    fault["only"] = json!("GET /token_keys");
    fault["n"] = json!(100);
    pull(&sandbox, "fail_next", &fault);
    let got = broker.get(PATH, &good(&sandbox)).await;
    assert_eq!((got.status, got.code().as_str()), (503, "keys_unavailable"), "{}", got.text);
    assert!(got.headers.contains_key("retry-after"));
}

/// The first fetch for the new key fails in one way or another; callers do not notice.
#[rstest]
#[case::cut("cut", json!({}))]
#[case::overloaded("fail_next", json!({"status": 503}))]
#[case::no_key("fail_next", json!({"status": 200, "body": "{\"keys\":[]}"}))]
#[tokio::test]
async fn a_new_key_is_accepted_although_one_fetch_fails(#[case] lever: &str, #[case] fault: Value) {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let before = good(&sandbox);
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    pull(&sandbox, "rotate_keys", &json!({"part": "xsuaa"}));
    let mut fault = fault;
    fault["part"] = json!("xsuaa");
    fault["only"] = json!("GET /token_keys");
    pull(&sandbox, lever, &fault);
    let after = broker.get(PATH, &good(&sandbox)).await;
    assert_eq!(after.status, 200, "{}", after.text);
}

#[tokio::test]
async fn an_invented_key_id_does_not_make_a_new_key_refused() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = good(&sandbox);
    assert_eq!(broker.get(PATH, &token).await.status, 200);
    let [_, payload, signature] = split(&token);
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": "invented"}).to_string());
    let invented = format!("{header}.{payload}.{signature}");
    assert_eq!(broker.get(PATH, &invented).await.status, 401);
    pull(&sandbox, "rotate_keys", &json!({"part": "xsuaa", "keep_old": true}));
    let after = broker.get(PATH, &good(&sandbox)).await;
    assert_eq!((after.status, after.code().as_str()), (503, "keys_unavailable"), "{}", after.text);
    let wait: u64 = after.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(broker.get(PATH, &token).await.status, 200);
}
