//! Keys of IAS: the requests, refused clients and tenants, rotation, outage, and tokens that are
//! bound to a certificate.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use cfapi_sandbox::{
    IAS_BROKER_CLIENT, IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT, IAS_SECOND_TENANT, IAS_TENANT, Part,
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{API, asked, both, broker, fetches, good, token};
use crate::{
    callers::PATH,
    support::{TestBroker, answer, client, pull, sandbox},
};

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn the_request_for_keys_names_own_client_tenant_and_caller() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[("TENANTS", IAS_SECOND_TENANT)]).await;
    let sent = |line: String| {
        let last = String::from_utf8(sandbox.last_request(Part::Ias)).unwrap();
        last.to_ascii_lowercase().lines().any(|sent| sent == line)
    };
    for (tenant, azp) in [
        (IAS_TENANT, json!(IAS_PROVIDER_CLIENT)),
        (IAS_SECOND_TENANT, json!(IAS_SECOND_CLIENT)),
        (IAS_TENANT, Value::Null),
    ] {
        let claims = json!({"ias_apis": [API], "app_tid": tenant, "azp": azp});
        let token = sandbox.ias_token(IAS_PROVIDER_CLIENT, &claims);
        assert_eq!(broker.get(PATH, &token).await.status, 200);
        assert!(sent("get /oauth2/certs http/1.1".to_owned()));
        assert!(sent(format!("x-client_id: {IAS_BROKER_CLIENT}")));
        assert!(sent(format!("x-app_tid: {tenant}")));
        let last = String::from_utf8(sandbox.last_request(Part::Ias)).unwrap();
        assert_eq!(last.to_ascii_lowercase().contains("x-azp"), azp.is_string());
        assert!(azp.as_str().is_none_or(|azp| sent(format!("x-azp: {azp}"))));
    }
    assert_eq!((asked(&sandbox, DISCOVERY), fetches(&sandbox)), (1, 3));
}

#[tokio::test]
async fn parallel_new_callers_cause_one_discovery_and_one_fetch_each() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let mut parallel = JoinSet::new();
    for number in 0..20 {
        let caller = [IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT][number % 2];
        let request = client().get(format!("{}{PATH}", broker.base));
        let request = request.bearer_auth(token(&sandbox, caller));
        parallel.spawn(async move { answer(request).await.status });
    }
    assert!(parallel.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!((asked(&sandbox, DISCOVERY), fetches(&sandbox)), (1, 2));
}

#[tokio::test]
async fn a_client_without_keys_is_refused_and_its_keys_are_not_fetched_again() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[("TENANTS", "unknown-tenant")]).await;
    let claims = [json!({"azp": "unknown-client"}), json!({"app_tid": "unknown-tenant"})];
    for (number, claims) in claims.iter().enumerate() {
        for _ in 0..10 {
            let got = broker.get(PATH, &sandbox.ias_token(IAS_PROVIDER_CLIENT, claims)).await;
            assert_eq!((got.status, got.code().as_str()), (401, "unauthenticated"));
        }
        assert_eq!(fetches(&sandbox), number + 1);
    }
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
}

#[tokio::test]
async fn one_answer_that_a_client_has_no_keys_ends_none() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let before = good(&sandbox);
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    pull(&sandbox, "ias_client", &json!({"client": IAS_PROVIDER_CLIENT, "on": false}));
    pull(&sandbox, "rotate_keys", &json!({"part": "ias", "keep_old": true}));
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.code(), "keys_unavailable");
    assert_eq!(broker.get(PATH, &before).await.status, 200, "a single answer may be a mistake");
    assert_eq!(broker.get(PATH, &token(&sandbox, IAS_SECOND_CLIENT)).await.status, 200);
}

#[tokio::test]
async fn a_new_key_is_accepted_on_first_use_and_a_removed_one_is_not() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let before = good(&sandbox);
    assert_eq!(broker.get(PATH, &before).await.status, 200);
    pull(&sandbox, "rotate_keys", &json!({"part": "ias"}));
    assert_eq!(broker.get(PATH, &before).await.status, 200, "the removal is not known yet");
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    assert_eq!(broker.get(PATH, &before).await.status, 401);
    assert_eq!(fetches(&sandbox), 2);
}

