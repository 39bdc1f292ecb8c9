//! Responses of a broken or hostile CF API: the caller gets a problem or a cleaned response, and
//! the next request is served.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    proxy::Landscape,
    support::{Answer, pull},
};

const APPS: &str = "/v3/apps";
const JSON: &str = "Content-Type: application/json\r\nContent-Length: 2\r\n";

impl Landscape {
    /// The broker's response to a request for [`APPS`] that CF answers with these bytes, and how
    /// often CF was asked.
    async fn answered_by(&self, raw: &str) -> (Answer, usize) {
        self.get("/v3").await;
        pull(&self.sandbox, "fail_next", &json!({"part": "cf", "n": 3, "only": APPS, "raw": raw}));
        let got = self.get(APPS).await;
        let asked = self.calls().iter().filter(|call| *call == "GET /v3/apps").count();
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        let next = self.get(APPS).await;
        assert_eq!(next.status, 200, "the next one is served: {}", next.text);
        assert!(next.json()["resources"].is_array());
        (got, asked)
    }
}

#[rstest]
#[case::continue_(
    "HTTP/1.1 100 Continue\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\r\nJSON\r\n{}",
    200,
    "{}"
)]
#[case::early_hints(
    "HTTP/1.1 103 Early Hints\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\r\nJSON\r\n{}",
    200,
    "{}"
)]
#[case::body_of_204("HTTP/1.1 204 No Content\r\nJSON\r\n{}", 204, "")]
#[case::chunks_of_204(
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    204,
    ""
)]
#[case::body_of_304("HTTP/1.1 304 Not Modified\r\nJSON\r\n{}", 304, "")]
#[case::same_length_twice("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nJSON\r\n{}", 200, "{}")]
#[case::length_beside_chunks(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nJSON\r\n3\r\n{ }\r\n0\r\n\r\n",
    200,
    "{ }"
)]
#[case::a_second_answer(
    "HTTP/1.1 200 OK\r\nJSON\r\n{}HTTP/1.1 200 OK\r\nX-Evil: 1\r\nJSON\r\n[]",
    200,
    "{}"
)]
#[case::older_version("HTTP/1.0 200 OK\r\nJSON\r\n{}", 200, "{}")]
#[case::hop_by_hop(
    "HTTP/1.1 200 OK\r\nConnection: ETag\r\nConnection: close, X-Evil\r\nETag: \"evil\"\r\nX-Evil: 1\r\nKeep-Alive: timeout=5\r\nJSON\r\n{}",
    200,
    "{}"
)]
#[tokio::test]
async fn an_odd_answer_is_cleaned(#[case] raw: &str, #[case] status: u16, #[case] body: &str) {
    let cf = Landscape::start().await;
    let (got, asked) = cf.answered_by(&raw.replace("JSON", JSON)).await;
    assert_eq!((got.status, got.text.as_str(), asked), (status, body, 1));
    let lines = format!("{:?}", got.headers).to_lowercase();
    for word in ["evil", "keep-alive", "transfer-encoding", "connection", "upgrade"] {
        assert!(!lines.contains(word), "{word}: {lines}");
    }
    if body.is_empty() {
        assert!(!got.headers.contains_key("content-length"), "{lines}");
    } else {
        assert_eq!(got.headers["content-length"], body.len().to_string());
    }
}

#[rstest]
#[case::upgrade(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil"
)]
#[case::bare_101("HTTP/1.1 101 Switching Protocols\r\n\r\n")]
#[case::packed_on_its_way("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nevil")]
#[case::packed_in_chunks(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"
)]
#[case::two_lengths("HTTP/1.1 200 OK\r\nJSONContent-Length: 3\r\n\r\n{} ")]
#[case::length_that_is_none("HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n{}")]
#[case::length_below_zero("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")]
#[case::length_beyond_all("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}")]
#[case::long_head("HTTP/1.1 200 OK\r\nX-Long: LONG\r\nJSON\r\n{}")]
#[case::many_headers("HTTP/1.1 200 OK\r\nMANYJSON\r\n{}")]
#[case::folded_line("HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nJSON\r\n{}")]
#[case::no_status("HTTP/1.1 0 OK\r\n\r\n")]
#[case::not_http("SSH-2.0-OpenSSH_9.6\r\n")]
#[tokio::test]
async fn a_response_that_cannot_be_cleaned_is_502_and_not_repeated(#[case] raw: &str) {
    let cf = Landscape::start().await;
    let raw = raw.replace("JSON", JSON).replace("MANY", &"X-A: 1\r\n".repeat(120));
    let raw = raw.replace("LONG", &"x".repeat(70 * 1024));
    let (got, asked) = cf.answered_by(&raw).await;
    assert_eq!((got.status, got.code().as_str(), asked), (502, "cf_error", 1), "{}", got.text);
    assert!(!got.text.contains("evil"));
    assert_eq!(got.json()["retryable"], false);
}

#[tokio::test]
async fn no_response_is_503_after_two_retries() {
    let cf = Landscape::start().await;
    let (got, asked) = cf.answered_by("").await;
    assert_eq!((got.status, got.code().as_str(), asked), (503, "cf_unavailable", 3));
    cf.sandbox.clear_journal();
    pull(&cf.sandbox, "cut", &json!({"part": "cf", "n": 3, "only": APPS}));
    let got = cf.get(APPS).await;
    assert_eq!((got.status, got.code().as_str()), (503, "cf_unavailable"));
    assert_eq!(cf.calls(), ["GET /v3/apps"; 3]);
    assert_eq!(cf.get(APPS).await.status, 200);
}

/// If the response to a write makes no sense, its outcome is not known: the caller learns that, and
/// the write is sent once.
#[rstest]
#[case::garbled("SSH-2.0-OpenSSH_9.6\r\n", 502, "cf_error")]
#[case::nothing("", 502, "cf_error")]
#[tokio::test]
async fn a_write_with_an_odd_answer_is_sent_once(
    #[case] raw: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let cf = Landscape::start().await;
    let body: Value = cf.route_body("acme-saas-approuter").await;
    let fault = json!({"part": "cf", "n": 3, "only": "POST /v3/routes", "raw": raw});
    pull(&cf.sandbox, "fail_next", &fault);
    let got = cf.post("/v3/routes", &body).await;
    assert_eq!((got.status, got.code().as_str()), (status, code), "{}", got.text);
    assert_eq!(cf.calls().iter().filter(|call| call.starts_with("POST")).count(), 1);
}
