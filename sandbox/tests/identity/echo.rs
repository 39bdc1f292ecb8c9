//! Errors that repeat what the client sent.

use cfapi_sandbox::{Sandbox, TECHNICAL_PASSWORD};
use serde_json::{Value, json};

use crate::support::{Answer, client, good_grant, landscape, password_grant, refresh_grant, send};

fn echo(sandbox: &Sandbox, args: &Value) {
    sandbox.pull("echo", args).unwrap();
}

async fn with_bearer(url: String, token: &str) -> Answer {
    send(client().get(url).header("authorization", format!("Bearer {token}"))).await
}

#[tokio::test]
async fn the_uaa_repeats_a_password_in_every_spelling() {
    let sandbox = landscape().await;
    let spellings = [
        ("plain", TECHNICAL_PASSWORD),
        ("url", "sandbox-only-p%26ss+w%3Drd%25%C3%BC"),
        ("html", "sandbox-only-p&amp;ss w=rd%ü"),
        ("json", "\"sandbox-only-p&ss w=rd%ü\""),
    ];
    for (spelling, wanted) in spellings {
        echo(&sandbox, &json!({"part": "uaa", "spelling": spelling}));
        let answer = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["error"], "invalid_client");
        let text = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(text.starts_with(wanted), "{spelling}: {text}");
        assert!(text.contains("Y2Y6"), "{text}");
    }
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_uaa_repeats_a_refresh_token_behind_other_text() {
    let sandbox = landscape().await;
    let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    echo(&sandbox, &json!({"part": "uaa", "before": 180, "status": 400, "place": "code"}));
    let answer = refresh_grant(&sandbox, &refresh).await;
    assert_eq!(answer.status, 400);
    let code = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(code.find(&refresh), Some(180), "{code}");
}

#[tokio::test]
async fn each_part_repeats_tokens_and_paths_in_its_own_form_of_error() {
    let sandbox = landscape().await;
    for part in ["cf", "destination", "ias"] {
        echo(&sandbox, &json!({"part": part}));
    }
    let cf = with_bearer(format!("{}/v3/apps?names=eyJ.in-the-path", sandbox.cf_url()), "t0ken");
    let cf = cf.await;
    assert_eq!(cf.status, 422);
    let entry = &cf.json()["errors"][0];
    assert_eq!(
        (&entry["title"], &entry["code"]),
        (&json!("CF-UnprocessableEntity"), &json!(10_008))
    );
    assert_eq!(entry["detail"], "t0ken /v3/apps?names=eyJ.in-the-path");
    let path = "/destination-configuration/v1/destinations/CFAPI";
    let found = with_bearer(format!("{}{path}", sandbox.destination_url()), "t0ken").await;
    assert_eq!(found.status, 400);
    assert_eq!(found.json()["ErrorMessage"], format!("t0ken {path}"));
    let keys = with_bearer(format!("{}/oauth2/certs", sandbox.ias_url()), "t0ken").await;
    assert_eq!(keys.json()["error_description"], "t0ken /oauth2/certs");
}

#[tokio::test]
async fn a_page_and_a_header_hold_a_text_of_the_test() {
    let sandbox = landscape().await;
    let args = json!({"part": "xsuaa", "text": "canary", "place": "page", "status": 502});
    echo(&sandbox, &args);
    let url = format!("{}/token_keys", sandbox.xsuaa_url());
    let page = send(client().get(&url)).await;
    assert_eq!(
        (page.status.as_u16(), page.text.as_str()),
        (502, "<html><body>canary</body></html>")
    );
    let args = json!({"part": "xsuaa", "text": "canary", "place": "header", "status": 503, "n": 2});
    echo(&sandbox, &args);
    for _ in 0..2 {
        let answer = send(client().get(&url)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-cf-routererror")), (503, "canary"));
    }
    let wrong = sandbox.pull("echo", &json!({"part": "cf", "place": "nowhere"})).unwrap_err();
    assert!(wrong.contains("place"), "{wrong}");
}
