//! The calls of `docs/how-to/provider-app.md`, as they stand there.

use http::Method;
use serde_json::Value;

use crate::support::{APP, Answer, TestBroker, parse, sandbox};

const PAGE: &str = include_str!("../../docs/how-to/provider-app.md");
/// The app of the page; a reader puts in the own one.
const APP_OF_THE_PAGE: &str = "my-approuter";

/// One call of a row: method, path, body, and the first status of the answer.
struct PageCall {
    method: Method,
    path: String,
    body: Option<Value>,
    status: u16,
}

/// The calls of the table, in its order. "Same body" is that of the call before.
fn calls() -> Vec<PageCall> {
    let mut calls: Vec<PageCall> = Vec::new();
    let rows = PAGE.lines().filter(|line| line.starts_with("| "));
    for row in rows {
        let columns: Vec<_> = row.split(" | ").collect();
        let [_, call, answer] = columns.as_slice() else { continue };
        let status = answer.split(|c: char| !c.is_ascii_digit()).find_map(|part| part.parse().ok());
        let code: Vec<_> = call.split('`').skip(1).step_by(2).collect();
        let body = code.iter().find(|text| text.starts_with('{')).map(|text| {
            let body = parse(&text.replace(APP_OF_THE_PAGE, APP));
            assert!(body.is_object(), "not JSON: {text}");
            body
        });
        let body =
            body.or_else(|| calls.last()?.body.clone().filter(|_| call.contains("same body")));
        let requests = code.iter().filter_map(|text| text.split_once(" /routes"));
        calls.extend(requests.filter_map(|(method, rest)| {
            let path = format!("/routes{}", rest.replace("{tenant}", "t1"));
            Some(PageCall {
                method: method.parse().ok()?,
                path,
                body: body.clone(),
                status: status?,
            })
        }));
    }
    calls
}

async fn send(broker: &TestBroker, token: &str, call: &PageCall) -> Answer {
    broker.send(call.method.clone(), &call.path, Some(token), call.body.as_ref()).await
}

#[tokio::test]
async fn each_call_of_the_page_gets_the_answer_of_the_page() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let token = sandbox.provider_token();
    let calls = calls();
    assert_eq!(calls.len(), 7);
    for call in &calls {
        let got = send(&broker, &token, call).await;
        assert_eq!(got.status, call.status, "{} {}: {}", call.method, call.path, got.text);
        for result in got.json()["results"].as_array().into_iter().flatten() {
            assert!(result["status"].as_u64().unwrap() < 300, "{}: {}", call.path, got.text);
        }
        if call.method == Method::DELETE {
            // The rows after it look at the tenant again.
            assert_eq!(send(&broker, &token, &calls[0]).await.status, 201);
        }
    }
}
