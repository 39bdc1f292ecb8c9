//! The program as the platform starts it: configuration, exit codes, signals.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use cfapi_sandbox::TECHNICAL_USER;
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::proxy::Landscape;
use crate::support::{APP, answer, client, process::Program, pull, sandbox, variables};

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_invalid_configuration_ends_the_start_with_every_problem_at_once() {
    let bad = [
        ("CFAPI_SERVER__IDLE_TIMEOUT", "60s"),
        ("CFAPI_DESTINATION__NAEM", "x"),
        ("CFAPI_DESTINATION__PASSWORD", "canary-setting"),
    ];
    let mut program = Program::start(&["serve"], &vars(&bad));
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    assert!(ended.out.contains("3 problems in the configuration"), "{}", ended.out);
    assert_eq!(ended.out.matches("hint:").count(), 3, "{}", ended.out);
    assert!(!ended.out.contains("canary-setting"), "{}", ended.out);
}

#[tokio::test]
async fn a_list_that_is_no_list_ends_the_start_and_names_the_variable() {
    let bad = [
        ("CFAPI_AUTH__ZONES", "null"),
        ("CFAPI_AUTH__PINS__ROUTES_WRITE", "[\"sb-a!t1\","),
        ("CFAPI_SERVER__NAMES", "[\n  8080\n]"),
        ("CFAPI_DESTINATION__NAME", "[\"CFAPI\"]"),
    ];
    let ended = Program::start(&["serve"], &vars(&bad)).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    assert!(ended.out.contains("4 problems in the configuration"), "{}", ended.out);
    for (name, _) in bad {
        assert!(ended.out.contains(&format!("(variable {name})")), "{name}: {}", ended.out);
    }
    assert_eq!(ended.out.matches("write a JSON list of texts").count(), 3, "{}", ended.out);
}

#[tokio::test]
async fn a_list_of_a_deployer_is_read() {
    let good = [
        ("CFAPI_AUTH__ZONES", "[\"z1\", \"z2\"]"),
        ("CFAPI_AUTH__CERT_HOSTS", "[]"),
        ("CFAPI_SERVER__NAMES", "[\n  \"a.example\",\n  \"b.example\"\n]"),
    ];
    let ended = Program::start(&["config"], &vars(&good)).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    for line in [
        "auth.zones = [\"z1\", \"z2\"]   # variable",
        "auth.cert_hosts = []   # variable",
        "server.names = [\"a.example\", \"b.example\"]   # variable",
    ] {
        assert!(ended.out.contains(line), "{line}: {}", ended.out);
    }
}

#[tokio::test]
async fn on_the_platform_each_problem_is_a_line_of_json() {
    let bad = [
        ("VCAP_APPLICATION", "{}"),
        ("CFAPI_SERVER__IDLE_TIMEOUT", "60s"),
        ("CFAPI_LOG__FORMAT", "xml"),
    ];
    let mut program = Program::start(&[], &vars(&bad));
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    let lines: Vec<_> = ended
        .out
        .lines()
        .map(crate::support::parse)
        .filter(|line| line["level"] == "error")
        .collect();
    assert_eq!(lines.len(), 3, "{}", ended.out);
}

