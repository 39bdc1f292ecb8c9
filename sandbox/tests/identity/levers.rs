//! Start and stop, the levers over HTTP, the journal, and the bindings for a broker.

use std::time::Duration;

use cfapi_sandbox::{Options, Part, Sandbox, TECHNICAL_PASSWORD};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{Answer, cf_call, client, good_grant, landscape, password_grant, send};

async fn pull(sandbox: &Sandbox, lever: &str, args: Value) -> Answer {
    let call = client().post(format!("{}/{lever}", sandbox.levers_url()));
    send(call.body(args.to_string())).await
}

async fn info(sandbox: &Sandbox) -> reqwest::Result<reqwest::Response> {
    client().get(format!("{}/info", sandbox.uaa_url())).send().await
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Sandbox::start(Options { port_base: Some(port - 1) }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("port {port} is in use"));
}

#[tokio::test]
async fn the_parts_take_the_ports_after_the_brokers() {
    // Six free ports in a row are not guaranteed: try until some are.
    for base in (20_000..60_000).step_by(97) {
        let Ok(sandbox) = Sandbox::start(Options { port_base: Some(base) }).await else {
            continue;
        };
        let urls = [
            sandbox.destination_url(),
            sandbox.xsuaa_url(),
            sandbox.uaa_url(),
            sandbox.cf_url(),
            sandbox.levers_url(),
        ];
        let wanted = [1, 2, 3, 4, 5].map(|above| format!("http://127.0.0.1:{}", base + above));
        assert_eq!(urls, wanted);
        return;
    }
    panic!("no five free ports in a row");
}

#[tokio::test]
async fn a_stopped_landscape_refuses_and_so_does_a_dropped_one() {
    let sandbox = landscape().await;
    let url = format!("{}/info", sandbox.uaa_url());
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    sandbox.stop().await;
    assert!(client().get(&url).send().await.unwrap_err().is_connect());
    let sandbox = landscape().await;
    let url = format!("{}/info", sandbox.uaa_url());
    drop(sandbox);
    let refused = async {
        while client().get(&url).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), refused).await.unwrap();
}

#[tokio::test]
async fn levers_are_listed_and_every_listed_one_answers() {
    let sandbox = landscape().await;
    let list = send(client().get(sandbox.levers_url())).await.json();
    let levers = list["levers"].as_object().unwrap();
    for name in ["fail_next", "stop", "lock_user", "uaa_fault", "spell_origin"] {
        assert!(levers[name].is_string(), "{name}");
    }
    for name in levers.keys() {
        let answer = pull(&sandbox, name, json!({"no such argument": 1})).await;
        assert_eq!(answer.status, 400, "{name}");
    }
    assert_eq!(pull(&sandbox, "quota", json!({"org": "tiny-org", "n": 5})).await.status, 200);
}

#[tokio::test]
async fn unknown_levers_and_arguments_are_errors() {
    let sandbox = landscape().await;
    assert_eq!(pull(&sandbox, "no_such_lever", json!({})).await.status, 404);
    let wrong = pull(&sandbox, "latency", json!({"part": "uua", "ms": 1})).await;
    assert_eq!(wrong.status, 400);
    let wanted = "unknown part uua: known are destination, xsuaa, uaa, cf, ias";
    assert_eq!(wrong.json()["error"], wanted);
    assert_eq!(pull(&sandbox, "latency", json!([])).await.status, 400);
    let no_json = client().post(format!("{}/clear", sandbox.levers_url())).body("{");
    assert_eq!(send(no_json).await.status, 400);
    let empty = client().post(format!("{}/clear", sandbox.levers_url()));
    assert_eq!(send(empty).await.text, "{}");
}

#[tokio::test]
async fn the_journal_is_read_and_emptied_over_http() {
    let sandbox = landscape().await;
    good_grant(&sandbox).await;
    let url = format!("{}/journal", sandbox.levers_url());
    let journal = send(client().get(&url)).await.json();
    let entry = &journal["requests"][0];
    assert_eq!(entry["part"], "uaa");
    assert_eq!(entry["method"], "POST");
    assert_eq!(entry["path"], "/oauth/token");
    assert_eq!(entry["query"], "");
    assert_eq!(entry["status"], 200);
    assert_eq!(entry["grant_type"], "password");
    assert_eq!(entry["authorization"], "Basic Y2Y6");
    assert_eq!(entry["body_sha256"].as_str().unwrap().len(), 64);
    assert!(entry["at_ms"].is_u64());
    assert!(!journal.to_string().contains(TECHNICAL_PASSWORD));
    assert!(!journal.to_string().contains("sandbox-only-p"));
    assert_eq!(send(client().delete(&url)).await.status, 204);
    let journal = send(client().get(&url)).await.json();
    assert_eq!(journal, json!({"requests": []}));
}

