//! Every answer of the CF UAA to a logon, and what callers and operators see of it.
//!
//! The sandbox sends the exact bytes of each row of `docs/reference/uaa-faults.md`; the table here
//! says what must follow.

use std::collections::BTreeSet;

use cfapi_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::support::{Answer, TestBroker, pull, sandbox, variables};

/// Expected result of one row of the fault table.
struct Row {
    id: &'static str,
    variants: &'static [&'static str],
    status: u16,
    code: &'static str,
    guard: &'static str,
    /// A word of the detail that says what to do.
    advice: &'static str,
}

const fn row(
    id: &'static str,
    variants: &'static [&'static str],
    (status, code): (u16, &'static str),
    guard: &'static str,
    advice: &'static str,
) -> Row {
    Row { id, variants, status, code, guard, advice }
}

const REJECTED: (u16, &str) = (502, "technical_user_rejected");
const ACTION: (u16, &str) = (502, "technical_user_action_required");
const INVALID: (u16, &str) = (502, "destination_invalid");
const LOCKED: (u16, &str) = (503, "technical_user_locked");
const UNAVAILABLE: (u16, &str) = (503, "uaa_unavailable");

const PROVIDER_CODES: &[&str] = &[
    "PASSWORD_CHANGE_REQUIRED",
    "PASSWORD_RESET_REQUIRED",
    "INITIAL_PASSWORD_EXPIRED",
    "PASSWORD_DISABLED",
    "USER_INACTIVE",
    "MAIL_NOT_VERIFIED",
    "RBA_RULE_ACTION_DENY",
];
const CLIENT_REFUSED: &[&str] = &[
    "missing_credentials",
    "authentication_failed",
    "no_authentication",
    "no_such_client",
    "no_such_client_named",
    "other_client",
    "bad_token",
];
const TRUST: &[&str] = &["id_token", "missing", "no_password", "party_id", "party_secret"];

const TABLE: &[Row] = &[
    row("F1", &["password"], REJECTED, "rejected", "correct user and password"),
    row("F2", &["Unauthorized"], REJECTED, "rejected", "correct user and password"),
    row("F3", &["PASSWORD_LOCKED"], LOCKED, "locked", "locked"),
    row("F4", &["locked"], LOCKED, "locked", "locked"),
    row("F5", &["change"], ACTION, "blocked", "password"),
    row("F6", PROVIDER_CODES, ACTION, "blocked", ""),
    row(
        "F7",
        &["INVALID_AUTHORIZATION_HEADER_LENGTH", "INVALID_OTP_CODE"],
        (502, "technical_user_mfa"),
        "blocked",
        "second factor",
    ),
    row("F8", &["origin"], INVALID, "blocked", "origin"),
    row("F9", &["limited"], INVALID, "blocked", "provider"),
    row("F10", &["several", "none"], INVALID, "blocked", "origin"),
    row("F11", TRUST, ACTION, "blocked", "trust"),
    row("F12", &["shadow_user"], ACTION, "blocked", "add the user"),
    row("F13", &["issuer"], ACTION, "blocked", "trust"),
    row("F14", &["verified"], ACTION, "blocked", "verif"),
    row("F15", &["client"], REJECTED, "rejected", "correct user and password"),
    row("F15", CLIENT_REFUSED, INVALID, "blocked", "check clientId and clientSecret"),
    row("F16", &["grant"], INVALID, "blocked", "grant"),
    row("F17", &["scopes", "groups"], ACTION, "blocked", ""),
    row("F18", &["missing", "unknown"], (500, "internal"), "blocked", "mistake"),
    row("F19", &["query", "method"], UNAVAILABLE, "waiting", "check host and path"),
    row("F20", &["limiter", "html", "retry_after"], UNAVAILABLE, "waiting", ""),
    row("F21", &["limited_mode"], UNAVAILABLE, "waiting", ""),
    row("F22", &["provider_down"], UNAVAILABLE, "waiting", "/destinations/CFAPI/retry"),
    row("F22", &["too_many_requests"], UNAVAILABLE, "waiting", "/destinations/CFAPI/retry"),
    row(
        "F22",
        &["html_404"],
        REJECTED,
        "rejected",
        "refused for a reason that the broker does not know",
    ),
    row("F23", &["json", "html", "empty"], UNAVAILABLE, "waiting", "/destinations/CFAPI/retry"),
    row("F24", &["csrf", "csrf_session"], INVALID, "blocked", "check host and path"),
    row("F24", &["zone"], UNAVAILABLE, "waiting", "check host and path"),
    row(
        "F24",
        &["unknown_route", "endpoint_failure", "no_endpoints", "html_502", "html_504"],
        UNAVAILABLE,
        "waiting",
        "",
    ),
    row("F25", &["login", "elsewhere"], UNAVAILABLE, "waiting", "check host and path"),
    row("F26", &["html", "no_token", "cut_json", "empty", "too_long"], UNAVAILABLE, "waiting", ""),
];

