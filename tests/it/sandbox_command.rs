//! `cfapi-broker sandbox`: what it prints, and that the printed calls work.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    APP, answer,
    browser::{Browser, location},
    client, parse,
    process::Program,
    variables_of,
};

/// The members of the first line of `--json`, in documented order.
const MEMBERS: [&str; 10] = [
    "broker",
    "destination",
    "xsuaa",
    "uaa",
    "cf_api",
    "levers",
    "provider_token",
    "developer_token",
    "vcap_services",
    "vcap_application",
];

async fn first_line(program: &mut Program) -> Value {
    program.wait_for(|line| Some(parse(line)).filter(Value::is_object)).await
}

fn text<'a>(line: &'a Value, member: &str) -> &'a str {
    line[member].as_str().unwrap_or_else(|| panic!("{member}: {line}"))
}

async fn put_and_delete(base: &str, token: &str) {
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    let put = client().put(format!("{base}/routes/t1")).bearer_auth(token);
    let put = answer(put.header("content-type", "application/json").body(body)).await;
    assert_eq!(put.status, 201, "{}", put.text);
    let gone = answer(client().delete(format!("{base}/routes/t1")).bearer_auth(token)).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
}

#[tokio::test]
async fn the_first_line_of_json_has_all_that_a_test_needs() {
    let mut program = Program::start(&["sandbox", "--port-base", "0", "--json"], &BTreeMap::new());
    let line = first_line(&mut program).await;
    for member in MEMBERS {
        assert!(line.get(member).is_some(), "{member}: {line}");
    }
    assert_eq!(line.as_object().unwrap().len(), MEMBERS.len());
    put_and_delete(text(&line, "broker"), text(&line, "provider_token")).await;
    let spaces = client()
        .get(format!("{}/spaces", text(&line, "broker")))
        .bearer_auth(text(&line, "developer_token"));
    assert_eq!(answer(spaces).await.status, 200);
    let journal = answer(client().get(format!("{}/journal", text(&line, "levers")))).await.json();
    let grants = journal["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["grant_type"] == "password");
    assert_eq!(grants.count(), 1, "{journal}");
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
}

/// A newcomer types the command, opens the printed address and chooses a person.
#[tokio::test]
async fn the_printed_address_leads_a_browser_to_the_spaces_with_one_click() {
    let mut program = Program::start(&["sandbox", "--port-base", "0"], &BTreeMap::new());
    let line = program.wait_for(|line| line.starts_with("open ").then(|| line.to_owned())).await;
    let address = line.split(' ').nth(1).unwrap();
    let (_, people) = line.split_once("choose who you are: ").unwrap();
    assert_eq!(people.split(", ").count(), 3, "{line}");
    let browser = Browser::default();
    let mut shown = browser.open(address).await;
    while shown.headers.contains_key("location") {
        shown = browser.open(&location(&shown)).await;
    }
    let developer = people.split(", ").find(|name| name.starts_with("developer")).unwrap();
    let (_, choice) = shown.text.split_once("<a href=\"").unwrap();
    let choice = choice.split_once('"').unwrap().0.replace("&amp;", "&");
    assert!(choice.ends_with(developer), "{choice}");
    let xsuaa = shown.url.split_once('?').unwrap().0;
    shown = browser.open(&format!("{xsuaa}{choice}")).await;
    while shown.headers.contains_key("location") {
        shown = browser.open(&location(&shown)).await;
    }
    assert!(shown.status == 200 && shown.text.contains("provider-org"), "{}", shown.text);
}

#[tokio::test]
async fn separate_brokers_can_use_a_landscape_without_a_broker() {
    let mut landscape = Program::start(
        &["sandbox", "--port-base", "0", "--landscape-only", "--json"],
        &BTreeMap::new(),
    );
    let line = first_line(&mut landscape).await;
    assert!(line["broker"].is_null());
    let variables = variables_of(text(&line, "vcap_services"), text(&line, "vcap_application"));
    let (mut one, mut other) =
        (Program::start(&[], &variables), Program::start(&["serve"], &variables));
    put_and_delete(&one.base().await, text(&line, "provider_token")).await;
    put_and_delete(&other.base().await, text(&line, "provider_token")).await;
}

#[tokio::test]
async fn levers_can_be_pulled_over_http() {
    let mut program = Program::start(&["sandbox", "--port-base", "0", "--json"], &BTreeMap::new());
    let line = first_line(&mut program).await;
    let (levers, broker) = (text(&line, "levers"), text(&line, "broker"));
    let listed = answer(client().get(levers)).await;
    assert!(
        listed.text.contains("change_password") && listed.text.contains("fail_next"),
        "{}",
        listed.text
    );
    let lever =
        client().post(format!("{levers}/suspend")).header("content-type", "application/json");
    let pulled = answer(lever.body(json!({"org": "provider-org"}).to_string())).await;
    assert_eq!(pulled.status, 200, "{}", pulled.text);
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    let put =
        client().put(format!("{broker}/routes/t1")).bearer_auth(text(&line, "provider_token"));
    let refused = answer(put.header("content-type", "application/json").body(body)).await;
    assert_eq!(refused.code(), "cf_refused");
    let emptied = answer(client().delete(format!("{levers}/journal"))).await;
    assert!(emptied.status < 300, "{}", emptied.text);
}

#[tokio::test]
async fn it_does_not_start_on_a_platform_and_names_a_port_in_use() {
    let on_cf: BTreeMap<String, String> = [("VCAP_APPLICATION".to_owned(), "{}".to_owned())].into();
    let refused = Program::start(&["sandbox", "--port-base", "0"], &on_cf).ended().await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let base = (taken - 3).to_string();
    let refused =
        Program::start(&["sandbox", "--port-base", &base], &BTreeMap::new()).ended().await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(
        refused.out.contains("is in use") && refused.out.contains("--port-base"),
        "{}",
        refused.out
    );
}
