//! Layers, problems and environment values, as an operator sees them.

use std::fs;

use super::{ConfigProblems, EnvSnapshot, Flags, load};

fn problems(vars: &[(&str, &str)]) -> ConfigProblems {
    load(&EnvSnapshot::from_vars(vars.iter().copied()), &Flags::default()).unwrap_err()
}

#[test]
fn defaults_alone_are_valid() {
    let settings = load(&EnvSnapshot::default(), &Flags::default()).unwrap().settings;
    let server = settings.server;
    assert_eq!((server.max_connections, server.max_in_flight), (4096, 256));
    let times = [
        server.idle_timeout,
        server.head_timeout,
        server.body_timeout,
        server.request_timeout,
        server.drain_timeout,
    ];
    assert_eq!(times.map(|time| time.as_millis()), [100_000, 10_000, 15_000, 55_000, 8_000]);
    assert_eq!(server.body_limit, 64 * 1024);
    let auth = settings.auth;
    assert_eq!((auth.requests_per_second, auth.burst, auth.max_in_flight), (20, 100, 16));
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, "[server]\nmax_in_flight = 7\nbody_limit = \"32KiB\"\n").unwrap();
    let flags = Flags { file: Some(path), log: Some("json".to_owned()) };
    let vars = EnvSnapshot::from_vars([
        ("CFAPI_SERVER__MAX_IN_FLIGHT", "9"),
        ("CFAPI_SERVER__NAMES", "a.example, b.example"),
    ]);
    let settings = load(&vars, &flags).unwrap().settings;
    assert_eq!(settings.server.max_in_flight, 9);
    assert_eq!(settings.server.body_limit, 32 * 1024);
    assert_eq!(settings.server.names, ["a.example", "b.example"]);
    assert_eq!(settings.log.format, crate::telemetry::logs::LogFormat::Json);
}

#[test]
fn all_problems_are_reported_at_once_with_source_and_hint() {
    let found = problems(&[
        ("CFAPI_SERVER__IDLE_TIMEOUT", "60s"),
        ("CFAPI_DESTINATION__NAEM", "x"),
        ("CFAPI_DESTINATION__PASSWORD", "canary-value"),
        ("CFAPI_SERVER__MAX_IN_FLIGHT", "many"),
    ]);
    let text = found.to_string();
    assert_eq!(found.iter().count(), 4, "{text}");
    assert!(text.contains(r#"server.idle_timeout = "60s" (variable CFAPI_SERVER__IDLE_TIMEOUT): must be above 90s"#), "{text}");
    assert!(text.contains("did you mean destination.name?"), "{text}");
    assert!(text.contains("secrets are not settings"), "{text}");
    assert!(
        text.contains(r#"server.max_in_flight = "many" (variable CFAPI_SERVER__MAX_IN_FLIGHT)"#),
        "{text}"
    );
    assert!(!text.contains("canary-value"), "{text}");
}

#[test]
fn values_of_the_environment_are_not_changed() {
    for text in ["0123", "true", " p w ", "1e3"] {
        let vars = EnvSnapshot::from_vars([("CFAPI_BINDING__DESTINATION", text)]);
        let settings = load(&vars, &Flags::default()).unwrap().settings;
        assert_eq!(settings.binding.destination.as_deref(), Some(text));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let flags = Flags { file: Some("no/such/file.toml".into()), log: None };
    let text = load(&EnvSnapshot::default(), &flags).unwrap_err().to_string();
    assert!(text.contains("no/such/file.toml"), "{text}");
}

#[test]
fn bounds_are_checked() {
    let text =
        problems(&[("CFAPI_SERVER__BODY_LIMIT", "2MiB"), ("CFAPI_SERVER__DRAIN_TIMEOUT", "0s")])
            .to_string();
    assert!(text.contains("server.body_limit") && text.contains("server.drain_timeout"), "{text}");
}

#[test]
fn all_problems_of_provider_entries_are_reported_at_once() {
    let entries = r#"[
        {"client_ids": "sb-one!t1", "space": "s1", "apps": ["a"], "mode": "odd", "onwer": "x", "owner": null},
        {"client_ids": ["sb-two!t1"], "space": "not a guid", "apps": [], "max_routes_per_app": 0}
    ]"#;
    let found = problems(&[("CFAPI_PROVIDERS", entries), ("CFAPI_SERVER__MAX_IN_FLIGHT", "many")]);
    let text = found.to_string();
    for key in [
        "server.max_in_flight",
        "providers[0].client_ids",
        "providers[0].mode",
        "providers[0].onwer",
        "providers[1].space",
        "providers[1].apps",
        "providers[1].max_routes_per_app",
    ] {
        assert_eq!(text.matches(key).count(), 1, "{key}: {text}");
    }
    assert_eq!(found.iter().count(), 7, "{text}");
}

#[test]
fn provider_entries_of_a_file_are_read_like_those_of_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    let text = "[[providers]]\nclient_ids = [\"sb-one!t1\"]\nspace = \"s1\"\napps = [\"a\"]\nadopt = false\n";
    fs::write(&path, text).unwrap();
    let load = |flags| load(&EnvSnapshot::default(), &flags);
    let settings = load(Flags { file: Some(path.clone()), log: None }).unwrap().settings;
    assert_eq!(
        (settings.providers[0].apps.as_slice(), settings.providers[0].adopt),
        (&["a".to_owned()][..], Some(false))
    );
    fs::write(&path, format!("{text}adpot = true\n[[providers]]\napps = 1\n")).unwrap();
    let text = load(Flags { file: Some(path), log: None }).unwrap_err().to_string();
    for key in
        ["providers[0].adpot", "providers[1].apps", "providers[1].client_ids", "providers[1].space"]
    {
        assert_eq!(text.matches(key).count(), 1, "{key}: {text}");
    }
}