#[tokio::test]
async fn the_next_answers_can_be_anything() {
    let sandbox = landscape().await;
    let args = json!({"part": "uaa", "n": 2, "status": 429, "headers": {"Retry-After": 3}, "body": {"a": 1}});
    assert_eq!(pull(&sandbox, "fail_next", args).await.status, 200);
    for _ in 0..2 {
        let answer = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after"), answer.text.as_str()),
            (429, "3", r#"{"a":1}"#)
        );
    }
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
    let args = json!({"part": "uaa", "status": 200, "body_size": 10_485_760});
    pull(&sandbox, "fail_next", args).await;
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.text.len(), 10_485_760);
}

#[tokio::test]
async fn a_fault_can_wait_for_one_kind_of_request() {
    let sandbox = landscape().await;
    let args = json!({"part": "uaa", "only": "POST /oauth/token"});
    sandbox.pull("fail_next", &args).unwrap();
    assert_eq!(info(&sandbox).await.unwrap().status(), 200);
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 503);
    sandbox.pull("fail_next", &args).unwrap();
    sandbox.pull("clear", &json!({})).unwrap();
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_stopped_part_refuses_and_comes_back_at_its_port() {
    let sandbox = landscape().await;
    let kept = client();
    let url = format!("{}/info", sandbox.uaa_url());
    assert_eq!(kept.get(&url).send().await.unwrap().status(), 200);
    assert_eq!(pull(&sandbox, "stop", json!({"part": "uaa"})).await.status, 200);
    assert!(kept.get(&url).send().await.unwrap_err().is_connect());
    assert_eq!(pull(&sandbox, "start", json!({"part": "uaa"})).await.status, 200);
    assert_eq!(kept.get(&url).send().await.unwrap().status(), 200);
    sandbox.stop_part(Part::Cf).await;
    sandbox.stop_part(Part::Cf).await;
    sandbox.start_part(Part::Cf).await.unwrap();
    sandbox.start_part(Part::Cf).await.unwrap();
}

