//! Writes the corpus with its results to a file, for the comparison with SAP's own verifiers
//! (`tests/clients/oracles`).

use std::path::Path;

use cfapi_sandbox::Sandbox;
use jsonwebtoken::{
    DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde_json::{Value, json};

use super::{Case, TokenIssuer};
use crate::support::{answer, client, parse, sandbox};

/// The file, in the target folder of this build.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/callers.json");

/// Writes each case about a token, with the broker's status and the result of a naive verifier.
/// Adds what another verifier needs: the keys, the binding and the time.
pub(super) async fn write(
    sandbox: &Sandbox,
    issuer: &TokenIssuer,
    cases: &[Case],
    statuses: &[u16],
) {
    let keys = published(sandbox).await;
    let set = readable(&keys);
    let results = cases.iter().zip(statuses).filter_map(|(case, status)| {
        let token = case.sent_token()?;
        let naive = is_accepted_by_a_naive_verifier(token, &set);
        Some(json!({"name": case.name, "status": status, "token": token, "naive": naive}))
    });
    let application = &issuer.application;
    let record = json!({
        "now": issuer.claims["iat"], "keys": keys, "cases": results.collect::<Vec<_>>(),
        "xsappname": application, "clientid": format!("sb-{application}"), "scope": "Spaces.Read",
    });
    std::fs::write(Path::new(FILE), record.to_string()).unwrap();
}

/// The key set as XSUAA publishes it.
async fn published(sandbox: &Sandbox) -> Value {
    parse(&answer(client().get(format!("{}/token_keys", sandbox.xsuaa_url()))).await.text)
}

/// The entries that `jsonwebtoken` can read.
fn readable(keys: &Value) -> JwkSet {
    let entries = keys["keys"].as_array().unwrap().iter();
    #[expect(clippy::disallowed_methods, reason = "tests read what the sandbox wrote")]
    let keys = entries.filter_map(|entry| serde_json::from_value::<Jwk>(entry.clone()).ok());
    JwkSet { keys: keys.collect() }
}

/// As the documentation of `jsonwebtoken` shows it: the algorithm and key that the token names, and
/// nothing else.
fn is_accepted_by_a_naive_verifier(token: &str, keys: &JwkSet) -> bool {
    let verify = || {
        let header = decode_header(token).ok()?;
        let key = DecodingKey::from_jwk(keys.find(header.kid.as_ref()?)?).ok()?;
        let mut rules = Validation::new(header.alg);
        rules.validate_aud = false;
        decode::<Value>(token, &key, &rules).ok()
    };
    verify().is_some()
}

impl Case {
    /// The token, if the case is about a token and not about the header.
    fn sent_token(&self) -> Option<&str> {
        let [value] = self.authorization.as_slice() else { return None };
        let (scheme, token) = value.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

#[tokio::test]
async fn a_naive_verifier_accepts_forged_tokens() {
    let sandbox = sandbox().await;
    let issuer = TokenIssuer::of(&sandbox);
    let forged: Vec<_> = issuer.cases().into_iter().filter(|case| case.status == 401).collect();
    let keys = readable(&published(&sandbox).await);
    let taken = forged.iter().filter(|case| {
        case.sent_token().is_some_and(|token| is_accepted_by_a_naive_verifier(token, &keys))
    });
    let names: Vec<_> = taken.map(|case| case.name).collect();
    for name in ["HS256 with a key of the set", "nbf in ten minutes", "aud other", "crit known"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
