//! Attackers and floods.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cfapi_sandbox::{IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT, Sandbox, token::key::SigningKey};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{asked, broker, fetches, good, token};
use crate::{
    callers::{PATH, decoded, split},
    support::{TestBroker, pull, sandbox},
};

/// A valid token with other claims, signed by a key that is not published.
fn forged(sandbox: &Sandbox, changes: &Value) -> String {
    let [header, mut claims, _] = split(&good(sandbox)).map(decoded);
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    SigningKey::first("attacker").sign_with(&header, &claims)
}

/// As [`forged`], with a key id that no key has.
fn invented(sandbox: &Sandbox, kid: &str, changes: &Value) -> String {
    let [mut header, mut claims, _] = split(&good(sandbox)).map(decoded);
    header["kid"] = json!(kid);
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    SigningKey::first("attacker").sign_with(&header, &claims)
}

/// The highest allowed number of fetches for new addresses.
fn most(since: Instant) -> usize {
    32 + usize::try_from(since.elapsed().as_secs() / 2).unwrap() + 1
}

#[tokio::test]
async fn an_attackers_servers_are_never_called() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let (base, url) = (format!("http://{address}"), format!("http://{address}/certs"));
    let attacker = SigningKey::first("attacker");
    let [valid, claims, _] = split(&good(&sandbox)).map(decoded);
    for issuer in [
        base.clone(),
        address.to_string(),
        format!("https://{address}"),
        format!("{}@{address}", sandbox.ias_url()),
        format!("{base}/{}", sandbox.ias_url()),
        format!("{base}#{}", sandbox.ias_domain()),
    ] {
        for claim in ["iss", "ias_iss"] {
            let (mut header, mut claims) = (valid.clone(), claims.clone());
            header["jku"] = json!(url);
            header["x5u"] = json!(url);
            claims[claim] = json!(issuer);
            claims["jwks_uri"] = json!(url);
            assert_eq!(broker.get(PATH, &attacker.sign_with(&header, &claims)).await.status, 401);
        }
    }
    assert_eq!(fetches(&sandbox), 0);
    let mut header = valid.clone();
    header["jku"] = json!(url);
    assert_eq!(broker.get(PATH, &attacker.sign_with(&header, &claims)).await.status, 401);
    // Even a trusted issuer cannot send the broker to another host, neither by its document nor by
    // a redirect.
    let discovery = "GET /.well-known/openid-configuration";
    let faults = [
        (discovery, json!({"status": 200, "body": json!({"jwks_uri": url})})),
        (discovery, json!({"status": 302, "headers": {"location": url}})),
        ("GET /oauth2/certs", json!({"status": 302, "headers": {"location": url}})),
    ];
    for (only, mut fault) in faults {
        let fresh = TestBroker::with(super::both(&sandbox, &[])).await;
        fault["part"] = json!("ias");
        fault["only"] = json!(only);
        pull(&sandbox, "fail_next", &fault);
        assert_eq!(fresh.get(PATH, &good(&sandbox)).await.code(), "keys_unavailable");
    }
    // Connections are accepted in order: the first one is ours, so no other came before.
    let own = TcpStream::connect(address).await.unwrap();
    let (_, first) = server.accept().await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

/// The flood goes on while the valid callers come.
#[tokio::test]
async fn a_flood_of_clients_causes_few_fetches_and_keeps_no_caller_of_a_fresh_broker_out() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let started = Instant::now();
    let flood = async |name: &str, kid: Option<&str>, count: usize| {
        for number in 0..count {
            let claims = json!({"azp": format!("{name}-{number}")});
            let token = match kid {
                None => forged(&sandbox, &claims),
                Some(kid) => invented(&sandbox, &format!("{kid}-{number}"), &claims),
            };
            let got = broker.get(PATH, &token).await;
            assert!(matches!(got.status, 401 | 503), "{}", got.text);
            assert_eq!(got.status == 503, got.headers.contains_key("retry-after"));
        }
    };
    flood("random", Some("invented"), 100).await;
    flood("more", None, 50).await;
    assert!(fetches(&sandbox) <= most(started) + 1, "{}", fetches(&sandbox));
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    let before = fetches(&sandbox);
    flood("again", None, 100).await;
    assert_eq!(fetches(&sandbox), before, "a key is known");
    assert_eq!(broker.get(PATH, &token(&sandbox, IAS_SECOND_CLIENT)).await.status, 200);
    assert_eq!(asked(&sandbox, "/.well-known/openid-configuration"), 1);
}

/// Tokens that name other issuers use up nothing of the bound issuer.
#[tokio::test]
async fn a_flood_of_labels_keeps_no_caller_of_a_fresh_broker_out() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    for number in 0..60 {
        let issuer = format!("https://label-{number}.{}", sandbox.ias_domain());
        let got = broker.get(PATH, &forged(&sandbox, &json!({"iss": issuer}))).await;
        assert_eq!(got.code(), "keys_unavailable");
    }
    for client in [IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT] {
        assert_eq!(broker.get(PATH, &token(&sandbox, client)).await.status, 200);
    }
}

/// Labels below a loopback host have no server, so each attempt fails. The metric counts them.
#[tokio::test]
async fn a_flood_of_labels_causes_few_attempts() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    let started = Instant::now();
    for number in 0..150 {
        let issuer = format!("https://label-{number}.{}", sandbox.ias_domain());
        let token = forged(&sandbox, &json!({"iss": issuer}));
        assert_eq!(broker.get(PATH, &token).await.code(), "keys_unavailable");
    }
    let operator = sandbox.admin_token();
    let metrics = broker.get("/metrics", &operator).await.text;
    let failed = metrics.lines().find(|line| line.contains("jwks_fetch") && line.contains("error"));
    let failed: usize = failed.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((1..=most(started)).contains(&failed), "{failed}");
    assert_eq!(broker.get(PATH, &good(&sandbox)).await.status, 200);
    assert_eq!(broker.get(PATH, &token(&sandbox, IAS_SECOND_CLIENT)).await.status, 200);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_fetches_once() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let token = good(&sandbox);
    assert_eq!(broker.get(PATH, &token).await.status, 200);
    let [_, payload, signature] = split(&token).map(str::to_owned);
    let started = Instant::now();
    for number in 0..100 {
        let header = json!({"alg": "RS256", "kid": format!("kid-{number}")}).to_string();
        let token = format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header));
        let expected = if number == 0 { &[401][..] } else { &[401, 503] };
        assert!(expected.contains(&broker.get(PATH, &token).await.status));
    }
    let periods = usize::try_from(started.elapsed().as_secs() / 5).unwrap();
    assert!(fetches(&sandbox) <= 2 + periods, "{}", fetches(&sandbox));
}

#[tokio::test]
async fn unknown_tenants_and_unsendable_clients_cause_no_request() {
    let sandbox = sandbox().await;
    let broker = broker(&sandbox, &[]).await;
    let long = "a".repeat(257);
    for claims in [
        json!({"app_tid": "other"}),
        json!({"app_tid": "*"}),
        json!({"azp": long}),
        json!({"azp": "a\nb"}),
        json!({"aud": ["other"]}),
        json!({"exp": 1}),
    ] {
        let token = sandbox.ias_token(IAS_PROVIDER_CLIENT, &claims);
        assert_eq!(broker.get(PATH, &token).await.status, 401, "{claims}");
    }
    assert_eq!((fetches(&sandbox), asked(&sandbox, "/.well-known/openid-configuration")), (0, 0));
}
