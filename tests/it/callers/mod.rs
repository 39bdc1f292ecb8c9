//! Authentication over HTTP: a corpus of named tokens with the expected status, floods, attackers
//! and rotations of keys. The rules are in `docs/reference/caller-rules.md`.
//!
//! A case changes one thing of a valid request. All cases are sent to one broker, whose XSUAA also
//! publishes unusable keys.

mod certificate;
mod claims;
mod forms;
mod ias;
mod keys;
mod pressure;
mod record;

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cfapi_sandbox::{Part, Sandbox, token::key::SigningKey};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestBroker, answer, client, parse, sandbox};

/// The client id of the valid token.
const CALLER: &str = "sb-caller!t7";
/// A path that needs `Spaces.Read` and no other system.
const PATH: &str = "/destinations";

/// One request, and the expected status.
struct Case {
    name: &'static str,
    status: u16,
    /// Values of `Authorization`, each in a header of its own.
    authorization: Vec<String>,
}

/// Makes variants of a valid token.
struct TokenIssuer {
    key: SigningKey,
    /// Further keys, some in the set, some not acceptable.
    other: keys::ExtraKeys,
    header: Value,
    claims: Value,
    /// `uaadomain` of the binding.
    domain: String,
    application: String,
}

/// A member is set to this JSON text, or removed if the text is empty. `DOMAIN`, `APP` and `ZONE`
/// stand for those of the landscape; `@+5` is the time in five seconds, as a number.
type Row = (&'static str, u16, &'static str, &'static str);

impl TokenIssuer {
    fn of(sandbox: &Sandbox) -> Self {
        let token = sandbox.caller_token(CALLER, &["Spaces.Read"]);
        let [header, claims, _] = split(&token).map(decoded);
        Self {
            key: sandbox.xsuaa_key(),
            other: keys::ExtraKeys::publish(sandbox),
            header,
            claims,
            domain: sandbox.uaa_domain(),
            application: sandbox.xsappname().to_owned(),
        }
    }

    /// The valid token.
    fn token(&self) -> String {
        self.key.sign_with(&self.header, &self.claims)
    }

    /// The text of a table, with the placeholders replaced.
    fn text(&self, text: &str) -> String {
        if let Some(offset) = text.strip_prefix('@') {
            let now = self.claims["iat"].as_i64().unwrap();
            return (now + offset.parse::<i64>().unwrap()).to_string();
        }
        let zone = self.claims["zid"].as_str().unwrap();
        text.replace("DOMAIN", &self.domain).replace("APP", &self.application).replace("ZONE", zone)
    }

    /// A valid token with one other header member.
    fn header(&self, (name, status, member, text): Row) -> Case {
        let mut header = self.header.clone();
        set(&mut header, member, &self.text(text));
        Case::token(name, status, &self.key.sign_with(&header, &self.claims))
    }

    /// A valid token with one other claim.
    fn claim(&self, (name, status, claim, text): Row) -> Case {
        let mut claims = self.claims.clone();
        set(&mut claims, claim, &self.text(text));
        Case::token(name, status, &self.key.sign_with(&self.header, &claims))
    }

    /// A valid token with several other claims.
    fn claims(&self, name: &'static str, status: u16, changes: &Value) -> Case {
        let mut claims = self.claims.clone();
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        Case::token(name, status, &self.key.sign_with(&self.header, &claims))
    }

    /// A valid token whose header is this text.
    fn header_text(&self, name: &'static str, status: u16, text: &str) -> Case {
        let text = text.replace("KID", self.key.kid());
        Case::token(name, status, &self.key.sign_texts(&text, &self.claims.to_string()))
    }

    /// A valid token whose payload is this text; `…` stands for the valid members.
    fn payload(&self, name: &'static str, status: u16, text: &str) -> Case {
        let claims = self.claims.to_string();
        let members = claims.trim_start_matches('{').trim_end_matches('}');
        let text = self.text(text).replace('…', members);
        Case::token(name, status, &self.key.sign_texts(&self.header.to_string(), &text))
    }

    fn cases(&self) -> Vec<Case> {
        [forms::authorization(self), forms::encoding(self), forms::header(self)]
            .into_iter()
            .chain([claims::kinds(self), claims::rows(self), claims::texts(self)])
            .chain([keys::algorithms(self), keys::sets(self), keys::tampering(self)])
            .flatten()
            .collect()
    }
}

impl Case {
    fn token(name: &'static str, status: u16, token: &str) -> Self {
        Self { name, status, authorization: vec![format!("Bearer {token}")] }
    }
}

/// Sets a member to a JSON text, or removes it.
fn set(object: &mut Value, member: &str, text: &str) {
    if text.is_empty() {
        object.as_object_mut().unwrap().remove(member);
    } else {
        let value = parse(text);
        assert!(value != Value::Null || text == "null", "{text}");
        object[member] = value;
    }
}

fn split(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn decoded(segment: &str) -> Value {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_or(Value::Null, |bytes| parse(&String::from_utf8_lossy(&bytes)))
}

async fn send(broker: &TestBroker, authorization: &[String]) -> Answer {
    let mut request = client().get(format!("{}{PATH}", broker.base));
    for value in authorization {
        request = request.header("authorization", value);
    }
    answer(request).await
}

/// The results of all cases.
#[derive(Default)]
struct Results {
    /// The failures.
    faults: Vec<String>,
    /// The bodies of all 401 answers, without the members that differ in each answer.
    refusals: HashSet<String>,
    /// The status of each case.
    statuses: Vec<u16>,
    /// How many brokers were started.
    brokers: usize,
}

/// Sends each case. Within five seconds a broker decides about one unknown key id only, and others
/// are 503. Then a new broker gets the case.
async fn send_all(start: impl AsyncFn() -> TestBroker, cases: &[Case]) -> Results {
    let Results { mut faults, mut refusals, mut statuses, .. } = Results::default();
    let (mut broker, mut brokers) = (start().await, 1);
    for case in cases {
        let mut got = send(&broker, &case.authorization).await;
        if got.status == 503 {
            assert_eq!(got.code(), "keys_unavailable", "{}", case.name);
            let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=5).contains(&wait), "{}: {wait}", case.name);
            broker = start().await;
            brokers += 1;
            got = send(&broker, &case.authorization).await;
        }
        statuses.push(got.status);
        if got.status != case.status {
            faults.push(format!("{}: expected {}, got {}", case.name, case.status, got.status));
        }
        let challenge = got.headers.get("www-authenticate").and_then(|value| value.to_str().ok());
        let expected = match (got.status, case.authorization.is_empty()) {
            (401, true) => Some(r#"Bearer realm="cfapi-broker""#),
            (401, false) => Some(r#"Bearer realm="cfapi-broker", error="invalid_token""#),
            (403, _) => Some(r#"Bearer realm="cfapi-broker", error="insufficient_scope""#),
            _ => None,
        };
        if challenge != expected {
            faults.push(format!("{}: challenge {challenge:?}", case.name));
        }
        if got.status == 401 {
            let mut body = got.json();
            for member in ["instance", "correlation_id"] {
                assert!(body.as_object_mut().unwrap().remove(member).is_some());
            }
            refusals.insert(body.to_string());
        }
    }
    Results { faults, refusals, statuses, brokers }
}

#[tokio::test]
async fn each_token_of_the_corpus_gets_the_status_that_it_must() {
    let sandbox = sandbox().await;
    let issuer = TokenIssuer::of(&sandbox);
    let cases = issuer.cases();
    let start = async || TestBroker::start(&sandbox).await;
    let Results { faults, refusals, statuses, brokers } = send_all(start, &cases).await;
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(refusals.len(), 1, "all 401 say the same: {refusals:?}");
    let journal = sandbox.journal();
    let fetches = journal.iter().filter(|entry| entry.path == "/token_keys").count();
    assert!((1..=2 * brokers).contains(&fetches), "one, and one for the unknown: {fetches}");
    assert!(brokers <= 20, "only unknown key ids: {brokers}");
    assert_eq!(journal.iter().filter(|entry| entry.part == Part::Cf).count(), 0);
    record::write(&sandbox, &issuer, &cases, &statuses).await;
}

#[tokio::test]
async fn the_corpus_is_large_and_mixed_and_names_are_unique() {
    let cases = TokenIssuer::of(&sandbox().await).cases();
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    let count = |status: u16| cases.iter().filter(|case| case.status == status).count();
    let (good, bare) = (count(200), count(403));
    assert!(cases.len() >= 150, "{}", cases.len());
    assert!(good * 7 >= cases.len() && bare >= 8, "{good} accepted, {bare} without a scope");
}

/// The corpus can fail: a wrong expectation is reported, in both directions.
#[tokio::test]
async fn a_wrong_expectation_is_reported() {
    let sandbox = sandbox().await;
    let issuer = TokenIssuer::of(&sandbox);
    let forged = issuer.other.foreign.sign_with(&issuer.header, &issuer.claims);
    let cases = [
        Case::token("right", 200, &issuer.token()),
        Case::token("forged", 200, &forged),
        Case::token("good", 401, &issuer.token()),
    ];
    let start = async || TestBroker::start(&sandbox).await;
    let Results { faults, .. } = send_all(start, &cases).await;
    let named: Vec<_> =
        faults.iter().filter_map(|fault| fault.split(": expected").next()).collect();
    assert_eq!(named, ["forged", "good"]);
}

/// Each scope guards its paths, whatever other scopes a token has.
#[tokio::test]
async fn each_scope_guards_its_paths() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let paths = [
        ("GET", "/spaces", "Spaces.Read"),
        ("GET", "/spaces/s1", "Spaces.Read"),
        ("GET", "/status", "Spaces.Read"),
        ("GET", "/destinations", "Spaces.Read"),
        ("GET", "/routes", "Routes.Read"),
        ("GET", "/routes/t1", "Routes.Read"),
        ("GET", "/routes/operations/x", "Routes.Read"),
        ("PUT", "/routes/t1", "Routes.Write"),
        ("DELETE", "/routes/t1", "Routes.Write"),
        ("POST", "/routes", "Routes.Write"),
        ("POST", "/routes/batch", "Routes.Write"),
        ("POST", "/routes/reconcile", "Routes.Write"),
        ("POST", "/destinations/CFAPI/retry", "Routes.Admin"),
        ("GET", "/metrics", "Metrics.Read"),
    ];
    let all =
        ["Routes.Read", "Routes.Write", "Routes.Admin", "Api.Proxy", "Spaces.Read", "Metrics.Read"];
    for (method, path, scope) in paths {
        let others: Vec<_> = all.into_iter().filter(|other| *other != scope).collect();
        let method = method.parse::<Method>().unwrap();
        let body = json!({});
        let body = Some(&body).filter(|_| !matches!(method, Method::GET | Method::DELETE));
        let lacking = sandbox.caller_token("sb-lacking!t1", &others);
        let refused = broker.send(method.clone(), path, Some(&lacking), body).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden_scope"), "{path}");
        let challenge = refused.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(scope));
        let holding = sandbox.caller_token("sb-holding!t1", &[scope]);
        let passed = broker.send(method, path, Some(&holding), body).await;
        assert!(!matches!(passed.status, 401 | 403), "{path}: {}", passed.text);
    }
}
