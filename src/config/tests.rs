//! Layers, problems and environment values, as an operator sees them.

use std::fs;

use rstest::rstest;
use toml::Value;

use super::{ConfigProblems, EnvSnapshot, Flags, layer::Layers, load};

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
        "providers[0].owner",
        "providers[1].space",
        "providers[1].apps",
        "providers[1].max_routes_per_app",
    ] {
        assert_eq!(text.matches(key).count(), 1, "{key}: {text}");
    }
    assert_eq!(found.iter().count(), 8, "{text}");
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

fn load_file(text: &str) -> Result<super::Loaded, ConfigProblems> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    fs::write(&path, text).unwrap();
    load(&EnvSnapshot::default(), &Flags { file: Some(path), log: None })
}

#[rstest]
#[case::json(r#"["z1","z2"]"#, &["z1", "z2"])]
#[case::spaced(r#" [ "z1", "z2" ] "#, &["z1", "z2"])]
#[case::pretty("\n[\n  \"z1\",\n  \"z2\"\n]\n", &["z1", "z2"])]
#[case::byte_order_mark("\u{feff}[\"z1\"]", &["z1"])]
#[case::escapes(r#"["z\u0031"]"#, &["z1"])]
#[case::empty("[]", &[])]
#[case::empty_over_lines("[\n]", &[])]
#[case::commas("z1,z2", &["z1", "z2"])]
#[case::commas_and_blanks(" z1 , z2 ,", &["z1", "z2"])]
#[case::one("z1", &["z1"])]
#[case::nothing("", &[])]
fn a_list_in_a_variable_is_json_or_has_commas(#[case] text: &str, #[case] expected: &[&str]) {
    let vars = EnvSnapshot::from_vars([("CFAPI_AUTH__ZONES", text)]);
    assert_eq!(load(&vars, &Flags::default()).unwrap().settings.auth.zones, expected);
}

#[rstest]
#[case::null("null", "is null, not a list")]
#[case::cut(r#"["z1","#, "is no JSON list: unexpected end")]
#[case::single_quotes("['z1']", "is no JSON list: syntax error at line 1, column 2")]
#[case::rest_behind(r#"["z1"],z2"#, "is no JSON list: syntax error")]
#[case::ruby("[nil]", "is no JSON list")]
#[case::no_quotes("[z1, z2]", "is no JSON list")]
#[case::number("[12]", "entry 1 is a number, not a text")]
#[case::null_inside(r#"["z1", null]"#, "entry 2 is null, not a text")]
#[case::truth("[true]", "entry 1 is true or false, not a text")]
#[case::nested(r#"[["z1"]]"#, "entry 1 is a list, not a text")]
#[case::object(r#"[{"z":1}]"#, "entry 1 is an object, not a text")]
#[case::object_alone(r#"{"z":1}"#, "entry 1 is JSON where one text is expected")]
#[case::quotes(r#""z1","z2""#, "entry 1 is JSON where one text is expected")]
#[case::empty_entry(r#"["z1",""]"#, "entry 2 is empty")]
#[case::blank(r#"["z1 "]"#, "entry 1 begins or ends with a blank")]
#[case::lost("z1,,z2", "entry 2 is empty")]
#[case::only_a_comma(",", "entry 1 is empty")]
#[case::null_as_text("z1,null", "entry 2 is null, which stands for no value")]
#[case::lines("z1\nz2", "entry 1 has a line break")]
#[case::truth_alone("true", "is true, not a list")]
#[case::placeholder("<zone>", "entry 1 is a placeholder")]
#[case::other_separator("z1;z2", "\"z1;z2\" is not the id of a zone")]
fn any_other_list_is_named_with_its_variable(#[case] text: &str, #[case] expected: &str) {
    let found = problems(&[("CFAPI_AUTH__ZONES", text)]);
    let shown = found.to_string();
    assert_eq!(found.iter().count(), 1, "{shown}");
    assert!(shown.contains("auth.zones"), "{shown}");
    assert!(shown.contains(&format!("(variable CFAPI_AUTH__ZONES): {expected}")), "{shown}");
}

