//! CF's special responses on `/v3`: what passes, what becomes a problem, what is repeated
//! (`docs/reference/proxy-rules.md`).

use cfapi_sandbox::{JournalEntry, Part};
use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    proxy::Landscape,
    support::{Answer, pull},
    wire::HeaderLines,
};

const HOST: &str = "acme-saas-approuter";
const EXPIRED: &str =
    r#"{"errors":[{"code":1000,"title":"CF-InvalidAuthToken","detail":"Invalid Auth Token"}]}"#;
const NO_HEADER: &str =
    r#"{"errors":[{"code":10002,"title":"CF-NotAuthenticated","detail":"Authentication error"}]}"#;
const LIMIT: &str =
    r#"{"errors":[{"code":10013,"title":"CF-RateLimitExceeded","detail":"Rate Limit Exceeded"}]}"#;

/// One call to `/v3` that can be repeated.
struct ProxyRequest {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl ProxyRequest {
    async fn new(cf: &Landscape, method: Method) -> Self {
        let body = cf.route_body(HOST).await;
        let ask = |path: String, body| Self { method: method.clone(), path, body };
        if method == Method::POST {
            return ask("/v3/routes".to_owned(), Some(body));
        }
        if method == Method::DELETE {
            let made = cf.post("/v3/routes", &body).await.json();
            return ask(format!("/v3/routes/{}", made["guid"].as_str().unwrap()), None);
        }
        ask("/v3/apps".to_owned(), None)
    }

    async fn send(&self, cf: &Landscape) -> Answer {
        let method = self.method.clone();
        cf.broker.send(method, &self.path, Some(&cf.token), self.body.as_ref()).await
    }

    /// Sets CF's next responses to exactly this call.
    fn fail(&self, cf: &Landscape, n: usize, fault: &Value) {
        let mut fault = fault.clone();
        fault["part"] = json!("cf");
        fault["n"] = json!(n);
        fault["only"] = json!(format!("{} {}", self.method, self.path));
        pull(&cf.sandbox, "fail_next", &fault);
    }

