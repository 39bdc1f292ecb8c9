//! Where the destination is read from, and what the answers say about a correction there.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use cfapi_sandbox::{Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, TestBroker, parse, sandbox, variables_of};

/// The properties of the destination with a password.
fn properties(sandbox: &Sandbox, password: &str) -> Value {
    json!({
        "Name": "CFAPI", "Type": "HTTP", "URL": sandbox.cf_url(), "ProxyType": "Internet",
        "Authentication": "OAuth2Password", "clientId": "cf", "clientSecret": "",
        "User": TECHNICAL_USER, "Password": password, "origin": "sandbox-platform",
        "tokenServiceURL": format!("{}/oauth/token", sandbox.uaa_url()),
    })
}

/// A broker outside Cloud Foundry with no binding but xsuaa.
fn local(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let services = json!({"xsuaa": parse(&sandbox.vcap_services())["xsuaa"]});
    let mut variables = variables_of(&services.to_string(), "");
    variables.remove("VCAP_APPLICATION");
    variables
}

/// The same on Cloud Foundry, with a user-provided service.
fn user_provided(sandbox: &Sandbox, properties: &Value) -> BTreeMap<String, String> {
    let provided = json!([{"label": "user-provided", "name": "CFAPI", "credentials": properties}]);
    let services = json!({
        "xsuaa": parse(&sandbox.vcap_services())["xsuaa"], "user-provided": provided,
    });
    variables_of(&services.to_string(), &sandbox.vcap_application("127.0.0.1"))
}

fn variable(sandbox: &Sandbox, properties: &Value) -> BTreeMap<String, String> {
    let mut variables = local(sandbox);
    variables.insert("destinations".to_owned(), json!([properties]).to_string());
    variables
}

fn file(sandbox: &Sandbox, path: &Path) -> BTreeMap<String, String> {
    let mut variables = local(sandbox);
    variables.insert("CFAPI_DESTINATION__FILE".to_owned(), path.display().to_string());
    variables
}

async fn spaces(broker: &TestBroker, sandbox: &Sandbox) -> Answer {
    broker.get("/spaces", &sandbox.developer_token()).await
}

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_changed_file_is_in_use_without_a_restart() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("destination.json");
    fs::write(&path, properties(&sandbox, "wrong").to_string()).unwrap();
    let broker = TestBroker::with(file(&sandbox, &path)).await;
    let refused = spaces(&broker, &sandbox).await;
    assert_eq!(refused.code(), "technical_user_rejected");
    let text = detail(&refused);
    assert!(text.contains("destination file") && text.contains("within 60 seconds"), "{text}");
    fs::write(&path, properties(&sandbox, TECHNICAL_PASSWORD).to_string()).unwrap();
    for _ in 0..250 {
        let got = spaces(&broker, &sandbox).await;
        if got.status == 200 {
            assert_eq!(sandbox.password_grants(), 2);
            return;
        }
        assert_eq!(got.code(), "technical_user_rejected");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the changed file is not in use");
}

#[rstest]
#[case::variable(variable, "the variable destinations")]
#[case::user_provided(user_provided, "the user-provided service")]
#[tokio::test]
async fn a_source_that_is_read_once_asks_for_a_restart(
    #[case] variables: fn(&Sandbox, &Value) -> BTreeMap<String, String>,
    #[case] place: &str,
) {
    let sandbox = sandbox().await;
    let wrong = properties(&sandbox, "wrong");
    let mut incomplete = wrong.clone();
    incomplete.as_object_mut().unwrap().remove("Password");
    let mut no_grant = wrong.clone();
    no_grant["origin"] = json!("no-such-platform");
    for (content, code) in [
        (&wrong, "technical_user_rejected"),
        (&incomplete, "destination_invalid"),
        (&no_grant, "destination_invalid"),
    ] {
        let broker = TestBroker::with(variables(&sandbox, content)).await;
        let refused = spaces(&broker, &sandbox).await;
        assert_eq!(refused.code(), code, "{}", refused.text);
        let text = detail(&refused);
        assert!(text.contains(place) && text.contains("restart"), "{text}");
        assert!(!text.contains("60 seconds"), "{text}");
        let listed = broker.get("/destinations", &sandbox.developer_token()).await.json();
        let hint = listed["resources"][0]["last_refusal"]["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("restart of the broker"), "{hint}");
    }
}

#[tokio::test]
async fn without_any_source_the_answer_names_what_to_bind_and_asks_for_a_restart() {
    let sandbox = sandbox().await;
    let broker = TestBroker::with(local(&sandbox)).await;
    let refused = spaces(&broker, &sandbox).await;
    assert_eq!(refused.code(), "destination_missing");
    let text = detail(&refused);
    assert!(text.contains("Bind a Destination service") && text.contains("restart"), "{text}");
    assert!(!text.contains("60 seconds"), "{text}");
}