#[tokio::test]
async fn several_destination_bindings_end_the_start_and_are_named() {
    let sandbox = sandbox().await;
    let mut services = crate::support::parse(&sandbox.vcap_services());
    let mut second = services["destination"][0].clone();
    second["name"] = json!("second");
    services["destination"].as_array_mut().unwrap().push(second);
    let mut variables = variables(&sandbox);
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    let ended = Program::start(&[], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    assert!(ended.out.contains("second"), "{}", ended.out);
}

#[tokio::test]
async fn settings_providers_and_bindings_are_validated_together() {
    let sandbox = sandbox().await;
    let mut services = crate::support::parse(&sandbox.vcap_services());
    let twice = services["xsuaa"][0].clone();
    services["xsuaa"].as_array_mut().unwrap().push(twice);
    let mut variables = variables(&sandbox);
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    variables.insert("CFAPI_SERVER__IDLE_TIMEOUT".to_owned(), "60s".to_owned());
    let provider =
        json!([{"client_ids": ["a"], "space": "x", "apps": ["b"], "host_template": "{nothing}"}]);
    variables.insert("CFAPI_PROVIDERS".to_owned(), provider.to_string());
    variables.remove("VCAP_APPLICATION");
    let ended = Program::start(&["config", "--check"], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    for part in ["server.idle_timeout", "host_template", "xsuaa"] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
}

#[tokio::test]
async fn without_any_binding_the_broker_starts_warns_and_says_what_is_missing() {
    let mut program = Program::start(
        &["--log", "json"],
        &vars(&[("PORT", "0"), ("CFAPI_SERVER__ADDRESS", "127.0.0.1")]),
    );
    let base = program.base().await;
    assert_eq!(answer(client().get(format!("{base}/health"))).await.status, 200);
    let refused = answer(client().get(format!("{base}/routes")).bearer_auth("a.b.c")).await;
    assert_eq!((refused.status, refused.code().as_str()), (500, "issuer_not_bound"));
    assert_eq!(refused.json()["retryable"], false);
    assert!(!refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("xsuaa") && detail.contains("restart"), "{detail}");
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.lines().any(|line| line.contains("\"level\":\"warn\"")), "{}", ended.out);
}

#[tokio::test]
async fn an_xsuaa_binding_that_can_verify_no_token_is_not_transient() {
    let sandbox = sandbox().await;
    let mut services = crate::support::parse(&sandbox.vcap_services());
    services["xsuaa"][0]["credentials"]["uaadomain"] = json!("no domain");
    let mut variables = variables(&sandbox);
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    let broker = crate::support::TestBroker::with(variables).await;
    let refused = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!((refused.status, refused.code().as_str()), (500, "issuer_not_bound"));
    assert_eq!(refused.json()["retryable"], false);
    assert!(!refused.headers.contains_key("retry-after"));
    assert!(refused.text.contains("uaadomain"), "{}", refused.text);
}

#[tokio::test]
async fn a_missing_destination_is_reported_to_callers() {
    let sandbox = sandbox().await;
    pull(&sandbox, "delete_destination", &json!({"name": "CFAPI"}));
    let mut program = Program::start(&[], &variables(&sandbox));
    let base = program.base().await;
    let got =
        answer(client().get(format!("{base}/spaces")).bearer_auth(sandbox.developer_token())).await;
    assert_eq!((got.status, got.code().as_str()), (502, "destination_missing"), "{}", got.text);
    assert!(got.json()["detail"].as_str().unwrap().contains("CFAPI"));
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn bad_credentials_never_stop_the_process() {
    let sandbox = sandbox().await;
    pull(&sandbox, "change_password", &json!({"user": TECHNICAL_USER, "password": "another"}));
    let mut program = Program::start(&[], &variables(&sandbox));
    let base = program.base().await;
    for _ in 0..5 {
        let got =
            answer(client().get(format!("{base}/spaces")).bearer_auth(sandbox.developer_token()))
                .await;
        assert_eq!(
            (got.status, got.code().as_str()),
            (502, "technical_user_rejected"),
            "{}",
            got.text
        );
        assert!(!got.headers.contains_key("retry-after"));
    }
    assert_eq!(sandbox.password_grants(), 1);
    assert_eq!(answer(client().get(format!("{base}/health"))).await.status, 200);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_program_works_in_any_landscape() {
    let sandbox = sandbox().await;
    let mut program = Program::start(&["serve"], &variables(&sandbox));
    let base = program.base().await;
    let body = json!({"subdomain": "acme", "app": APP}).to_string();
    let put = client().put(format!("{base}/routes/t1")).bearer_auth(sandbox.provider_token());
    let got = answer(put.header("content-type", "application/json").body(body)).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn an_allow_list_with_a_wrong_row_ends_the_start_and_names_the_row() {
    let sandbox = sandbox().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    let rules = "[[rules]]\nmethods=['GET','PATCH']\npaths=['/v3/apps']\nbody='none'\n\
                 [[rules]]\nmethods=['GET']\npaths=['/v2/info']\nbody='none'\n";
    std::fs::write(&path, rules).unwrap();
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_PROXY__POLICY_FILE".to_owned(), path.display().to_string());
    let ended = Program::start(&[], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    for row in ["rules[0] PATCH /v3/apps", "rules[1] GET /v2/info"] {
        assert!(ended.out.contains(row), "{row}: {}", ended.out);
    }
    assert!(!ended.out.contains("rules[0] GET /v3/apps"), "{}", ended.out);
    variables.insert("CFAPI_PROXY__POLICY_FILE".to_owned(), "/no/such/file".to_owned());
    let ended = Program::start(&[], &variables).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.out);
    assert!(ended.out.contains("proxy.policy_file"), "{}", ended.out);
}

#[tokio::test]
async fn an_allow_list_of_the_operator_replaces_the_shipped_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    let rules = "[[rules]]\nmethods=['GET']\npaths=['/v3/spaces']\nbody='none'\n";
    std::fs::write(&path, rules).unwrap();
    let path = path.display().to_string();
    let cf = Landscape::with(&[("CFAPI_PROXY__POLICY_FILE", &path)]).await;
    assert_eq!(cf.get("/v3/spaces").await.status, 200);
    cf.sandbox.clear_journal();
    for (method, path) in [("GET", "/v3"), ("GET", "/v3/apps"), ("POST", "/v3/routes")] {
        let got = cf.broker.send(method.parse().unwrap(), path, Some(&cf.token), None).await;
        assert_eq!((got.status, got.code().as_str()), (403, "denied_by_policy"), "{path}");
    }
    assert!(cf.calls().iter().all(|call| call == "GET /"), "{:?}", cf.calls());
}

#[tokio::test]
async fn a_wrong_command_is_wrong_usage() {
    let ended = Program::start(&["conjure"], &BTreeMap::new()).ended().await;
    assert_eq!(ended.code, Some(2), "{}", ended.out);
}

/// Starts the program, and sends a signal as soon as it has printed its first line.
fn signalled_at_the_first_line(args: &[&str], signal: Signal) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cfapi-broker"))
        .args(args)
        .env_clear()
        .env("PORT", "0")
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    // Until the end, so that the program is not stopped by a full pipe.
    drop(out.read_to_end(&mut Vec::new()));
    child.wait().unwrap().code()
}

#[rstest]
#[case::serve(&["--log", "json", "serve"])]
#[case::sandbox(&["sandbox", "--json", "--port-base", "0"])]
#[case::landscape(&["sandbox", "--json", "--port-base", "0", "--landscape-only"])]
fn a_signal_right_after_the_announcement_ends_the_program_with_0(#[case] args: &[&str]) {
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        assert_eq!(signalled_at_the_first_line(args, signal), Some(0), "{signal:?}");
    }
}

#[rstest]
#[case::bash(&["completions", "bash"])]
#[case::fish(&["completions", "fish"])]
#[case::zsh(&["completions", "zsh"])]
#[case::settings(&["config"])]
#[case::help(&["--help"])]
fn output_that_nobody_reads_is_no_error(#[case] args: &[&str]) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(env!("CARGO_BIN_EXE_cfapi-broker"))
        .args(args)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[rstest]
#[case::help(&["--help"])]
#[case::wrong_usage(&["conjure"])]
#[case::settings(&["config"])]
#[case::script(&["completions", "bash"])]
fn output_to_a_pipe_has_no_colours(#[case] args: &[&str]) {
    let program = env!("CARGO_BIN_EXE_cfapi-broker");
    let dir = std::env::temp_dir();
    let ended = Command::new(program).args(args).env_clear().current_dir(dir).output().unwrap();
    assert!(!ended.stdout.contains(&0x1b) && !ended.stderr.contains(&0x1b), "{ended:?}");
}

#[tokio::test]
async fn log_lines_for_people_have_no_colours_in_a_pipe() {
    let variables = vars(&[("PORT", "0"), ("CFAPI_SERVER__ADDRESS", "127.0.0.1")]);
    let mut program = Program::start(&["--log", "human"], &variables);
    program.wait_for(|line| line.contains("cfapi-broker listens").then_some(())).await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(!ended.out.contains('\u{1b}'), "{}", ended.out);
}
