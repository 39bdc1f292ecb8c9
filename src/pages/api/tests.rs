//! What the page says of a small document with every form that matters.

use askama::Template as _;
use rstest::rstest;
use serde_json::{Value, json};

use super::{ApiHtml, ApiReference, MemberGuide, OperationGuide, paragraphs, quoted};
use crate::pages::{PageScript, PageSection, Person, Site};

const NASTY: &str = "</textarea><script>alert(1)</script>\"'";

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "description": "All of it.\n\nIn `two` parts." },
        "tags": [{ "name": "Second", "description": "b" }, { "name": "First" }],
        "paths": {
            "/a/{id}": {
                "parameters": [{ "$ref": "#/components/parameters/Id" }],
                "put": {
                    "tags": ["First"],
                    "operationId": "change_a",
                    "summary": "Changes an a.",
                    "description": "What it does.\n\n# Errors\n`other_thing`.",
                    "security": [{ "token": ["A.Write", "B"] }, { "login": [] }],
                    "parameters": [
                        { "name": "dry run", "in": "query", "required": true, "schema": { "type": "boolean", "default": false }, "example": "a b&c" },
                        { "name": "X-Id", "in": "header", "required": true, "schema": { "type": "string" }, "example": "it's" },
                        { "name": "unsent", "in": "query", "schema": { "enum": ["one", "two"] } },
                    ],
                    "requestBody": { "content": { "application/json": {
                        "schema": { "$ref": "#/components/schemas/Order" },
                        "examples": { "x": { "value": { "text": "it's", "nasty": NASTY } } },
                    } } },
                    "responses": {
                        "200": {
                            "description": "Done.",
                            "headers": { "Location": { "description": "Where.", "schema": { "type": "string" } } },
                            "content": {
                                "text/html": { "schema": { "type": "string" } },
                                "application/json": { "schema": { "$ref": "#/components/schemas/Order" }, "example": { "kept": NASTY } },
                            },
                        },
                        "409": { "description": "No.", "content": { "application/problem+json": { "examples": {
                            "taken": { "$ref": "#/components/examples/taken" },
                            "other": { "value": { "status": 409, "code": "other_thing" } },
                        } } } },
                    },
                },
            },
            "/b": { "get": { "tags": ["Second"], "operationId": "read_b", "summary": "Reads", "deprecated": true, "security": [{}], "responses": {} } },
            "/c": { "delete": { "operationId": "drop_c", "summary": "Drops", "security": [{ "token": ["A.Write"] }], "responses": { "204": { "description": "Gone." } } } },
        },
        "components": components(),
    })
}

fn components() -> Value {
    json!({
        "parameters": { "Id": { "name": "id", "in": "path", "required": true, "description": "Which.", "schema": { "type": "string", "minLength": 1, "maxLength": 9 }, "example": "a1" } },
        "examples": { "taken": { "value": { "status": 409, "code": "host_taken" } } },
        "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer" },
            "login": { "type": "apiKey", "in": "cookie", "name": "c" },
        },
        "schemas": { "Order": {
            "type": "object",
            "required": ["kept"],
            "properties": {
                "kept": { "type": ["string", "null"], "format": "uri", "description": "The `kept` one." },
                "list": { "type": "array", "maxItems": 3, "items": { "$ref": "#/components/schemas/Item" } },
                "same": { "$ref": "#/components/schemas/Order" },
                "map": { "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Item" } },
            },
        }, "Item": { "description": "An item.", "oneOf": [
            { "type": "object", "required": ["op"], "properties": { "op": { "const": "add" }, "n": { "type": "integer", "minimum": 1 } } },
            { "type": "object", "properties": { "op": { "const": "drop" } } },
        ] } },
    })
}

fn reference() -> ApiReference {
    ApiReference::read(&document().to_string()).unwrap()
}

fn operation<'r>(reference: &'r ApiReference, id: &str) -> &'r OperationGuide {
    let mut all = reference.groups.iter().flat_map(|group| &group.operations);
    all.find(|operation| operation.id == id).unwrap()
}

fn html(person: Option<Person>, log_in: Option<&str>) -> String {
    let frame = Site::new("/p", None).frame(PageSection::Api, PageScript::OnDemand);
    let (reference, log_in) = (&reference(), log_in.map(str::to_owned));
    ApiHtml { frame: frame.seen_by(person), reference, log_in }.render().unwrap()
}

#[test]
fn operations_stand_under_their_tag_in_the_order_of_the_tags() {
    let reference = reference();
    let groups = reference.groups.iter().map(|group| {
        let ids = group.operations.iter().map(|operation| operation.id.as_str());
        (group.name.as_str(), ids.collect::<Vec<_>>())
    });
    let expected =
        [("Second", vec!["read_b"]), ("First", vec!["change_a"]), ("Other", vec!["drop_c"])];
    assert_eq!(groups.collect::<Vec<_>>(), expected);
}