#[rstest]
#[case("[::1]:8443", &["[::1]:8443"])]
#[case("[::1],uaa.example.com", &["[::1]", "uaa.example.com"])]
#[case("uaa.example.com:8443,10.0.0.1", &["uaa.example.com:8443", "10.0.0.1"])]
#[case(r#"["[::1]:8443"]"#, &["[::1]:8443"])]
fn an_ipv6_address_is_no_json(#[case] text: &str, #[case] expected: &[&str]) {
    let vars = EnvSnapshot::from_vars([("CFAPI_DESTINATION__ALLOW_TOKEN_HOSTS", text)]);
    let settings = load(&vars, &Flags::default()).unwrap().settings;
    assert_eq!(settings.destination.allow_token_hosts, expected);
}

#[rstest]
#[case::placeholder("AUTH__IAS__TENANTS", "<tenant>", "entry 1 is a placeholder")]
#[case::blank("AUTH__IAS__TENANTS", "a b", "\"a b\" is not a tenant")]
#[case::host("AUTH__IAS__TENANTS", "t.accounts.ondemand.com", "is not a tenant")]
#[case::truth("AUTH__IAS__TENANTS", "true", "is true, not a list")]
#[case::api_placeholder("AUTH__IAS__APIS__ROUTES_READ", "<api>", "entry 1 is a placeholder")]
#[case::api_blank("AUTH__IAS__APIS__ROUTES_READ", "a b", "\"a b\" is not the name of an API")]
#[case::caller("AUTH__IAS__CLIENTS__ROUTES_READ", "ias:<t>:<c>", "is not a caller")]
#[case::caller_client("AUTH__IAS__CLIENTS__ROUTES_READ", "ias:t:<c>", "is not a caller")]
#[case::caller_blank("AUTH__IAS__CLIENTS__ROUTES_READ", "ias:t:a b", "is not a caller")]
#[case::pin("AUTH__PINS__ROUTES_READ", "ias:<t>:<c>", "is not a client id")]
#[case::destination("DESTINATION__NAMES", "<name>", "entry 1 is a placeholder")]
#[case::shell("DESTINATION__NAMES", "${NAME}", "entry 1 is a placeholder")]
#[case::manifest("SERVER__NAMES", "((host))", "entry 1 is a placeholder")]
#[case::single("DESTINATION__NAME", "<name>", "is a placeholder")]
#[case::binding("BINDING__XSUAA", "{{ name }}", "is a placeholder")]
fn a_value_that_was_never_filled_in_is_no_value(
    #[case] key: &str,
    #[case] text: &str,
    #[case] expected: &str,
) {
    let variable = format!("CFAPI_{key}");
    let found = problems(&[(&variable, text)]);
    let shown = found.to_string();
    assert_eq!(found.iter().count(), 1, "{shown}");
    let source = format!("(variable {variable}): ");
    assert!(shown.contains(&source) && shown.contains(expected), "{shown}");
    let (section, name) = key.split_once("__").unwrap();
    let path = format!("{}.{}", section.to_lowercase(), name.to_lowercase().replace("__", "."));
    let value = if key.ends_with("NAME") || key.ends_with("XSUAA") {
        format!("{text:?}")
    } else {
        format!("[{text:?}]")
    };
    if text != "true" {
        let shown = load_file(&format!("{path} = {value}\n")).unwrap_err().to_string();
        assert!(shown.contains("settings.toml") && shown.contains(expected), "{shown}");
    }
}

#[rstest]
#[case("AUTH__IAS__TENANTS", "c0ffee00-4711-4000-8000-000000000001,tenant_2")]
#[case("AUTH__IAS__APIS__ROUTES_READ", "tenant-routes,a.b/c:d")]
#[case("AUTH__IAS__CLIENTS__ROUTES_READ", "ias:t-1:c0ffee00-4711-4000-8000-000000000001")]
#[case("DESTINATION__NAMES", "a b/c?x=1#f,your-destination,xxx,CF (new)")]
#[case("SERVER__NAMES", "your.example.com")]
fn what_only_looks_unusual_is_accepted(#[case] key: &str, #[case] text: &str) {
    let variable = format!("CFAPI_{key}");
    let vars = EnvSnapshot::from_vars([(variable.as_str(), text)]);
    assert!(load(&vars, &Flags::default()).is_ok(), "{text}");
}