/// Variants that are not in the table: refusals of an assertion. They have a test of their own.
const ELSEWHERE: &[&str] = &["JWT", "audience", "signature", "garbage"];

/// Words of the original texts. None of them may reach a caller.
const FOREIGN: &[&str] = &[
    "Bad credentials",
    "too many failed attempts",
    "active Identity Provider",
    "relyingParty",
    "pre-created",
    "accounts.example.test",
    "Rate Limiter",
    "limited mode",
    "went amiss",
    "hotel network",
    "Unauthorized grant",
    "Missing credentials",
    "CSRF",
    "Not Found",
];

/// Answers the next logons with one variant of a row, makes one call and returns its answer and the
/// destination's status.
async fn meet(sandbox: &Sandbox, fault: &Value) -> (Answer, Value) {
    pull(sandbox, "uaa_fault", fault);
    ask(sandbox, TestBroker::start(sandbox).await).await
}

/// Makes one call that needs a token. Returns its answer and the destination's status.
async fn ask(sandbox: &Sandbox, broker: TestBroker) -> (Answer, Value) {
    let token = sandbox.developer_token();
    let answer = broker.get("/spaces", &token).await;
    let state = broker.get("/destinations", &token).await.json()["resources"][0].clone();
    broker.stop().await;
    (answer, state)
}

async fn check(row: &Row, variant: &str, dialect: &str) {
    let what = format!("{} {variant} {dialect}", row.id);
    let sandbox = sandbox().await;
    let fault = json!({"row": row.id, "variant": variant, "dialect": dialect, "n": 20});
    let (answer, state) = meet(&sandbox, &fault).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (row.status, row.code),
        "{what}: {}",
        answer.text
    );
    assert_eq!(answer.headers.contains_key("retry-after"), row.status == 503, "{what}");
    assert_eq!(answer.json()["retryable"], row.status == 503, "{what}");
    assert!(answer.text.contains(row.advice), "{what}: {}", answer.text);
    assert!(answer.text.contains("CFAPI") || row.code == "internal", "{what}: {}", answer.text);
    for foreign in FOREIGN {
        assert!(!answer.text.contains(foreign), "{what}: {}", answer.text);
    }
    assert_eq!(state["gate"]["state"], row.guard, "{what}: {state}");
    assert_eq!(state["last_refusal"]["code"], row.code, "{what}: {state}");
    assert!(state["lease"].is_null(), "{what}: {state}");
    // A definite refusal is sent once. One that may hide a counted failure may be repeated.
    let most = if row.guard == "waiting" { 4 } else { 1 };
    assert!(
        (1..=most).contains(&sandbox.password_grants()),
        "{what}: {} grants",
        sandbox.password_grants()
    );
}

#[tokio::test]
async fn every_row_in_both_dialects_has_its_code_guard_state_and_advice() {
    for row in TABLE {
        for variant in row.variants {
            check(row, variant, "invalid_client").await;
            if row.status == 502 {
                check(row, variant, "unauthorized").await;
            }
        }
    }
}