#[test]
fn access_parameters_answers_and_problems_are_read() {
    let reference = reference();
    let change = operation(&reference, "change_a");
    assert_eq!(change.about, "What it does.");
    let access = ["a bearer token with the scopes A.Write and B", "the cookie of a login"];
    assert_eq!(change.access, access);
    let parameters = change.parameters.iter().map(|it| {
        let MemberGuide { name, about, .. } = &it.member;
        (name.as_str(), it.place.as_str(), it.member.nature(), about.as_str(), it.choices.len())
    });
    let expected = [
        ("id", "path", "required, string, 1 to 9 characters".to_owned(), "Which.", 0),
        ("dry run", "query", "required, boolean, false if absent".to_owned(), "", 2),
        ("X-Id", "header", "required, string".to_owned(), "", 0),
        ("unsent", "query", "optional, one of one, two".to_owned(), "", 2),
    ];
    assert_eq!(parameters.collect::<Vec<_>>(), expected);
    let [answer] = change.answers.as_slice() else { panic!("{:?}", change.answers) };
    assert_eq!((answer.status.as_str(), answer.headers.len()), ("200", 1));
    assert!(answer.members.iter().any(|member| member.name == "kept"), "{answer:?}");
    let problems = [("409", "other_thing"), ("409", "host_taken")];
    assert_eq!(change.problems, problems.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(operation(&reference, "read_b").access.is_empty());
    assert!(operation(&reference, "read_b").deprecated);
}

#[rstest]
#[case("kept", "required, string (uri) or null", "The `kept` one.")]
#[case("list", "optional, list of object, at most 3 entries", "")]
#[case("list[].op", "required, always \"add\"", "")]
#[case("list[].n", "optional, integer, at least 1", "")]
#[case("same.kept", "required, string (uri) or null", "The `kept` one.")]
#[case("map.*.op", "required, always \"add\"", "")]
fn members_are_named_by_their_way(#[case] name: &str, #[case] nature: &str, #[case] about: &str) {
    let reference = reference();
    let body = operation(&reference, "change_a").body.as_ref().unwrap();
    let found = body.members.iter().find(|member| member.name == name).unwrap();
    assert_eq!((found.nature().as_str(), found.about.as_str()), (nature, about));
    // A schema that holds itself is followed only so far.
    assert!(body.members.len() < 2000, "{}", body.members.len());
}

#[test]
fn a_command_has_what_is_required_in_quotes() {
    let reference = reference();
    let command = operation(&reference, "change_a").command();
    let head = "curl -X PUT \"$BROKER/a/a1?dry run=a+b%26c\" \\\n  \
        -H \"Authorization: Bearer $TOKEN\" \\\n  -H 'X-Id: it'\\''s' \\\n  \
        -H 'Content-Type: application/json' \\\n  -d '{";
    assert!(command.starts_with(head), "{command}");
    assert_eq!(operation(&reference, "read_b").command(), "curl \"$BROKER/b\"");
    assert_eq!(quoted("a'b"), "'a'\\''b'");
}

#[test]
fn texts_of_the_document_are_text_on_the_page() {
    let html = html(None, None);
    assert!(!html.contains("<script>") && html.matches("</textarea>").count() == 1, "{html}");
    for text in [
        "href=\"/p/openapi.json\"",
        "data-path=\"/p/a/{id}\"",
        "href=\"/p/problems/host-taken\"",
        "href=\"#change_a\"",
        "id=\"change_a\"",
        "In <code>two</code> parts.",
        "3 of 3 operations",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
}

#[test]
fn the_page_says_whether_somebody_is_logged_in() {
    let person = Person { name: Some("me".to_owned()), log_out: None };
    let known = html(Some(person), None);
    assert!(known.contains("You are logged in") && !known.contains("log in</a>"), "{known}");
    let unknown = html(None, Some("/p/login?return=%2Fdocs"));
    assert!(unknown.contains("<a href=\"/p/login?return=%2Fdocs\">log in</a>"), "{unknown}");
}

#[test]
fn backticks_mark_code() {
    let expected = [vec![(false, "a "), (true, "b"), (false, "")], vec![(false, "c")]];
    assert_eq!(paragraphs("a `b`\n\n\n\nc\n"), expected);
}

#[test]
fn the_reference_page_has_the_same() {
    let page = reference().to_markdown();
    for text in [
        "| [`PUT /a/{id}`](#put-aid) | Changes an a | a bearer token with the scopes A.Write and B, or the cookie of a login |",
        "\n### PUT /a/{id}\n\nChanges an a.\n",
        "| `id` | path | required, string, 1 to 9 characters | Which. |",
        "| `kept` | required, string (uri) or null | The `kept` one. |",
        "\n**200**: Done.\n",
        "Problems: 409 `other_thing`, 409 `host_taken`.",
        "\n**Deprecated.**\n",
        "[`GET /b`](#get-b) | Reads | no login |",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

/// What people are shown of each operation is there.
#[test]
fn every_operation_of_the_document_can_be_shown() {
    let reference = ApiReference::read(include_str!("../../../docs/openapi.json")).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for operation in reference.groups.iter().flat_map(|group| &group.operations) {
        let name = format!("{} {}", operation.method, operation.path);
        assert!(!operation.id.is_empty() && ids.insert(operation.id.clone()), "{name}: no id");
        assert!(!operation.purpose.is_empty(), "{name}: no purpose");
        assert!(!operation.answers.is_empty(), "{name}: no answer");
        // The rows of the allow list are described by the CF API, files and forms by the pages.
        let body = operation.body.as_ref().filter(|body| body.media_type.ends_with("json"));
        if operation.path.starts_with("/v3") || operation.path.starts_with("/assets/") {
            continue;
        }
        for parameter in operation.parameters.iter().filter(|it| it.place == "path") {
            assert!(parameter.example.is_some(), "{name}: no example for {parameter:?}");
        }
        assert!(body.is_none_or(|body| !body.examples.is_empty()), "{name}: no example");
    }
    assert!(ids.len() > 20, "{ids:?}");
}
