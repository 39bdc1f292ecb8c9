//! The IAS tenant: who gets keys, and its tokens.

use cfapi_sandbox::{
    IAS_BROKER_CLIENT, IAS_PROVIDER_CLIENT, IAS_SECOND_TENANT, IAS_TENANT, Part, Sandbox,
};
use serde_json::{Value, json};

use crate::support::{Answer, claims, client, landscape, send};

async fn keys(sandbox: &Sandbox, headers: &[(&str, &str)]) -> Answer {
    let mut call = client().get(format!("{}/oauth2/certs", sandbox.ias_url()));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    send(call).await
}

const ASKER: (&str, &str) = ("x-client_id", IAS_BROKER_CLIENT);
const TENANT: (&str, &str) = ("x-app_tid", IAS_TENANT);
const CALLER: (&str, &str) = ("x-azp", IAS_PROVIDER_CLIENT);

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let sandbox = landscape().await;
    let url = format!("{}/.well-known/openid-configuration", sandbox.ias_url());
    let document = send(client().get(url)).await.json();
    assert_eq!(document["issuer"], sandbox.ias_url());
    assert_eq!(document["jwks_uri"], format!("{}/oauth2/certs", sandbox.ias_url()));
}

#[tokio::test]
async fn keys_need_the_broker_client_a_known_tenant_and_a_known_caller() {
    let sandbox = landscape().await;
    let good = keys(&sandbox, &[ASKER, TENANT, CALLER]).await;
    assert_eq!(good.status, 200);
    assert_eq!(good.json()["keys"][0]["kid"], sandbox.ias_key().kid());
    assert_eq!(keys(&sandbox, &[ASKER, TENANT]).await.status, 200, "no client is asked about");
    let second = ("x-app_tid", IAS_SECOND_TENANT);
    assert_eq!(keys(&sandbox, &[ASKER, second, CALLER]).await.status, 200);
    let refused: [&[(&str, &str)]; 8] = [
        &[],
        &[TENANT, CALLER],
        &[ASKER, CALLER],
        &[("x-client_id", IAS_PROVIDER_CLIENT), TENANT, CALLER],
        &[ASKER, ("x-app_tid", "other"), CALLER],
        &[ASKER, TENANT, ("x-azp", "other")],
        &[ASKER, TENANT, ("x-azp", "")],
        &[ASKER, TENANT, CALLER, CALLER],
    ];
    for headers in refused {
        assert_eq!(keys(&sandbox, headers).await.status, 400, "{headers:?}");
    }
}

#[tokio::test]
async fn an_etag_brings_304() {
    let sandbox = landscape().await;
    let tag = keys(&sandbox, &[ASKER, TENANT]).await.header("etag").to_owned();
    let again = keys(&sandbox, &[ASKER, TENANT, ("if-none-match", &tag)]).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    sandbox.rotate_keys(Part::Ias).unwrap();
    assert_eq!(keys(&sandbox, &[ASKER, TENANT, ("if-none-match", &tag)]).await.status, 200);
}

#[tokio::test]
async fn levers_make_a_client_or_a_tenant_unknown_and_known_again() {
    let sandbox = landscape().await;
    for (lever, name, value) in
        [("ias_client", "client", IAS_PROVIDER_CLIENT), ("ias_tenant", "tenant", IAS_TENANT)]
    {
        sandbox.pull(lever, &json!({name: value, "on": false})).unwrap();
        assert_eq!(keys(&sandbox, &[ASKER, TENANT, CALLER]).await.status, 400, "{lever}");
        sandbox.pull(lever, &json!({name: value})).unwrap();
        assert_eq!(keys(&sandbox, &[ASKER, TENANT, CALLER]).await.status, 200, "{lever}");
    }
}

#[tokio::test]
async fn a_token_is_for_the_broker_and_its_claims_can_be_replaced() {
    let sandbox = landscape().await;
    let token = sandbox.ias_token(IAS_PROVIDER_CLIENT, &json!({"ias_apis": ["x"], "jti": null}));
    let claims_of_token = claims(&token);
    assert_eq!(claims_of_token["aud"], json!([IAS_BROKER_CLIENT]));
    assert_eq!(
        (claims_of_token["iss"].as_str().unwrap(), &claims_of_token["app_tid"]),
        (sandbox.ias_url().as_str(), &json!(IAS_TENANT))
    );
    assert_eq!(
        (&claims_of_token["azp"], &claims_of_token["sub"]),
        (&json!(IAS_PROVIDER_CLIENT), &json!(IAS_PROVIDER_CLIENT))
    );
    assert_eq!(
        (&claims_of_token["ias_apis"], &claims_of_token["jti"]),
        (&json!(["x"]), &Value::Null)
    );
    assert!(sandbox.ias_key().verified(&token).is_some());
    let pulled = sandbox.pull("ias_token", &json!({"client": "c"})).unwrap();
    assert_eq!(claims(pulled["access_token"].as_str().unwrap())["azp"], "c");
}

#[tokio::test]
async fn the_identity_binding_is_there_only_when_asked_for() {
    let sandbox = landscape().await;
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parse(&sandbox.vcap_services())["identity"], Value::Null);
    let bound = parse(&sandbox.vcap_services_with_identity());
    let credentials = &bound["identity"][0]["credentials"];
    assert_eq!(credentials["domains"], json!([sandbox.ias_domain()]));
    assert_eq!(credentials["url"], sandbox.ias_url());
    assert!(bound["xsuaa"].is_array() && bound["destination"].is_array());
}