#[tokio::test]
async fn the_table_names_every_row_and_variant_that_the_sandbox_can_send() {
    let sandbox = sandbox().await;
    let listed = pull(&sandbox, "uaa_faults", &json!({})).to_string();
    let rows: BTreeSet<&str> = TABLE.iter().map(|row| row.id).collect();
    assert_eq!(rows.len(), 26);
    let words = listed.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let variants = TABLE.iter().flat_map(|row| row.variants.iter().copied());
    let known: BTreeSet<&str> = variants.chain(rows).chain(ELSEWHERE.iter().copied()).collect();
    let structure = ["", "rows", "row", "variants", "variant", "faults", "name", "names"];
    let unknown: Vec<_> =
        words.filter(|word| !known.contains(word) && !structure.contains(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn the_codes_of_the_provider_are_shown() {
    for code in PROVIDER_CODES {
        let sandbox = sandbox().await;
        let (answer, _) = meet(&sandbox, &json!({"row": "F6", "variant": code, "n": 1})).await;
        assert!(answer.text.contains(code), "{}", answer.text);
    }
}

/// What is known about a logon, and the words that must say so.
const KNOWN: &[(&str, &str, &str, &[&str])] = &[
    ("no origin", "spell_origin", r#"{"spelling": 0}"#, &["no origin was sent", "set the origin"]),
    (
        "an origin that has no effect",
        "edit_destination",
        r#"{"set": {"tokenServiceURL.queries.origin": "sandbox-platform"}}"#,
        &["the field origin of the token call has no effect", "set the origin"],
    ),
    (
        "a blank",
        "edit_destination",
        r#"{"set": {"User": "technical.user@example.test "}}"#,
        &["User begins or ends with a blank", "origin sandbox-platform was sent"],
    ),
    (
        "capital letters",
        "edit_destination",
        r#"{"set": {"clientId": "CF"}}"#,
        &["clientId is not exactly cf", "clientSecret"],
    ),
    (
        "a blank in the client",
        "edit_destination",
        r#"{"set": {"clientId": "cf "}}"#,
        &["clientId is not exactly cf", "clientSecret"],
    ),
    (
        "users of SAP",
        "spell_origin",
        r#"{"spelling": 4, "origin": "sap.ids"}"#,
        &["Universal ID", "origin sap.ids was sent"],
    ),
    (
        "a changed password",
        "change_password",
        r#"{"user": "technical.user@example.test", "password": "another"}"#,
        &["correct user and password"],
    ),
];

#[tokio::test]
async fn what_is_known_about_a_refused_logon_reaches_detail_and_status() {
    for (what, lever, args, words) in KNOWN {
        let sandbox = sandbox().await;
        let args = crate::support::parse(args);
        if args["set"]["tokenServiceURL.queries.origin"].is_string() {
            pull(&sandbox, "spell_origin", &json!({"spelling": 0}));
        }
        pull(&sandbox, lever, &args);
        let (answer, state) = ask(&sandbox, TestBroker::start(&sandbox).await).await;
        assert_eq!((answer.status, answer.code().as_str()), REJECTED, "{what}: {}", answer.text);
        assert_eq!(answer.json()["retryable"], false, "{what}");
        let hint = state["last_refusal"]["hint"].as_str().unwrap_or_default();
        let no_further = ["no further logon happens by itself"];
        for word in words.iter().chain(&no_further) {
            assert!(answer.text.contains(word), "{what}: {word}: {}", answer.text);
            assert!(hint.contains(word), "{what}: {word}: {hint}");
        }
        assert_eq!(sandbox.password_grants(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_the_user_s_does_not_blame_the_user() {
    let others = CLIENT_REFUSED.iter().map(|variant| ("F15", *variant));
    for (row, variant) in others.chain([("F22", "html_404"), ("F24", "csrf")]) {
        let sandbox = sandbox().await;
        let (answer, state) = meet(&sandbox, &json!({"row": row, "variant": variant})).await;
        let hint = state["last_refusal"]["hint"].as_str().unwrap_or_default();
        for text in [answer.text.as_str(), hint] {
            assert!(!text.contains("correct user and password"), "{variant}: {text}");
        }
    }
}

#[tokio::test]
async fn a_locked_user_of_an_older_uaa_is_locked() {
    for (row, guard, code) in
        [("F3", "locked", LOCKED), ("F7", "blocked", (502, "technical_user_mfa"))]
    {
        let sandbox = sandbox().await;
        let fault = json!({"row": row, "release": "4.30.0"});
        let (answer, state) = meet(&sandbox, &fault).await;
        assert_eq!((answer.status, answer.code().as_str()), code, "{}", answer.text);
        assert_eq!(state["gate"]["state"], guard);
    }
}

#[tokio::test]
async fn a_refused_assertion_never_blames_a_password() {
    let rows = [
        ("JWT", "audience", ACTION, "audience (aud)"),
        ("JWT", "signature", ACTION, "expired, or no key"),
        ("JWT", "garbage", ACTION, "no valid token"),
        ("JWT", "empty", ACTION, "cannot decode the assertion"),
        ("JWT", "missing", ACTION, "no assertion has reached UAA"),
        ("F13", "issuer", ACTION, "issuer of the assertion"),
        ("F12", "shadow_user", ACTION, "issued the assertion"),
        ("F16", "grant", INVALID, "may not use the JWT bearer grant"),
        ("F1", "password", INVALID, "check clientId and clientSecret"),
        ("F15", "missing_credentials", INVALID, "check clientId and clientSecret"),
        ("F22", "html_404", REJECTED, "the assertion was refused for a reason"),
    ];
    for (row, variant, expected, word) in rows {
        let sandbox = sandbox().await;
        pull(&sandbox, "uaa_fault", &json!({"row": row, "variant": variant}));
        let assertion = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(assertion.path(), "a.b.c").unwrap();
        let path = assertion.path().display().to_string();
        let (answer, state) = ask(&sandbox, jwt_bearer(&sandbox, path).await).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{variant}: {}", answer.text);
        let hint = state["last_refusal"]["hint"].as_str().unwrap_or_default();
        assert!(answer.text.contains(word) && hint.contains(word), "{variant}: {}", answer.text);
        for foreign in ["user and password", "password grant", "further logon", "release"] {
            assert!(!answer.text.contains(foreign), "{variant}: {}", answer.text);
        }
        assert_eq!(sandbox.password_grants(), 0, "{variant}");
    }
}

#[tokio::test]
async fn a_missing_assertion_is_named() {
    let sandbox = sandbox().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("assertion").display().to_string();
    let (answer, _) = ask(&sandbox, jwt_bearer(&sandbox, path).await).await;
    assert_eq!((answer.status, answer.code().as_str()), ACTION, "{}", answer.text);
    assert!(answer.text.contains("assertion_file) does not exist"), "{}", answer.text);
}

async fn jwt_bearer(sandbox: &Sandbox, path: String) -> TestBroker {
    let mut vars = variables(sandbox);
    vars.insert("CFAPI_TOKEN__GRANT".to_owned(), "jwt_bearer".to_owned());
    vars.insert("CFAPI_TOKEN__ASSERTION_FILE".to_owned(), path);
    TestBroker::with(vars).await
}

#[tokio::test]
async fn a_token_of_another_provider_is_shown_to_operators() {
    let sandbox = sandbox().await;
    pull(&sandbox, "token_origin", &json!({"origin": "sap.ids"}));
    let (answer, state) = ask(&sandbox, TestBroker::start(&sandbox).await).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let warning = state["warning"].as_str().unwrap_or_default();
    assert!(warning.contains("sap.ids") && warning.contains("sandbox-platform"), "{state}");
}
