//! However the technical user is configured, the same bytes reach the token endpoint.

use std::collections::BTreeMap;

use cfapi_sandbox::{Part, Sandbox};
use serde_json::json;

use crate::support::{TestBroker, pull, sandbox, variables};

/// The one request that the UAA may see, for the user and password of the sandbox.
fn canonical(host: &str) -> String {
    let body = "grant_type=password&username=technical.user%40example.test\
                &password=sandbox-only-p%26ss+w%3Drd%25%C3%BC\
                &login_hint=%7B%22origin%22%3A%22sandbox-platform%22%7D";
    format!(
        "POST /oauth/token HTTP/1.1\nhost: {host}\nauthorization: Basic Y2Y6\ncontent-type: application/x-www-form-urlencoded\n\
         accept: application/json\ncontent-length: {}\n\n{body}",
        body.len()
    )
}

/// The request as seen on the socket: request line, the relevant headers in a fixed order, body.
fn seen(sandbox: &Sandbox) -> String {
    let bytes = String::from_utf8(sandbox.last_uaa_request()).unwrap();
    let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, &str> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let wanted = ["host", "authorization", "content-type", "accept", "content-length"];
    let mut known: Vec<_> =
        wanted.iter().map(|name| format!("{name}: {}", headers[*name])).collect();
    let further =
        headers.keys().filter(|name| !wanted.contains(&name.as_str()) && *name != "user-agent");
    known.extend(further.map(|name| format!("unexpected {name}")));
    format!("{line}\n{}\n\n{body}", known.join("\n"))
}

fn uaa_host(sandbox: &Sandbox) -> String {
    sandbox.uaa_url().trim_start_matches("http://").to_owned()
}

async fn logs_on(sandbox: &Sandbox, variables: BTreeMap<String, String>) -> String {
    let broker = TestBroker::with(variables).await;
    let answer = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(sandbox.password_grants(), 1);
    broker.stop().await;
    seen(sandbox)
}

#[tokio::test]
async fn a_destination_of_the_service_leads_to_the_canonical_bytes_in_all_four_spellings() {
    for spelling in 1..=4 {
        let sandbox = sandbox().await;
        pull(&sandbox, "spell_origin", &json!({"spelling": spelling}));
        let seen = logs_on(&sandbox, variables(&sandbox)).await;
        assert_eq!(seen, canonical(&uaa_host(&sandbox)), "spelling {spelling}");
    }
}

#[tokio::test]
async fn a_cockpit_export_with_the_password_added_leads_to_the_same_bytes() {
    let sandbox = sandbox().await;
    let colon = |url: &str| url.replace(':', "\\:");
    let export = format!(
        "#Password=<< Existing password/certificate removed on export >>\n#\n#Thu Jun 16 12:17:12 UTC 2022\n\
         Description=CF API\nType=HTTP\nclientId=cf\nAuthentication=OAuth2Password\nName=CFAPI\n\
         tokenServiceURL={}/oauth/token?login_hint\\=%7B%22origin%22\\:%22sandbox-platform%22%7D\n\
         ProxyType=Internet\nURL={}\nUser=technical.user@example.test\nPassword=sandbox-only-p&ss w=rd%ü\n",
        colon(&sandbox.uaa_url()),
        colon(&sandbox.cf_url()),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("CFAPI.properties");
    std::fs::write(&path, export).unwrap();
    // Outside the platform there is no VCAP_APPLICATION; the callers' XSUAA stays bound.
    let mut variables = variables(&sandbox);
    variables.remove("VCAP_APPLICATION");
    variables.insert("CFAPI_DESTINATION__FILE".to_owned(), path.display().to_string());
    assert_eq!(logs_on(&sandbox, variables).await, canonical(&uaa_host(&sandbox)));
    assert!(!sandbox.journal().iter().any(|entry| entry.part == Part::Destination));
}

#[tokio::test]
async fn the_variable_of_the_sdk_and_a_user_provided_service_lead_to_the_same_bytes() {
    let sandbox = sandbox().await;
    let item = json!([{
        "name": "CFAPI", "url": sandbox.cf_url(), "authentication": "OAuth2Password", "proxyType": "Internet",
        "type": "HTTP", "username": "technical.user@example.test", "password": "sandbox-only-p&ss w=rd%ü",
        "clientId": "cf", "tokenServiceUrl": format!("{}/oauth/token?login_hint=%7B%22origin%22:%22sandbox-platform%22%7D", sandbox.uaa_url()),
    }]);
    let mut local = variables(&sandbox);
    local.remove("VCAP_APPLICATION");
    local.insert("destinations".to_owned(), item.to_string());
    assert_eq!(logs_on(&sandbox, local).await, canonical(&uaa_host(&sandbox)));

    let sandbox = crate::support::sandbox().await;
    let mut services = crate::support::parse(&sandbox.vcap_services());
    services["user-provided"] = json!([{"name": "cfapi", "label": "user-provided", "tags": [], "credentials": {
        "Name": "CFAPI", "Type": "HTTP", "URL": sandbox.cf_url(), "ProxyType": "Internet", "Authentication": "OAuth2Password",
        "clientId": "cf", "User": "technical.user@example.test", "Password": "sandbox-only-p&ss w=rd%ü",
        "tokenServiceURL": format!("{}/oauth/token", sandbox.uaa_url()), "tokenService.body.login_hint": "{\"origin\":\"sandbox-platform\"}",
    }}]);
    let mut bound = variables(&sandbox);
    bound.insert("VCAP_SERVICES".to_owned(), services.to_string());
    assert_eq!(logs_on(&sandbox, bound).await, canonical(&uaa_host(&sandbox)));
}