/// One entry of the wrong form for every list setting there is.
fn wrong_entries() -> Vec<(String, &'static str)> {
    let defaults = Layers::defaults().unwrap();
    let lists = defaults.entries().filter(|(_, entry)| matches!(entry.value, Value::Array(_)));
    lists
        .map(|(key, _)| {
            let wrong = match key {
                "server.names" | "destination.allow_token_hosts" | "auth.cert_hosts" => {
                    "https://a.example"
                }
                "destination.names" => "[CFAPI",
                "auth.zones" => "a/b",
                "auth.ias.tenants" => "a:b",
                key if key.starts_with("auth.pins.") => "sb-a t1",
                key if key.starts_with("auth.ias.clients.") => "sb-a!t1",
                key if key.starts_with("auth.ias.apis.") => "undefined",
                other => panic!("{other} needs a wrong entry here, and a check of its form"),
            };
            (key.to_owned(), wrong)
        })
        .collect()
}

#[test]
fn every_entry_of_every_list_is_checked_from_every_source() {
    for (key, wrong) in wrong_entries() {
        let variable = format!("CFAPI_{}", key.to_uppercase().replace('.', "__"));
        for text in [wrong.to_owned(), format!("[\"{wrong}\"]")] {
            let vars = EnvSnapshot::from_vars([(variable.as_str(), text.as_str())]);
            let shown = load(&vars, &Flags::default()).unwrap_err().to_string();
            let named = shown.contains(&key) && shown.contains(&format!("variable {variable}"));
            assert!(named, "{key}: {shown}");
        }
        let shown = load_file(&format!("{key} = [{wrong:?}]\n")).unwrap_err().to_string();
        assert!(shown.contains(&key) && shown.contains("settings.toml"), "{key}: {shown}");
        let shown = load_file(&format!("{key} = [12]\n")).unwrap_err().to_string();
        assert!(shown.contains("entry 1 is a whole number, not a text"), "{key}: {shown}");
    }
}

#[rstest]
#[case::null("DESTINATION__NAME", "null", "is null, which stands for no value")]
#[case::undefined("BINDING__XSUAA", "undefined", "is undefined")]
#[case::list("DESTINATION__NAME", r#"["CFAPI"]"#, "is JSON where one text is expected")]
#[case::cut_list("DESTINATION__NAME", r#"["CFAPI""#, "is not a destination name")]
#[case::quotes("DESTINATION__NAME", r#""CFAPI""#, "is JSON where one text is expected")]
#[case::blank("DESTINATION__NAME", "CFAPI ", "is not a destination name")]
#[case::lines("TOKEN__ASSERTION_FILE", "/a\n/b", "has a line break")]
#[case::list_for_a_name("BINDING__XSUAA", "[]", "is JSON where one text is expected")]
#[case::fraction("AUTH__BURST", "471100.0", "is not a whole number")]
#[case::negative("AUTH__BURST", "-1", "is out of range")]
#[case::long("AUTH__BURST", "99999999999999999999", "is out of range")]
#[case::large("AUTH__BURST", "45045000", "must be 1 to 1000000")]
#[case::truth_for_a_number("AUTH__BURST", "true", "is not a whole number")]
#[case::percent("ROUTES__MAX_ORPHAN_PERCENT", "45045", "is out of range")]
#[case::sexagesimal("SERVER__IDLE_TIMEOUT", "45045", "not a duration")]
#[case::endless("SERVER__IDLE_TIMEOUT", "500y", "must be at most 1h")]
#[case::no_truth("AUTH__REQUIRE_MTLS", "2", "is not true or false")]
#[case::no_level("DESTINATION__LEVEL", "instance", "is none of the values")]
#[case::no_grant("TOKEN__GRANT", "basic", "is none of the values")]
fn a_single_value_is_checked_too(#[case] key: &str, #[case] text: &str, #[case] expected: &str) {
    let variable = format!("CFAPI_{key}");
    let found = problems(&[(&variable, text)]);
    let shown = found.to_string();
    assert_eq!(found.iter().count(), 1, "{shown}");
    assert!(
        shown.contains(&format!("(variable {variable})")) && shown.contains(expected),
        "{shown}"
    );
}