#[rstest]
#[case::keys_gateway_error("/oauth2/certs", json!({"status": 502}))]
#[case::keys_none("/oauth2/certs", json!({"status": 200, "body": "{\"keys\":[]}"}))]
#[case::keys_forbidden("/oauth2/certs", json!({"status": 403}))]
#[case::keys_not_found("/oauth2/certs", json!({"status": 404}))]
#[case::keys_not_json("/oauth2/certs", json!({"status": 200, "body": "<html>"}))]
#[case::keys_ten_megabytes("/oauth2/certs", json!({"status": 200, "body_size": 10_000_000}))]
#[case::keys_unchanged("/oauth2/certs", json!({"status": 304}))]
#[case::keys_moved("/oauth2/certs", json!({"status": 302, "headers": {"location": "/oauth2/certs"}}))]
#[case::discovery_gateway_error(DISCOVERY, json!({"status": 504}))]
#[case::discovery_refused(DISCOVERY, json!({"status": 400}))]
#[case::discovery_not_json(DISCOVERY, json!({"status": 200, "body": "<html>"}))]
#[case::discovery_without_keys(DISCOVERY, json!({"status": 200, "body": "{\"issuer\":\"x\"}"}))]
#[case::discovery_with_keys_twice(DISCOVERY, json!({"status": 200, "body": "{\"jwks_uri\":\"x\",\"jwks_uri\":\"x\"}"}))]
#[case::discovery_too_large(DISCOVERY, json!({"status": 200, "body_size": 100_000}))]
#[case::discovery_moved(DISCOVERY, json!({"status": 302, "headers": {"location": "/oauth2/certs"}}))]
#[tokio::test]
async fn failed_fetches_are_503_until_one_succeeds(#[case] path: &str, #[case] fault: Value) {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let mut fault = fault;
    fault["part"] = json!("ias");
    fault["only"] = json!(format!("GET {path}"));
    fault["n"] = json!(100);
    pull(&sandbox, "fail_next", &fault);
    let got = broker.get(PATH, &good(&sandbox)).await;
    assert_eq!((got.status, got.code().as_str()), (503, "keys_unavailable"), "{}", got.text);
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=16).contains(&wait), "{wait}");
    assert_eq!(broker.get(PATH, &sandbox.developer_token()).await.status, 200, "XSUAA goes on");
    pull(&sandbox, "clear", &json!({"part": "ias"}));
    for _ in 0..200 {
        if broker.get(PATH, &good(&sandbox)).await.status == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the keys are not fetched again");
}

#[tokio::test]
async fn callers_with_cached_keys_do_not_notice_an_outage() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    sandbox.stop_part(Part::Ias).await;
    for _ in 0..5 {
        assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    }
    let new = broker.get(PATH, &token(&sandbox, IAS_SECOND_CLIENT)).await;
    assert_eq!((new.status, new.code().as_str()), (503, "keys_unavailable"));
}

#[tokio::test]
async fn a_token_may_be_bound_to_a_certificate() {
    const OWN: &[u8] = b"\x30\x82\x03\x01the caller's certificate";
    const HOST: &str = "broker.cert.cfapps.example.test";
    let sandbox = sandbox().await;
    let mut variables = both(&sandbox, &[]);
    for (key, value) in
        [("SERVER__NAMES", HOST), ("AUTH__REQUIRE_MTLS", "true"), ("AUTH__CERT_HOSTS", HOST)]
    {
        variables.insert(format!("CFAPI_{key}"), value.to_owned());
    }
    let broker = TestBroker::with(variables).await;
    let bound = |der: &[u8]| {
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, der));
        let claims = json!({"ias_apis": [API], "cnf": {"x5t#S256": thumbprint}});
        sandbox.ias_token(IAS_PROVIDER_CLIENT, &claims)
    };
    let status = async |token: &str, shown: Option<&[u8]>| {
        let request = client().get(format!("{}{PATH}", broker.base)).header("host", HOST);
        let request = match shown {
            Some(der) => request.header("x-forwarded-client-cert", STANDARD.encode(der)),
            None => request,
        };
        answer(request.bearer_auth(token)).await.status
    };
    let own = bound(OWN);
    assert_eq!(status(&own, Some(OWN)).await, 200);
    assert_eq!(status(&own, None).await, 401);
    assert_eq!(status(&own, Some(b"\x30\x82another")).await, 401);
    assert_eq!(status(&bound(b"\x30\x82another"), Some(OWN)).await, 401);
    assert_eq!(status(&good(&sandbox), Some(OWN)).await, 401);
}
