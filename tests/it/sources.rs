//! Where the destination is read from, and what the answers say about a correction there.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use cfapi_sandbox::{Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, TestBroker, parse, process::Program, pull, sandbox, variables_of};

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

/// The services of the sandbox with one of them as a user-provided service with its tag.
fn tagged(sandbox: &Sandbox, label: &str) -> Value {
    let mut services = parse(&sandbox.vcap_services());
    let managed = services.as_object_mut().unwrap().remove(label).unwrap();
    let name = format!("my-{label}");
    services["user-provided"] = json!([{
        "label": "user-provided", "name": name, "instance_name": name, "tags": [label],
        "credentials": managed[0]["credentials"],
    }]);
    services
}

#[rstest]
#[case("destination")]
#[case("xsuaa")]
#[tokio::test]
async fn a_service_key_with_a_tag_is_as_good_as_a_binding(#[case] label: &str) {
    let sandbox = sandbox().await;
    let services = tagged(&sandbox, label);
    let application = sandbox.vcap_application("127.0.0.1");
    let broker = TestBroker::with(variables_of(&services.to_string(), &application)).await;
    let got = spaces(&broker, &sandbox).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[rstest]
#[case("destination")]
#[case("xsuaa")]
#[tokio::test]
async fn a_service_key_with_a_tag_beside_a_binding_ends_the_start(#[case] label: &str) {
    let sandbox = sandbox().await;
    let mut services = tagged(&sandbox, label);
    services[label] = parse(&sandbox.vcap_services())[label].clone();
    let managed = services[label][0]["name"].as_str().unwrap().to_owned();
    let variables = variables_of(&services.to_string(), &sandbox.vcap_application("127.0.0.1"));
    let ended = Program::start(&[], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    for name in [managed.as_str(), &format!("my-{label}")] {
        assert!(ended.out.contains(&format!("{name} (VCAP_SERVICES)")), "{name}: {}", ended.out);
    }
}

#[tokio::test]
async fn a_user_provided_destination_without_authentication_says_what_is_missing() {
    let sandbox = sandbox().await;
    let mut incomplete = properties(&sandbox, TECHNICAL_PASSWORD);
    incomplete.as_object_mut().unwrap().remove("Authentication");
    let broker = TestBroker::with(user_provided(&sandbox, &incomplete)).await;
    let refused = spaces(&broker, &sandbox).await;
    assert_eq!(refused.code(), "destination_invalid");
    assert!(detail(&refused).contains("Authentication is missing"), "{}", refused.text);
    let broker = TestBroker::with(user_provided(&sandbox, &json!({}))).await;
    assert_eq!(spaces(&broker, &sandbox).await.code(), "destination_missing");
    assert_eq!(sandbox.password_grants(), 0);
}

#[rstest]
#[case::variable("variable", "[SDK]")]
#[case::variable_with_one("variable", "SDK")]
#[case::user_provided("user-provided", "SDK")]
#[case::file_with_one("file", "SDK")]
#[case::file_with_a_list("file", "[SDK]")]
#[case::init_data("file", r#"{"init_data":{"subaccount":{"destinations":[SDK]}}}"#)]
#[case::environment("file", r#"{"VCAP_SERVICES":{},"destinations":[SDK]}"#)]
#[case::byte_order_mark("file", "\u{feff}SDK")]
#[tokio::test]
async fn the_spelling_of_the_cloud_sdk_needs_no_type(#[case] source: &str, #[case] text: &str) {
    let sandbox = sandbox().await;
    let sdk = json!({
        "name": "CFAPI", "url": sandbox.cf_url(), "authentication": "OAuth2Password",
        "username": TECHNICAL_USER, "password": TECHNICAL_PASSWORD, "clientId": "cf",
        "clientSecret": "", "origin": "sandbox-platform",
        "tokenServiceUrl": format!("{}/oauth/token", sandbox.uaa_url()),
    });
    let text = text.replace("SDK", &sdk.to_string());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("destination.json");
    fs::write(&path, &text).unwrap();
    let mut variables = match source {
        "user-provided" => user_provided(&sandbox, &sdk),
        "file" => file(&sandbox, &path),
        _ => local(&sandbox),
    };
    if source == "variable" {
        variables.insert("destinations".to_owned(), text);
    }
    let broker = TestBroker::with(variables).await;
    let got = spaces(&broker, &sandbox).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn byte_order_marks_in_variables_are_no_error() {
    let sandbox = sandbox().await;
    let mut variables =
        variables_of(&sandbox.vcap_services(), &sandbox.vcap_application("127.0.0.1"));
    variables.insert("CFAPI_AUTH__ZONES".to_owned(), "[\n  \"z1\"\n]".to_owned());
    for name in ["VCAP_SERVICES", "VCAP_APPLICATION", "CFAPI_AUTH__ZONES"] {
        variables.get_mut(name).unwrap().insert(0, '\u{feff}');
    }
    let broker = TestBroker::with(variables).await;
    assert_eq!(spaces(&broker, &sandbox).await.status, 200);
}

#[rstest]
#[case("<password>")]
#[case("ChangeMe")]
#[case("YOUR_PASSWORD")]
#[case("${CF_PASSWORD}")]
#[case("********")]
#[tokio::test]
async fn a_placeholder_as_password_costs_no_logon(#[case] password: &str) {
    let sandbox = sandbox().await;
    let change = json!({"name": "CFAPI", "set": {"Password": password}});
    pull(&sandbox, "edit_destination", &change);
    let broker = TestBroker::start(&sandbox).await;
    let refused = spaces(&broker, &sandbox).await;
    assert_eq!(refused.code(), "destination_invalid");
    let text = detail(&refused);
    assert!(text.contains("Password is a placeholder"), "{text}");
    assert!(!text.contains(password), "{text}");
    assert_eq!(sandbox.password_grants(), 0);
}