#[rstest]
#[case("auth.burst = 1.5", "a number with a fraction where a whole number is expected")]
#[case("auth.burst = \"100\"", "a text where a whole number is expected")]
#[case("auth.ias.enabled = \"yes\"", "a text where true or false is expected")]
#[case("auth.require_mtls = 1", "a whole number where true or false is expected")]
#[case("auth.zones = \"z1\"", "a text where a list is expected")]
#[case("destination.name = 5", "a whole number where a text is expected")]
#[case("destination.name = \"\"", "is empty")]
#[case("server.names = [[\"a\"]]", "entry 1 is a list, not a text")]
#[case("server.names = [\"gw.example/a/../b\"]", "has a path that clients and proxies change")]
#[case("server.names = [\"gw.example/a//b\"]", "has a path that clients and proxies change")]
#[case("server.names = [\"gw.example//\"]", "has a path that clients and proxies change")]
#[case("server.names = [\"gw.example/./a/\"]", "has a path that clients and proxies change")]
#[case("server.names = [\"gw.example/a/%2E%2e\"]", "has a path that clients and proxies change")]
#[case("proxy.policy_file = true", "true or false where a text is expected")]
#[case("upstream.extra_ca_file = 3", "a whole number where a text is expected")]
#[case("binding.xsuaa = 1979-05-27", "a date where a text is expected")]
fn a_value_of_another_type_in_a_file_is_named(#[case] text: &str, #[case] expected: &str) {
    let found = load_file(text).unwrap_err();
    let shown = found.to_string();
    assert_eq!(found.iter().count(), 1, "{shown}");
    assert!(shown.contains("settings.toml") && shown.contains(expected), "{shown}");
}

#[test]
fn a_size_in_a_file_may_be_a_number_of_bytes() {
    assert_eq!(load_file("server.body_limit = 32768").unwrap().settings.server.body_limit, 32768);
}

#[test]
fn an_empty_variable_leaves_the_value_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, "\u{feff}[auth]\nburst = 7\n[auth.pins]\nroutes_write = ['sb-a!t1']\n")
        .unwrap();
    let empty = [("CFAPI_AUTH__BURST", ""), ("CFAPI_AUTH__PINS__ROUTES_WRITE", " ")];
    let flags = Flags { file: Some(path), log: None };
    let auth = load(&EnvSnapshot::from_vars(empty), &flags).unwrap().settings.auth;
    assert_eq!((auth.burst, auth.pins.0.routes_write), (7, vec!["sb-a!t1".to_owned()]));
    let none = [("CFAPI_AUTH__PINS__ROUTES_WRITE", "[]")];
    let auth = load(&EnvSnapshot::from_vars(none), &flags).unwrap().settings.auth;
    assert!(auth.pins.0.routes_write.is_empty());
}

