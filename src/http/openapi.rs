//! Makes `docs/openapi.json` from handlers, bodies, problem codes and the allow list. Only in
//! tests: the broker serves that file (`handlers::openapi`).

mod problems;
pub(crate) mod words;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::http::{
    code::ProblemCode,
    handlers::{
        assets, destinations, docs, health, login, metrics, openapi, problems as guides, release,
        root, route_bulk, route_transfer, routes, spaces, status,
    },
    problem::ProblemDocument,
};
use crate::pages::ApiReference;

/// Examples of requests and answers: operation, then `request` or a status.
const EXAMPLES: &str = include_str!("openapi/examples.json");
const POLICY: &str = include_str!("../../config/policy.toml");
const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cfapi-broker",
        description = "Tenant routes, spaces and an allow-listed part of the Cloud Foundry API, as a technical user.\n\n\
            Every error is a problem document (RFC 9457) with a stable `code`; `/problems/{kind}` says what to do. Each \
            answer has `x-correlationid`: the id of the request in the log, the caller's own if it sent one of up to 255 \
            characters of `A-Z a-z 0-9 _ -`. In a browser most answers are pages (`Accept: text/html`).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The broker that serves this document")),
    tags(
        (name = "routes", description = "Tenant routes, for provider apps"),
        (name = "spaces", description = "What the technical user sees in Cloud Foundry"),
        (name = "technical user", description = "State of the technical users, and the release of one logon"),
        (name = "cf api", description = "The rows of the allow list: what may pass to the CF API"),
        (name = "health", description = "Probes and metrics"),
        (name = "problems", description = "What the codes mean"),
        (name = "browser", description = "Login and files of the pages, for people"),
    ),
    paths(
        root::document, health::alive, health::ready, metrics::read, openapi::read,
        routes::list, routes::create, routes::ensure, routes::read, routes::remove, routes::operation,
        route_transfer::transfer, route_bulk::batch, route_bulk::reconcile,
        destinations::list, release::retry, release::by_form, status::read, spaces::list, spaces::read,
        guides::list, guides::read, docs::read, assets::read,
        login::start, login::callback, login::logged_out, login::logout,
    ),
    components(schemas(ProblemDocument<'static>)),
)]
struct ApiDocument;

/// The document, as it is committed.
fn document() -> Value {
    let mut document = serde_json::to_value(ApiDocument::openapi()).unwrap();
    add_policy(&mut document);
    let examples: BTreeMap<String, Map<String, Value>> = parse(EXAMPLES);
    let mut unused: HashSet<_> = examples.keys().collect();
    for operation in operations(&mut document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        for (place, example) in examples.get(&id).into_iter().flatten() {
            add_example(operation, place, example);
        }
        unused.remove(&id);
        add_problems(operation, &id);
    }
    assert!(unused.is_empty(), "no such operations: {unused:?}");
    share_responses(&mut document);
    drop_null_defaults(&mut document["components"]["schemas"]);
    let used = document.to_string();
    let mut examples = problem_examples();
    examples
        .as_object_mut()
        .unwrap()
        .retain(|name, _| used.contains(&format!("\"#/components/examples/{name}\"")));
    let components = &mut document["components"];
    components["examples"] = examples;
    components["schemas"]["CfErrors"] = json!({
        "description": "Errors of the CF API, in its own form", "type": "object",
        "properties": {"errors": {"type": "array", "items": {"$ref": "#/components/schemas/CfError"}}},
    });
    components["schemas"]["CfProblem"] = cf_problem(&components["schemas"]["Problem"]);
    components["headers"]["x-correlationid"] =
        json!({"description": "Id of the request in the log", "schema": {"type": "string"}});
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token of XSUAA, or of Identity Authentication where the broker has it; the names are scopes"},
        "page_cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-cfb",
            "description": "The session of a person who has logged in; for pages only"},
    });
    document
}

#[expect(clippy::disallowed_methods, reason = "a file of this repository")]
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().unwrap().values_mut();
    paths.flat_map(|path| path.as_object_mut().unwrap().values_mut())
}

fn add_example(operation: &mut Value, place: &str, example: &Value) {
    let holder = match place {
        "request" => &mut operation["requestBody"],
        status => &mut operation["responses"][status],
    };
    let contents = holder["content"].as_object_mut().unwrap_or_else(|| panic!("{place}"));
    for content in contents.values_mut() {
        content["example"] = example.clone();
    }
}

