//! The judged corpus as a file, for the comparison with SAP's own verifiers (`tests/clients/oracles`).

use std::path::Path;

use cfapi_sandbox::Sandbox;
use jsonwebtoken::{
    DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde_json::{Value, json};

use super::{Case, Mint};
use crate::support::{answer, client, parse, sandbox};

/// Where it is written: below the folder of this build.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/callers.json");

/// Writes each case that is about a token, with the status that the broker gave and what a naive verifier would say, and
/// what another verifier needs to judge it: the keys, the binding and the moment.
pub(super) async fn write(sandbox: &Sandbox, mint: &Mint, cases: &[Case], statuses: &[u16]) {
    let keys = published(sandbox).await;
    let set = readable(&keys);
    let judged = cases.iter().zip(statuses).filter_map(|(case, status)| {
        let token = case.sent_token()?;
        let naive = is_good_to_a_naive_one(token, &set);
        Some(json!({"name": case.name, "status": status, "token": token, "naive": naive}))
    });
    let application = &mint.application;
    let record = json!({
        "now": mint.claims["iat"], "keys": keys, "cases": judged.collect::<Vec<_>>(),
        "xsappname": application, "clientid": format!("sb-{application}"), "scope": "Spaces.Read",
    });
    std::fs::write(Path::new(FILE), record.to_string()).unwrap();
}

/// The key set as XSUAA shows it.
async fn published(sandbox: &Sandbox) -> Value {
    parse(&answer(client().get(format!("{}/token_keys", sandbox.xsuaa_url()))).await.text)
}

/// The entries that the crate can read.
fn readable(keys: &Value) -> JwkSet {
    let entries = keys["keys"].as_array().unwrap().iter();
    #[expect(clippy::disallowed_methods, reason = "tests read what the sandbox wrote")]
    let keys = entries.filter_map(|entry| serde_json::from_value::<Jwk>(entry.clone()).ok());
    JwkSet { keys: keys.collect() }
}

/// As the crate's documentation shows it: the algorithm that the token names, the key that it names, nothing else.
fn is_good_to_a_naive_one(token: &str, keys: &JwkSet) -> bool {
    let judge = || {
        let header = decode_header(token).ok()?;
        let key = DecodingKey::from_jwk(keys.find(header.kid.as_ref()?)?).ok()?;
        let mut rules = Validation::new(header.alg);
        rules.validate_aud = false;
        decode::<Value>(token, &key, &rules).ok()
    };
    judge().is_some()
}

impl Case {
    /// The token, where the case is one way to send one, and not about headers.
    fn sent_token(&self) -> Option<&str> {
        let [value] = self.authorization.as_slice() else { return None };
        let (scheme, token) = value.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

#[tokio::test]
async fn a_naive_verifier_takes_what_it_must_not() {
    let sandbox = sandbox().await;
    let mint = Mint::of(&sandbox);
    let forged: Vec<_> = mint.cases().into_iter().filter(|case| case.status == 401).collect();
    let keys = readable(&published(&sandbox).await);
    let taken = forged
        .iter()
        .filter(|case| case.sent_token().is_some_and(|token| is_good_to_a_naive_one(token, &keys)));
    let names: Vec<_> = taken.map(|case| case.name).collect();
    for name in ["HS256 with a key of the set", "nbf in ten minutes", "aud other", "crit known"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
