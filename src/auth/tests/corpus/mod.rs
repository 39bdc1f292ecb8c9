//! The corpus: each rule broken in several ways, and valid tokens of each kind, with the expected
//! result.
//!
//! A case changes one thing of a valid token. Tables contain JSON texts, in which `DOMAIN` stands
//! for the domain of the issuer. The clock is at 1800000000.

mod claims;
mod form;
mod key_sets;
mod signature;
mod tables;

use super::support::{
    KEY, KID, KeyServer, OTHER_KEY, binding, client, key_set, valid_claims, valid_header, verifier,
    verify,
};
use crate::{auth::Scope, binding::XsuaaBinding, upstream::body};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The expected result for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Accepted, with exactly these scopes.
    Accept(&'static [Scope]),
    /// Refused for this reason: 401, or 503 if it is `keys_unavailable`.
    Refuse(&'static str),
}
use Verdict::{Accept, Refuse};

/// The scope of the valid token.
const READ: Verdict = Accept(&[Scope::RoutesRead]);
/// Accepted, without any scope: 403 everywhere.
const NOTHING: Verdict = Accept(&[]);

/// Reasons that are found without a key. These tokens must not cause a fetch.
const EARLY: [&str; 15] = [
    "token_size",
    "token_form",
    "header_malformed",
    "algorithm",
    "type",
    "header_member",
    "key_id",
    "claims_malformed",
    "expiry",
    "not_before",
    "issued_at",
    "refresh_token",
    "audience",
    "zone",
    "issuer",
];

/// Reasons that need a key.
const LATE: [&str; 5] = ["key_unknown", "keys_unavailable", "signature", "client", "scope"];

/// A member is set to this JSON text, or removed if the text is empty.
type Row = (&'static str, Verdict, &'static str, &'static str);

type MakeToken = Box<dyn Fn(&str) -> String>;

struct Case {
    name: &'static str,
    verdict: Verdict,
    /// Makes the token for an issuer at this domain.
    make: MakeToken,
    /// The answer of the key endpoint.
    keys: String,
    /// Changes the valid binding.
    bind: fn(&mut XsuaaBinding),
}

impl Case {
    fn new(name: &'static str, verdict: Verdict, make: impl Fn(&str) -> String + 'static) -> Self {
        let keys = key_set(&[KEY.jwk(KID)]);
        Self { name, verdict, make: Box::new(make), keys, bind: |_| {} }
    }

    /// A valid token with other claims.
    fn claims(name: &'static str, verdict: Verdict, edit: impl Fn(&mut Value) + 'static) -> Self {
        Self::new(name, verdict, move |domain| {
            let mut claims = valid_claims(domain);
            edit(&mut claims);
            KEY.token(&valid_header(), &claims)
        })
    }

    /// A valid token with one other claim.
    fn claim((name, verdict, claim, text): Row) -> Self {
        Self::new(name, verdict, move |domain| {
            let mut claims = valid_claims(domain);
            set(&mut claims, claim, &text.replace("DOMAIN", domain));
            KEY.token(&valid_header(), &claims)
        })
    }

    /// A valid token with one other header member.
    fn header((name, verdict, member, text): Row) -> Self {
        Self::new(name, verdict, move |domain| {
            let mut header = valid_header();
            set(&mut header, member, text);
            KEY.token(&header, &valid_claims(domain))
        })
    }

    /// A valid token whose header is this text.
    fn header_text((name, verdict, text): (&'static str, Verdict, &'static str)) -> Self {
        Self::new(name, verdict, move |domain| {
            KEY.token_of_texts(text, &valid_claims(domain).to_string())
        })
    }

    /// A valid token whose payload is this text; `…` stands for the valid members.
    fn payload((name, verdict, text): (&'static str, Verdict, &'static str)) -> Self {
        Self::new(name, verdict, move |domain| {
            let valid = valid_claims(domain).to_string();
            let members = valid.trim_start_matches('{').trim_end_matches('}');
            let payload = text.replace('…', members).replace("DOMAIN", domain);
            KEY.token_of_texts(&valid_header().to_string(), &payload)
        })
    }

    /// A valid token, changed after signing.
    fn edited(
        name: &'static str,
        verdict: Verdict,
        edit: impl Fn([&str; 3]) -> String + 'static,
    ) -> Self {
        Self::new(name, verdict, move |domain| {
            edit(split(&KEY.token(&valid_header(), &valid_claims(domain))))
        })
    }

    /// The valid token, checked with another key set.
    fn keys(name: &'static str, verdict: Verdict, keys: String) -> Self {
        let case =
            Self::new(name, verdict, |domain| KEY.token(&valid_header(), &valid_claims(domain)));
        Self { keys, ..case }
    }

    /// The valid token, checked with a key in which one member is changed.
    fn key((name, verdict, member, text): Row) -> Self {
        let mut key = KEY.jwk(KID);
        set(&mut key, member, text);
        Self::keys(name, verdict, beside_another(&[key]))
    }

    fn with_keys(self, keys: &[Value]) -> Self {
        Self { keys: beside_another(keys), ..self }
    }

    fn bound(self, bind: fn(&mut XsuaaBinding)) -> Self {
        Self { bind, ..self }
    }
}

/// Sets a member to a JSON text, or removes it.
fn set(object: &mut Value, member: &str, text: &str) {
    if text.is_empty() {
        object.as_object_mut().unwrap().remove(member);
    } else {
        object[member] = body::decode(text.as_bytes()).unwrap();
    }
}

/// A set of these keys and a usable one of another name.
fn beside_another(keys: &[Value]) -> String {
    key_set(&[keys, &[OTHER_KEY.jwk("another")]].concat())
}

fn split(token: &str) -> [&str; 3] {
    let segments: Vec<_> = token.split('.').collect();
    segments.try_into().unwrap()
}

/// Checks each case with its own verifier and key server. Returns the failures.
async fn run(cases: Vec<Case>) -> Vec<String> {
    let client = client();
    let mut faults = Vec::new();
    for case in cases {
        let server = KeyServer::start(case.keys).await;
        let mut binding = binding(&server.domain);
        (case.bind)(&mut binding);
        let verdict = verify(&verifier(binding, &client), &(case.make)(&server.domain)).await;
        let is_right = match (&verdict, case.verdict) {
            (Ok(caller), Accept(scopes)) => caller.scopes() == scopes,
            (Err(error), Refuse(reason)) => error.reason() == reason,
            (Ok(_), Refuse(_)) | (Err(_), Accept(_)) => false,
        };
        if !is_right {
            faults.push(format!("{}: expected {:?}, got {verdict:?}", case.name, case.verdict));
        }
        let is_early = matches!(case.verdict, Refuse(reason) if EARLY.contains(&reason));
        if is_early != server.requests().is_empty() {
            faults.push(format!(
                "{}: keys were asked for {} times",
                case.name,
                server.requests().len()
            ));
        }
    }
    faults
}

macro_rules! families {
    ($($test:ident: $family:path,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                assert_eq!(run($family()).await, Vec::<String>::new());
            }
        )*

        fn all() -> Vec<Case> {
            [$($family()),*].into_iter().flatten().collect()
        }
    };
}

families! {
    valid_tokens_of_each_kind_are_accepted: claims::valid,
    only_one_encoding_of_a_token_is_accepted: form::encoding,
    the_header_is_read_strictly: form::header,
    duplicate_members_are_refused: form::duplicates,
    only_rs256_is_accepted: signature::algorithms,
    keys_in_a_token_are_ignored: signature::embedded_keys,
    a_changed_token_is_refused: signature::tampering,
    unusable_entries_are_left_out_and_do_not_break_the_set: key_sets::beside,
    only_valid_keys_verify: key_sets::quality,
    claims_are_an_object_of_well_typed_members: claims::types,
    times_are_checked_exactly_at_the_limits: claims::times,
    the_audience_is_ours_or_the_token_is_refused: claims::audiences,
    clones_are_accepted_by_instances_only: claims::clones,
    only_configured_zones_are_accepted: claims::zones,
    only_the_bound_issuer_is_accepted: claims::issuers,
    scopes_are_a_list_and_match_exactly: claims::scopes,
    other_kinds_of_token_are_refused: claims::kinds,
}

#[test]
fn the_corpus_is_large_and_mixed_and_names_are_unique() {
    let cases = all();
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    let accepted = cases.iter().filter(|case| matches!(case.verdict, Accept(_))).count();
    assert!(cases.len() >= 250 && accepted >= 40, "{} cases, {accepted} accepted", cases.len());
}

#[test]
fn every_refusal_of_a_token_has_its_case() {
    let seen: HashSet<_> = all()
        .iter()
        .filter_map(|case| match case.verdict {
            Refuse(reason) => Some(reason),
            Accept(_) => None,
        })
        .collect();
    assert_eq!(seen, EARLY.into_iter().chain(LATE).collect());
}

#[tokio::test]
async fn an_attackers_key_server_is_never_asked() {
    let attacker =
        KeyServer::start(key_set(&[OTHER_KEY.jwk(KID), OTHER_KEY.jwk("attacker")])).await;
    let server = KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let verifier = verifier(binding(&server.domain), &client());
    let address = format!("http://{}/token_keys", attacker.domain);
    for kid in [KID, "attacker"] {
        for member in ["jku", "x5u", "jwk", "iss"] {
            let (mut header, mut claims) = (valid_header(), valid_claims(&server.domain));
            header["kid"] = json!(kid);
            header[member] = json!(address);
            assert!(verify(&verifier, &OTHER_KEY.token(&header, &claims)).await.is_err());
            claims["iss"] = json!(format!("http://{}/oauth/token", attacker.domain));
            claims["jku"] = json!(address);
            assert!(verify(&verifier, &OTHER_KEY.token(&header, &claims)).await.is_err());
        }
    }
    assert_eq!(attacker.requests(), Vec::<String>::new());
}

/// The corpus can fail: a wrong expectation is reported.
#[tokio::test]
async fn a_wrong_expectation_is_reported() {
    let forged = |domain: &str| OTHER_KEY.token(&valid_header(), &valid_claims(domain));
    let faults =
        run(vec![Case::claims("right", READ, |_| {}), Case::new("wrong", READ, forged)]).await;
    assert!(faults.len() == 1 && faults[0].starts_with("wrong: "), "{faults:?}");
}