/// Adds an answer for each status of the codes that an operation can give, and the headers that all
/// answers have.
fn add_problems(operation: &mut Value, id: &str) {
    let (schema, example) =
        if id.starts_with("cf_") { ("CfProblem", "below_v3_") } else { ("Problem", "") };
    let responses = operation["responses"].as_object_mut().unwrap();
    for code in problems::codes_of(id) {
        let spec = code.spec();
        let response = responses.entry(spec.status.as_str()).or_insert_with(
            || json!({"description": spec.status.canonical_reason().unwrap_or_default()}),
        );
        let content = &mut response["content"][PROBLEM];
        content["schema"] = json!({"$ref": format!("#/components/schemas/{schema}")});
        content["examples"][spec.name] =
            json!({"$ref": format!("#/components/examples/{example}{}", spec.name)});
        if schema == "CfProblem" {
            response["content"]["application/json"]["schema"] =
                json!({"$ref": "#/components/schemas/CfErrors"});
        }
        let name = match spec.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "Retry-After",
            StatusCode::UNAUTHORIZED => "WWW-Authenticate",
            StatusCode::METHOD_NOT_ALLOWED => "Allow",
            _ => continue,
        };
        response["headers"][name] = json!({"schema": {"type": "string"}});
    }
    for response in responses.values_mut() {
        response["headers"]["x-correlationid"] =
            json!({"$ref": "#/components/headers/x-correlationid"});
    }
}

/// An absent member needs no word about it.
fn drop_null_defaults(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| name != "default" || !value.is_null());
            members.values_mut().for_each(drop_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null_defaults),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Moves answers that several operations have into one place.
fn share_responses(document: &mut Value) {
    let mut shared: Vec<(String, Value)> = Vec::new();
    for operation in operations(document) {
        let responses = operation["responses"].as_object_mut().unwrap();
        for (status, response) in responses {
            if response["content"].get(PROBLEM).is_none() {
                continue;
            }
            let known = shared.iter().find(|(_, it)| it == response).map(|(name, _)| name.clone());
            let name = known.unwrap_or_else(|| {
                let alike = format!("Problem{status}");
                let count = shared.iter().filter(|(name, _)| name.starts_with(&alike)).count();
                let name = if count == 0 { alike } else { format!("{alike}_{}", count + 1) };
                shared.push((name.clone(), response.clone()));
                name
            });
            *response = json!({"$ref": format!("#/components/responses/{name}")});
        }
    }
    document["components"]["responses"] = Value::Object(shared.into_iter().collect());
}

/// One example for each code, and one in the form of the CF API.
fn problem_examples() -> Value {
    let all = ProblemCode::ALL.iter().flat_map(|code| {
        let summary = code.summary();
        let value = json!({
            "type": summary.path(), "title": summary.title, "status": summary.status,
            "detail": summary.guide.meaning, "code": summary.code, "retryable": summary.retryable,
            "instance": "urn:uuid:5bed2e53-b0a7-4896-a74c-3898df2416c4",
            "correlation_id": "256ca21d-3c99-4411-89b3-f47db7eb678f",
        });
        let mut below = value.clone();
        let cf = code.cf_error();
        below["errors"] =
            json!([{"code": cf.code, "title": cf.title, "detail": summary.guide.meaning}]);
        [("", value), ("below_v3_", below)].map(|(prefix, value)| {
            let example = json!({"summary": summary.title, "value": value});
            (format!("{prefix}{}", summary.code), example)
        })
    });
    Value::Object(all.collect())
}

/// A problem below `/v3`: `errors` is in the form of the CF API.
fn cf_problem(own: &Value) -> Value {
    let mut problem = own.clone();
    problem["description"] =
        "An error of the broker below `/v3`: `errors` is as in the CF API, for its clients.".into();
    let members = &mut problem["properties"];
    members["field_errors"] = members["errors"].clone();
    members["errors"] = json!({"type": "array", "items": {
        "type": "object", "required": ["code", "title", "detail"],
        "properties": {"code": {"type": "integer"}, "title": {"type": "string"}, "detail": {"type": "string"}},
    }});
    problem["required"].as_array_mut().unwrap().push("errors".into());
    problem
}

/// Adds the rows of the allow list that the broker is shipped with.
fn add_policy(document: &mut Value) {
    let policy: toml::Table = toml::from_str(POLICY).unwrap();
    let texts = |row: &toml::Value, name: &str| -> Vec<String> {
        let found = row.get(name).and_then(toml::Value::as_array);
        found.into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for row in policy["rules"].as_array().unwrap() {
        let scope = row.get("scope").and_then(toml::Value::as_str);
        let body = row["body"].as_str().unwrap();
        for path in texts(row, "paths") {
            for method in texts(row, "methods") {
                let (path, parameters) = named_parameters(&path);
                document["paths"][&path][method.to_lowercase()] =
                    row_operation(&method, (&path, parameters), (scope, body));
            }
        }
    }
}

/// Gives the placeholders of a row names of their own.
fn named_parameters(path: &str) -> (String, Vec<Value>) {
    let (mut named, mut parameters) = (String::new(), Vec::new());
    for (at, part) in path.split("{guid}").enumerate() {
        if at > 0 {
            let name = if at == 1 { "guid".to_owned() } else { format!("guid{at}") };
            named.extend(["{", &name, "}"]);
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": "Guid of CF",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
            }));
        }
        named.push_str(part);
    }
    (named, parameters)
}

