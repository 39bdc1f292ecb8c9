//! Every answer of the CF UAA to a logon, and what callers and operators see of it.
//!
//! The sandbox sends the exact bytes of each row of `docs/reference/uaa-faults.md`; the table here
//! says what must follow.

use std::collections::BTreeSet;

use cfapi_sandbox::Sandbox;
use serde_json::json;

use crate::support::{Answer, TestBroker, pull, sandbox};

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
const TRUST: &[&str] = &["id_token", "missing", "no_password", "party_id", "party_secret"];

const TABLE: &[Row] = &[
    row("F1", &["password"], REJECTED, "rejected", "Correct them"),
    row("F2", &["Unauthorized"], REJECTED, "rejected", "Correct them"),
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
    row("F15", &["client"], REJECTED, "rejected", "Correct them"),
    row("F16", &["grant"], INVALID, "blocked", "grant"),
    row("F17", &["scopes", "groups"], ACTION, "blocked", ""),
    row("F18", &["missing", "unknown"], (500, "internal"), "blocked", "mistake"),
    row("F19", &["query", "method"], UNAVAILABLE, "waiting", "check host and path"),
    row("F20", &["limiter", "html", "retry_after"], UNAVAILABLE, "waiting", ""),
    row("F21", &["limited_mode"], UNAVAILABLE, "waiting", ""),
    row("F22", &["provider_down"], UNAVAILABLE, "waiting", "/destinations/CFAPI/retry"),
    row("F23", &["json", "html", "empty"], UNAVAILABLE, "waiting", "/destinations/CFAPI/retry"),
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

/// Variants that are not in the table: a client that is refused, a wrong path, trouble of the
/// provider inside a 401, and the refusals of an assertion. They have tests of their own.
const ELSEWHERE: &[&str] = &[
    "missing_credentials",
    "authentication_failed",
    "no_authentication",
    "no_such_client",
    "no_such_client_named",
    "other_client",
    "bad_token",
    "csrf",
    "csrf_session",
    "too_many_requests",
    "html_404",
    "JWT",
    "audience",
    "signature",
    "garbage",
];

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
];

/// Answers the next logons with one variant of a row, makes one call and returns its answer and the
/// destination's status.
async fn meet(sandbox: &Sandbox, fault: &serde_json::Value) -> (Answer, serde_json::Value) {
    pull(sandbox, "uaa_fault", fault);
    let broker = TestBroker::start(sandbox).await;
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
