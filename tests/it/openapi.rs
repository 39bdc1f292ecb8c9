//! The document of the API says the truth: each example of a request gets what it promises, and
//! every answer fits its schema.

use std::{collections::BTreeSet, sync::LazyLock};

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestBroker, answer, client, parse, pull, sandbox};
use cfapi_sandbox::Sandbox;

/// The committed document.
pub(crate) const DOCUMENT: &str = include_str!("../../docs/openapi.json");
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];
const ALL_SCOPES: [&str; 6] =
    ["Routes.Read", "Routes.Write", "Routes.Admin", "Spaces.Read", "Metrics.Read", "Api.Proxy"];

fn document() -> Value {
    parse(DOCUMENT)
}

/// All operations: path, method, operation.
fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    })
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(to) => document.pointer(to.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Asserts that a body has the form of a schema of the document.
fn assert_fits(document: &Value, schema: &Value, body: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let faults: Vec<_> = validator.iter_errors(body).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{what}: {faults:?}\n{body}");
}

/// The schema and example of an answer.
fn promised<'a>(document: &'a Value, operation: &'a Value, status: u16) -> Option<&'a Value> {
    let response = operation["responses"].get(status.to_string())?;
    let content = resolved(document, response)["content"].as_object()?;
    content.values().next()
}

/// The query and header of an example, by the parameters that must be there.
fn path_of(path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().map_or(&[] as &[_], Vec::as_slice);
    parameters.iter().filter(|one| one["in"] == "path").fold(path.to_owned(), |path, one| {
        let name = format!("{{{}}}", one["name"].as_str().unwrap());
        path.replace(&name, one["example"].as_str().unwrap_or("none"))
    })
}

/// The codes of an operation: method, segments of the path, codes.
type ListedCodes = Vec<(String, Vec<String>, BTreeSet<String>)>;

fn listed_codes() -> ListedCodes {
    let document = document();
    let codes = |operation: &Value| {
        let responses = operation["responses"].as_object().unwrap().values();
        let examples = responses.filter_map(|response| {
            resolved(&document, response)["content"]["application/problem+json"]["examples"]
                .as_object()
        });
        examples.flat_map(|it| it.keys().cloned()).collect()
    };
    operations(&document)
        .map(|(path, method, operation)| {
            (method.clone(), path.split('/').map(str::to_owned).collect(), codes(operation))
        })
        .collect()
}

/// Asserts that the operation of a request lists the code of its problem. All tests do that with
/// every answer.
pub(crate) fn assert_lists_code(method: &Method, path: &str, answer: &Answer) {
    static LISTED: LazyLock<ListedCodes> = LazyLock::new(listed_codes);
    let kind = answer.headers.get("content-type");
    // The answer to HEAD has no body.
    if answer.text.is_empty() || kind.is_none_or(|kind| kind != "application/problem+json") {
        return;
    }
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    let segments: Vec<_> = path.split('/').collect();
    let method =
        if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    // A fixed segment counts before a placeholder.
    let fits = |template: &[String]| {
        template.len() == segments.len()
            && template.iter().zip(&segments).all(|(own, sent)| own == sent || own.starts_with('{'))
    };
    let operation = LISTED.iter().filter(|(own, template, _)| *own == method && fits(template));
    let operation = operation
        .min_by_key(|(_, template, _)| template.iter().filter(|own| own.starts_with('{')).count());
    if let Some((_, template, codes)) = operation {
        let template = template.join("/");
        assert!(codes.contains(&code), "{method} {template} does not list {code}: {}", answer.text);
    }
}

struct Caller {
    sandbox: Sandbox,
    broker: TestBroker,
    token: String,
    document: Value,
}

impl Caller {
    async fn start() -> Self {
        let sandbox = sandbox().await;
        let broker = TestBroker::start(&sandbox).await;
        let token = sandbox.caller_token("sb-bookshop!t4711", &ALL_SCOPES);
        Self { sandbox, broker, token, document: document() }
    }

    /// Sends the example of an operation and checks that the answer is one that it promises.
    async fn send_example(&self, path: &str, method: &str, at: Option<String>) -> Answer {
        let operation = &self.document["paths"][path][method];
        let url = at.unwrap_or_else(|| format!("{}{}", self.broker.base, path_of(path, operation)));
        let method: Method = method.to_uppercase().parse().unwrap();
        let mut request = client().request(method, url).bearer_auth(&self.token);
        if let Some(example) =
            operation["requestBody"]["content"]["application/json"].get("example")
        {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_fits(&self.document, schema, example, "example of a request");
            request = request.header("content-type", "application/json").body(example.to_string());
        }
        let got = answer(request).await;
        let id = operation["operationId"].as_str().unwrap();
        let promised = promised(&self.document, operation, got.status);
        match promised {
            Some(content) if got.headers["content-type"].to_str().unwrap().contains("json") => {
                assert_fits(&self.document, &content["schema"], &got.json(), id);
            }
            Some(_) => {}
            None => assert!(got.text.is_empty(), "{id}: {} {}", got.status, got.text),
        }
        assert!(
            operation["responses"].get(got.status.to_string()).is_some(),
            "{id}: {}",
            got.status
        );
        got
    }
}

/// Path, method and status, in the order of a tenant's life: what is read must be there.
const LIFE: [(&str, &str, u16); 24] = [
    ("/routes/{tenant}", "put", 201),
    ("/routes", "post", 200),
    ("/routes/{tenant}", "get", 200),
    ("/routes", "get", 200),
    ("/routes/batch", "post", 200),
    ("/routes/reconcile", "post", 200),
    ("/routes/transfer", "post", 200),
    ("/destinations", "get", 200),
    ("/status", "get", 200),
    ("/destinations/{name}/retry", "post", 200),
    ("/spaces", "get", 200),
    ("/health", "get", 200),
    ("/health/ready", "get", 200),
    ("/metrics", "get", 200),
    ("/problems", "get", 200),
    ("/problems/{kind}", "get", 200),
    ("/openapi.json", "get", 200),
    ("/docs", "get", 200),
    ("/", "get", 200),
    ("/login", "get", 302),
    ("/logged-out", "get", 200),
    ("/logout", "post", 200),
    ("/v3", "get", 200),
    ("/v3/spaces", "get", 200),
];

#[tokio::test]
async fn each_example_gets_what_it_promises() {
    let caller = Caller::start().await;
    let spaces = caller.sandbox.world().spaces();
    let guid = &spaces.iter().find(|space| space.name == "dev").unwrap().guid;
    let mut sent = BTreeSet::new();
    for (path, method, status) in LIFE {
        let got = caller.send_example(path, method, None).await;
        assert_eq!(got.status, status, "{method} {path}: {}", got.text);
        sent.insert((path, method));
    }
    let space = format!("{}/spaces/{guid}", caller.broker.base);
    assert_eq!(caller.send_example("/spaces/{guid}", "get", Some(space)).await.status, 200);
    pull(&caller.sandbox, "job_delay", &json!({"ms": 3000}));
    let operation = &caller.document["paths"]["/routes/{tenant}"]["delete"];
    let prefer = operation["parameters"].as_array().unwrap();
    let prefer = prefer.iter().find(|one| one["name"] == "Prefer").unwrap();
    let request = client().delete(format!("{}/routes/t1", caller.broker.base));
    let request = request.header("prefer", prefer["example"].as_str().unwrap());
    let deleting = answer(request.bearer_auth(&caller.token)).await;
    assert_eq!(deleting.status, 202, "{}", deleting.text);
    for name in operation["responses"]["202"]["headers"].as_object().unwrap().keys() {
        assert!(deleting.headers.contains_key(name.to_lowercase()), "{name}");
    }
    let at = deleting.headers["location"].to_str().unwrap().to_owned();
    let asked = caller.send_example("/routes/operations/{id}", "get", Some(at)).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    sent.extend([
        ("/spaces/{guid}", "get"),
        ("/routes/{tenant}", "delete"),
        ("/routes/operations/{id}", "get"),
    ]);
    // What needs a form of a page, XSUAA or a file of a page is in tests of their own.
    let elsewhere = [
        ("/destinations/{name}/release", "post"),
        ("/login/callback", "get"),
        ("/assets/{name}", "get"),
    ];
    for (path, method, _) in operations(&caller.document) {
        let known = sent.contains(&(path.as_str(), method.as_str()))
            || elsewhere.contains(&(path.as_str(), method.as_str()))
            || path.starts_with("/v3");
        assert!(known, "{method} {path} is not tried");
    }
}

#[test]
fn every_example_fits_its_schema() {
    let document = document();
    let mut checked = 0;
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (kind, content) in
                resolved(&document, response)["content"].as_object().into_iter().flatten()
            {
                let what = format!("{method} {path} {status} {kind}");
                if let Some(example) = content.get("example").filter(|it| it.is_object()) {
                    assert_fits(&document, &content["schema"], example, &what);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 20, "{checked}");
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let below_v3 = json!({"$ref": "#/components/schemas/CfProblem"});
    for (name, example) in document["components"]["examples"].as_object().unwrap() {
        let schema = if name.starts_with("below_v3_") { &below_v3 } else { &problem };
        assert_fits(&document, schema, &example["value"], name);
    }
}

/// The methods of each path are those that the router serves.
#[tokio::test]
async fn the_document_has_every_method_of_every_path() {
    let caller = Caller::start().await;
    for (path, item) in caller.document["paths"].as_object().unwrap() {
        if path.starts_with("/v3") {
            continue;
        }
        let (_, _, operation) =
            operations(&caller.document).find(|(found, ..)| *found == path).unwrap();
        let url = format!("{}{}", caller.broker.base, path_of(path, operation));
        let listed: BTreeSet<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for method in [Method::PATCH, Method::OPTIONS] {
            let refused = client().request(method.clone(), &url).bearer_auth(&caller.token);
            let refused = answer(refused).await;
            if method == Method::OPTIONS && path.starts_with("/health") {
                assert_eq!(refused.status, 200, "{path}: {}", refused.text);
                continue;
            }
            assert_eq!(refused.status, 405, "{path}: {}", refused.text);
            let served = refused.headers["allow"].to_str().unwrap().to_lowercase();
            let served: BTreeSet<_> = served.split(',').filter(|it| METHODS.contains(it)).collect();
            assert_eq!(served, listed, "{method} {path}");
        }
    }
}

/// The document has every path of the router.
#[test]
fn the_document_has_every_path_of_the_router() {
    let router = include_str!("../../src/http/mod.rs");
    let listed = document();
    let mut found = 0;
    for line in router.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, _) = line.split_once('"').unwrap();
        if path != "/panic" {
            assert!(listed["paths"].get(path).is_some(), "{path}");
            found += 1;
        }
    }
    assert!(found > 18, "{found}");
}

#[tokio::test]
async fn the_document_is_served_to_everybody_as_it_is_committed() {
    let caller = Caller::start().await;
    let got = answer(client().get(format!("{}/openapi.json", caller.broker.base))).await;
    assert_eq!((got.status, got.text.as_str()), (200, DOCUMENT));
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.headers["cache-control"], "public, max-age=300");
}