fn row_operation(
    method: &str,
    (path, parameters): (&str, Vec<Value>),
    (scope, body): (Option<&str>, &str),
) -> Value {
    let words: Vec<_> = path.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect();
    let (summary, status) = match body {
        "route_create" => ("Create a route in the caller's space; owner labels are added", "201"),
        "destinations_add" => ("Map the caller's app to the caller's route", "200"),
        "own_route" => ("Delete the caller's route", "202"),
        "own_destination" => ("Unmap the caller's app from the caller's route", "204"),
        _ => {
            ("Read what the technical user sees, with every link leading back to the broker", "200")
        }
    };
    let scopes: Vec<_> = ["Api.Proxy"].into_iter().chain(scope).collect();
    let mut answer = json!({"description": "CF's answer, as it is but for its links"});
    if status == "200" || status == "201" {
        answer["content"]["application/json"]["schema"] = json!({"type": "object"});
    }
    let mut operation = json!({
        "operationId": format!("cf_{}_{}", method.to_lowercase(), words.join("_")),
        "tags": ["cf api"], "summary": summary, "security": [{"bearer": scopes}],
        "description": "CF's own errors pass as they are, with CF's status. Query and body are those of the CF API v3.",
        "responses": {status: answer, "default": {
            "description": "An error of CF, in its own form",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }},
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if method == "POST" {
        operation["requestBody"] = json!({
            "required": true, "content": {"application/json": {"schema": write_body(body)}},
        });
    }
    operation
}

/// The body of a write of the CF API, as `policy/body.rs` takes it.
fn write_body(body: &str) -> Value {
    let strict = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false});
    let guid = json!({"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"});
    let to_one = strict(&["data"], json!({"data": strict(&["guid"], json!({"guid": guid}))}));
    let texts = json!({"type": "object", "additionalProperties": {"type": ["string", "null"]}});
    if body == "route_create" {
        let relationships = json!({"space": to_one, "domain": to_one});
        return strict(
            &["host", "relationships"],
            json!({
                "host": {"type": "string"}, "path": {"type": "string"}, "port": {"type": ["integer", "null"]},
                "relationships": strict(&["space", "domain"], relationships),
                "metadata": strict(&[], json!({"labels": texts, "annotations": texts})),
            }),
        );
    }
    let process = strict(&["type"], json!({"type": {"type": "string"}}));
    let app = strict(&["guid"], json!({"guid": guid, "process": process}));
    let target = strict(
        &["app"],
        json!({
            "app": app, "port": {"type": ["integer", "null"], "minimum": 0},
            "protocol": {"enum": ["http1", "http2", null]},
        }),
    );
    strict(&["destinations"], json!({"destinations": {"type": "array", "items": target}}))
}

#[expect(clippy::disallowed_methods, reason = "the only switch of the tests")]
fn is_to_be_written() -> bool {
    std::env::var_os("CFAPI_WRITE_OPENAPI").is_some()
}

/// The committed file is what handlers and bodies say.
/// `CFAPI_WRITE_OPENAPI=1 cargo test --lib openapi` writes it anew.
#[test]
fn the_committed_document_is_that_of_the_code() {
    let mut made = Vec::new();
    // The file is part of the program: one space is enough.
    let narrow = serde_json::ser::PrettyFormatter::with_indent(b" ");
    document().serialize(&mut serde_json::Serializer::with_formatter(&mut made, narrow)).unwrap();
    let made = String::from_utf8(made).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if is_to_be_written() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == made,
        "docs/openapi.json is not what the code says; look at the difference after \
         `CFAPI_WRITE_OPENAPI=1 cargo test --lib openapi`"
    );
}

/// The page for people who have no broker at hand is made of the same; the same variable writes it.
#[test]
fn the_reference_page_is_made_of_the_document() {
    let made = ApiReference::read(&document().to_string()).unwrap().to_markdown();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/http-api.md");
    if is_to_be_written() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    let differs = made.lines().zip(committed.lines()).find(|(made, committed)| made != committed);
    assert!(
        committed == made,
        "the page is not what the document says: {differs:?}; look at the \
         difference after `CFAPI_WRITE_OPENAPI=1 cargo test --lib openapi`"
    );
}

#[test]
fn every_code_of_a_problem_belongs_to_an_operation() {
    let text = document().to_string();
    for code in ProblemCode::ALL {
        let named = ["", "below_v3_"]
            .map(|prefix| format!("\"#/components/examples/{prefix}{}\"", code.spec().name));
        assert!(named.iter().any(|name| text.contains(name)), "{code:?}");
    }
}