    /// The journal entries of this call.
    fn seen(&self, cf: &Landscape) -> Vec<JournalEntry> {
        let journal = cf.sandbox.journal().into_iter();
        let own = |entry: &JournalEntry| {
            entry.part == Part::Cf
                && self.method == entry.method.as_str()
                && entry.path == self.path
        };
        journal.filter(own).collect()
    }
}

fn grants(cf: &Landscape) -> usize {
    cf.sandbox.refresh_grants() + cf.sandbox.password_grants()
}

#[rstest]
#[tokio::test]
async fn a_401_costs_one_renewal_and_the_same_call_once_more(
    #[values((Method::GET, 200), (Method::HEAD, 200), (Method::POST, 201), (Method::DELETE, 202))]
    call: (Method, u16),
) {
    let cf = Landscape::start().await;
    let ask = ProxyRequest::new(&cf, call.0).await;
    cf.sandbox.clear_journal();
    ask.fail(&cf, 1, &json!({"status": 401, "body": EXPIRED}));
    let got = ask.send(&cf).await;
    assert_eq!(got.status, call.1, "{}", got.text);
    let seen = ask.seen(&cf);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(seen[0].body.is_empty(), ask.body.is_none());
    assert_ne!(seen[0].authorization, seen[1].authorization, "with the new token");
    assert_eq!(grants(&cf), 1);
}

#[rstest]
#[tokio::test]
async fn a_second_401_is_502_and_ends_renewing_for_a_while(
    #[values(Method::GET, Method::POST, Method::DELETE)] method: Method,
) {
    let cf = Landscape::start().await;
    let ask = ProxyRequest::new(&cf, method).await;
    cf.sandbox.clear_journal();
    ask.fail(
        &cf,
        3,
        &json!({"status": 401, "body": EXPIRED, "headers": {"WWW-Authenticate": "Bearer"}}),
    );
    for calls in [2, 3] {
        let got = ask.send(&cf).await;
        assert_eq!(
            (got.status, got.code().as_str()),
            (502, "upstream_auth_failed"),
            "{}",
            got.text
        );
        assert!(!got.headers.contains_key("www-authenticate"));
        assert_eq!((ask.seen(&cf).len(), grants(&cf)), (calls, 1));
    }
    assert!(ask.send(&cf).await.status < 300);
}

#[rstest]
#[tokio::test]
async fn a_401_about_our_own_header_renews_nothing(
    #[values(Method::GET, Method::POST)] method: Method,
) {
    let cf = Landscape::start().await;
    let ask = ProxyRequest::new(&cf, method).await;
    cf.sandbox.clear_journal();
    ask.fail(&cf, 1, &json!({"status": 401, "body": NO_HEADER}));
    let got = ask.send(&cf).await;
    assert_eq!((got.status, got.code().as_str()), (502, "upstream_auth_failed"), "{}", got.text);
    assert_eq!((ask.seen(&cf).len(), grants(&cf)), (1, 0));
}

#[rstest]
#[tokio::test]
async fn a_429_of_cf_passes_as_it_is_and_the_next_call_is_not_sent(
    #[values(Method::GET, Method::POST, Method::DELETE)] method: Method,
) {
    let cf = Landscape::start().await;
    let ask = ProxyRequest::new(&cf, method).await;
    cf.sandbox.clear_journal();
    let headers = json!({"Content-Type": "text/plain", "Retry-After": "37", "X-RateLimit-Limit": "20000",
        "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1764370000"});
    ask.fail(&cf, 1, &json!({"status": 429, "body": LIMIT, "headers": headers}));
    let got = ask.send(&cf).await;
    assert_eq!((got.status, got.text.as_str()), (429, LIMIT));
    for (name, value) in headers.as_object().unwrap() {
        assert_eq!(got.headers[name.as_str()], value.as_str().unwrap(), "{name}");
    }
    let sent = cf.calls();
    let next = ask.send(&cf).await;
    assert_eq!((next.status, next.code().as_str()), (503, "cf_rate_limited"), "{}", next.text);
    let wait: u32 = next.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((30..=37).contains(&wait), "{wait}");
    assert_eq!(cf.calls(), sent);
}

#[rstest]
#[case::limit_of_nginx(429, "cf_rate_limited", 1)]
#[case::bad_gateway(502, "cf_unavailable", 3)]
#[case::gateway_timeout(504, "cf_unavailable", 3)]
#[tokio::test]
async fn a_page_of_html_is_not_passed_on(
    #[case] status: u16,
    #[case] code: &str,
    #[case] reads: usize,
    #[values(Method::GET, Method::POST)] method: Method,
) {
    let cf = Landscape::start().await;
    let tries = if method == Method::GET { reads } else { 1 };
    let ask = ProxyRequest::new(&cf, method).await;
    cf.sandbox.clear_journal();
    let html = json!({"status": status, "body": "<html>nginx</html>", "headers": {"Content-Type": "text/html"}});
    ask.fail(&cf, 3, &html);
    let got = ask.send(&cf).await;
    assert_eq!((got.status, got.code().as_str()), (503, code), "{}", got.text);
    assert!(got.headers.contains_key("retry-after") && !got.text.contains("nginx"));
    assert_eq!(ask.seen(&cf).len(), tries);
}

#[rstest]
#[tokio::test]
async fn an_empty_refusal_passes_as_it_is(
    #[values(400, 500)] status: u16,
    #[values(Method::GET, Method::POST, Method::DELETE)] method: Method,
) {
    let cf = Landscape::start().await;
    let ask = ProxyRequest::new(&cf, method).await;
    ask.fail(&cf, 3, &json!({"status": status}));
    let got = ask.send(&cf).await;
    assert_eq!((got.status, got.text.as_str()), (status, ""));
    assert!(!got.headers.contains_key("content-type"));
    assert_eq!(got.headers["proxy-status"], format!("cfapi-broker; received-status={status}"));
}

#[rstest]
#[case::hangs("hang")]
#[case::does_it_and_hangs("commit_then_hang")]
#[tokio::test]
async fn a_write_that_is_not_answered_is_504_and_sent_once(#[case] lever: &str) {
    let cf = Landscape::with(&[("CFAPI_SERVER__REQUEST_TIMEOUT", "5s")]).await;
    let ask = ProxyRequest::new(&cf, Method::POST).await;
    cf.sandbox.clear_journal();
    pull(&cf.sandbox, lever, &json!({"part": "cf", "only": "POST /v3/routes"}));
    let got = ask.send(&cf).await;
    assert_eq!((got.status, got.code().as_str()), (504, "cf_timeout"), "{}", got.text);
    assert_eq!(ask.seen(&cf).len(), 1);
}

#[rstest]
#[case::answered_by_cf(None)]
#[case::with_a_body(Some(
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
))]
#[case::chunks(Some(
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
))]
#[tokio::test]
async fn the_response_to_head_never_has_a_body(#[case] raw: Option<&str>) {
    let cf = Landscape::start().await;
    if let Some(raw) = raw {
        pull(&cf.sandbox, "fail_next", &json!({"part": "cf", "only": "HEAD /v3/apps", "raw": raw}));
    }
    let bytes = cf.bytes(b"HEAD /v3/apps HTTP/1.1", HeaderLines::All, "");
    let mut stream = cf.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
    let mut got = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut got).await.unwrap();
    let text = String::from_utf8(got).unwrap().to_lowercase();
    assert!(text.starts_with("http/1.1 200 ") && text.ends_with("\r\n\r\n"), "{text}");
    assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
    // Its length would be that of the response to GET (RFC 9110, 8.6), which is not known.
    assert!(!text.contains("content-length: 0"), "{text}");
    assert_eq!(cf.calls().iter().filter(|call| *call == "HEAD /v3/apps").count(), 1);
}