#[rstest]
#[case("client_ids", r#"["sb a!t1"]"#, "\"sb a!t1\" is not a client id")]
#[case("client_ids", r#"["ias:no-client"]"#, "is not a client id")]
#[case("client_ids", r#"["[\"a\"]"]"#, "entry 1 is JSON where one text is expected")]
#[case("apps", r#"["null"]"#, "entry 1 is null")]
#[case("apps", r#"["a\nb"]"#, "entry 1 has a line break")]
#[case("domains", r#"["https://a.example"]"#, "is not a domain")]
#[case("domains", r#"["a.example/path"]"#, "is not a domain")]
#[case("owner", r#""undefined""#, "is undefined")]
#[case("space", r#""[\"s1\"]""#, "is JSON where one text is expected")]
#[case("apps", r#""a""#, "expected a sequence")]
#[case("apps", r#"["<app>"]"#, "entry 1 is a placeholder")]
#[case("owner", r#""<o>""#, "is a placeholder")]
#[case("space", r#""<space>""#, "is a placeholder")]
#[case("domains", "null", "is null")]
#[case("owner", "null", "is null")]
#[case("replace", "null", "is null")]
#[case("max_routes_per_app", "null", "is null")]
#[case("mode", "null", "is null")]
#[case("client_ids", "null", "is null")]
#[case("client_ids", r#"["ias:<t>:<c>"]"#, "is not a client id")]
fn a_name_of_a_provider_entry_is_checked(
    #[case] member: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let mut entry = serde_json::json!({"client_ids": ["sb-a!t1"], "space": "s1", "apps": ["a"]});
    entry[member] = crate::upstream::body::decode(value.as_bytes()).unwrap();
    let text = format!("\u{feff}[{entry}]");
    let shown = problems(&[("CFAPI_PROVIDERS", &text)]).to_string();
    let key = format!("providers[0].{member}");
    assert!(shown.contains(&key) && shown.contains(expected), "{shown}");
    assert!(shown.starts_with("1 problem in") && shown.contains("CFAPI_PROVIDERS"), "{shown}");
}

#[test]
fn names_of_cf_may_have_blanks_and_brackets() {
    let entry = r#"[{"client_ids":["sb-a!t1"],"organization":"your org","space":"a (test)",
        "apps":["my app","your-app","xxx","a <b>"],"owner":"the owner"}]"#;
    let vars = EnvSnapshot::from_vars([("CFAPI_PROVIDERS", entry)]);
    let settings = load(&vars, &Flags::default()).unwrap().settings;
    assert_eq!(settings.providers[0].apps, ["my app", "your-app", "xxx", "a <b>"]);
}

fn problems_of_file(text: &str, vars: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.toml");
    fs::write(&path, text).unwrap();
    let flags = Flags { file: Some(path), log: None };
    load(&EnvSnapshot::from_vars(vars.iter().copied()), &flags).unwrap_err().to_string()
}

const ENTRY: &str = "[[providers]]\nclient_ids=['a']\nspace='x'\napps=['b']\n";

#[rstest]
#[case::pattern("providers[0].tenant_host_pattern", &format!("{ENTRY}tenant_host_pattern='mcp'"))]
#[case::template("providers[0].host_template", &format!("{ENTRY}host_template='mcp'"))]
#[case::owner("providers[1].owner", &format!("{ENTRY}{}owner='a'", ENTRY.replace("'a'", "'z'")))]
#[case::unknown("providers[0].x", &format!("{ENTRY}[providers.x]\na=1"))]
#[case::type_of_entry("providers", "providers=[1]")]
#[case::list("auth.zones", "[auth]\nzones=['a', ['b']]")]
#[case::table_in_list("server.names", "[server]\nnames=[{a=1}]")]
#[case::list_in_table("auth.pins.routes_read", "[auth.pins]\nroutes_read=[[1]]")]
fn a_problem_inside_a_list_or_table_names_its_file(#[case] key: &str, #[case] text: &str) {
    let found = problems_of_file(text, &[]);
    let line = found.lines().find(|line| line.contains(&format!(". {key}"))).unwrap_or(&found);
    assert!(line.contains("my.toml"), "{found}");
    assert!(!found.contains("default.toml)") && !found.contains("a bug"), "{found}");
}

#[test]
fn problems_of_two_lists_are_both_reported() {
    let found = problems_of_file("[auth]\nzones=[['b']]\ncert_hosts=[['c']]\n", &[]);
    assert!(found.starts_with("2 problems"), "{found}");
    assert!(found.contains("auth.zones") && found.contains("auth.cert_hosts"), "{found}");
}

#[test]
fn entries_of_the_variable_win_over_the_file_and_are_named() {
    let entry = r#"[{"client_ids":["a"],"space":"x","apps":["b"],"host_template":"mcp"}]"#;
    let found = problems_of_file(ENTRY, &[("CFAPI_PROVIDERS", entry)]);
    assert!(found.contains("providers[0].host_template (variable CFAPI_PROVIDERS)"), "{found}");
}