#[tokio::test]
async fn latency_delays_and_a_timed_hang_answers_later() {
    let sandbox = landscape().await;
    sandbox.pull("latency", &json!({"part": "uaa", "ms": 60})).unwrap();
    let started = Instant::now();
    info(&sandbox).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(60));
    sandbox.pull("latency", &json!({"part": "uaa", "ms": 0})).unwrap();
    sandbox.pull("hang", &json!({"part": "uaa", "ms": 50})).unwrap();
    let started = Instant::now();
    assert_eq!(info(&sandbox).await.unwrap().status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_request_that_hangs_is_in_the_journal_without_a_status() {
    let sandbox = landscape().await;
    sandbox.pull("hang", &json!({"part": "uaa"})).unwrap();
    let asked = info(&sandbox);
    tokio::pin!(asked);
    while sandbox.journal().is_empty() {
        assert!(timeout(Duration::from_millis(20), &mut asked).await.is_err());
    }
    let journal = sandbox.journal();
    assert_eq!((journal.len(), journal[0].status), (1, None));
}

#[tokio::test]
async fn commit_then_hang_does_the_work_and_sends_no_answer() {
    let sandbox = landscape().await;
    sandbox.pull("commit_then_hang", &json!({"part": "uaa"})).unwrap();
    let pairs = [
        ("grant_type", "password"),
        ("username", cfapi_sandbox::TECHNICAL_USER),
        ("password", TECHNICAL_PASSWORD),
        ("login_hint", crate::support::HINT),
    ];
    let hung = timeout(Duration::from_millis(300), cf_call(&sandbox, &pairs).send()).await;
    assert!(hung.is_err());
    assert_eq!(sandbox.logon_attempts(cfapi_sandbox::TECHNICAL_USER), 1);
    let state = sandbox.pull("user_state", &json!({})).unwrap();
    assert_eq!((&state["attempts"], &state["failures"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn the_bindings_lead_to_the_parts() {
    let sandbox = landscape().await;
    let services: Value = serde_json::from_str(&sandbox.vcap_services()).unwrap();
    let destination = &services["destination"][0];
    assert_eq!(
        (destination["label"].as_str(), destination["plan"].as_str()),
        (Some("destination"), Some("lite"))
    );
    assert_eq!(destination["credentials"]["uri"], sandbox.destination_url());
    assert_eq!(destination["credentials"]["url"], sandbox.xsuaa_url());
    let xsuaa = &services["xsuaa"][0];
    assert_eq!(
        (xsuaa["label"].as_str(), xsuaa["plan"].as_str()),
        (Some("xsuaa"), Some("application"))
    );
    assert_eq!(xsuaa["credentials"]["uaadomain"], sandbox.uaa_domain());
    assert_eq!(xsuaa["credentials"]["xsappname"], sandbox.xsappname());
    assert_eq!(xsuaa["credentials"]["identityzoneid"], sandbox.zone_id());
    for credentials in [&destination["credentials"], &xsuaa["credentials"]] {
        assert!(credentials["clientsecret"].as_str().unwrap().starts_with("sandbox-only-"));
    }
    let dev = sandbox.world().spaces().into_iter().find(|space| space.name == "dev").unwrap();
    let application: Value =
        serde_json::from_str(&sandbox.vcap_application("127.0.0.1:8080")).unwrap();
    assert_eq!(application["cf_api"], sandbox.cf_url());
    assert_eq!(
        (application["space_id"].as_str(), application["organization_id"].as_str()),
        (Some(dev.guid.as_str()), Some(dev.org_guid.as_str()))
    );
    assert!(sandbox.world().apps().iter().any(|app| application["application_id"] == app.guid));
    assert_eq!(application["application_uris"], json!(["127.0.0.1:8080"]));
    assert_eq!(application["application_name"], "cfapi-broker");
    assert_eq!(
        (application["space_name"].as_str(), application["organization_name"].as_str()),
        (Some("dev"), Some("provider-org"))
    );
}

#[tokio::test]
async fn the_methods_pull_the_levers_of_their_names() {
    let sandbox = landscape().await;
    let user = cfapi_sandbox::TECHNICAL_USER;
    sandbox.lock_user(user).unwrap();
    assert!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.text.contains("PASSWORD_LOCKED"));
    sandbox.unlock_user(user).unwrap();
    sandbox.change_password(user, "new").unwrap();
    assert_eq!(password_grant(&sandbox, "new").await.status, 200);
    assert!(sandbox.change_password("nobody", "x").is_err());
    sandbox.fail_next(Part::Uaa, 1, 500, "oops").unwrap();
    assert_eq!(password_grant(&sandbox, "new").await.text, "oops");
    sandbox.uaa_fault("F8", 1).unwrap();
    assert_eq!(password_grant(&sandbox, "new").await.status, 401);
    sandbox.token_lifetime(300).unwrap();
    assert_eq!(password_grant(&sandbox, "new").await.json()["expires_in"], 299);
    for done in [
        sandbox.expire_all(),
        sandbox.revoke_all(),
        sandbox.rotate_keys(Part::Xsuaa),
        sandbox.edit_destination("CFAPI", &json!({"Password": "new"})),
        sandbox.spell_origin(4),
        sandbox.delete_destination("CFAPI"),
        sandbox.advance_clock(1),
        sandbox.latency(Part::Cf, Duration::ZERO),
        sandbox.hang(Part::Cf, 0),
        sandbox.cut(Part::Cf, 0),
        sandbox.commit_then_hang(Part::Cf, 0),
    ] {
        assert!(done.is_ok());
    }
    assert!(sandbox.rotate_keys(Part::Cf).is_err());
}

#[tokio::test]
async fn the_readme_names_every_lever() {
    let sandbox = landscape().await;
    let readme = include_str!("../../README.md");
    let list = send(client().get(sandbox.levers_url())).await.json();
    for name in list["levers"].as_object().unwrap().keys() {
        let row = readme
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert!(row.is_some(), "{name}");
    }
}
