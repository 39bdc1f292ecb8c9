//! Responses of the CF API that are too large, or in a form, to be read whole: links, limits,
//! incomplete bodies.

use base64::Engine;
use cfapi_sandbox::Part;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    proxy::{Landscape, hrefs},
    support::{answer, client, process::Program, pull, sandbox, variables},
};

/// Largest response that is passed on.
const CAP: usize = 10 * 1024 * 1024;
const PATH: &str = "/v3/apps";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";

impl Landscape {
    /// Sets CF's next response to a request for [`PATH`].
    fn answers(&self, fault: &Value) {
        let mut fault = fault.clone();
        fault["part"] = json!("cf");
        fault["only"] = json!(PATH);
        fault["status"] = json!(200);
        pull(&self.sandbox, "fail_next", &fault);
    }

    fn answers_raw(&self, head: &str, body: &str) {
        self.answers(&json!({"raw": format!("{head}{body}")}));
    }

    /// Status, headers, body, and whether the body was complete.
    async fn read(&self) -> (u16, http::HeaderMap, Vec<u8>, bool) {
        let request = client().get(format!("{}{PATH}", self.broker.base)).bearer_auth(&self.token);
        let mut response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return (status, headers, body, true),
                Err(_) => return (status, headers, body, false),
            }
        }
    }
}

/// A page with two links in every resource; `note` names the API without being a link.
fn page(api: &str, resources: usize) -> Value {
    let one = |number: usize| {
        json!({
            "guid": format!("app-{number}"),
            "metadata": {"annotations": {"note": "\"href\":\"none\""}},
            "links": {
                "self": {"href": format!("{api}/v3/apps/app-{number}")},
                "space": {"href": format!("{api}/v3/spaces?guids=a\u{e4}&x={number}")},
                "none": {"href": null},
            },
        })
    };
    let resources: Vec<_> = (0..resources).map(one).collect();
    let next = format!("{api}/v3/apps?page=2");
    json!({"pagination": {"next": {"href": next}, "previous": null}, "resources": resources})
}

/// Chunks of 1 to 31 bytes in turn, so that links are cut at every position.
fn in_chunks(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let (mut out, mut rest, mut size) = (Vec::new(), bytes.as_slice(), 0);
    while !rest.is_empty() {
        size = size % 31 + 1;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        let piece: String = piece.iter().collect();
        out.push(format!("{:x}\r\n{piece}\r\n", piece.len()));
        rest = behind;
    }
    out.concat()
}

#[derive(Clone, Copy, Debug)]
enum BodyFraming {
    WithLength,
    InChunks,
    UntilClose,
}

#[rstest]
#[case::large_with_length(1000, BodyFraming::WithLength)]
#[case::large_in_chunks(1000, BodyFraming::InChunks)]
#[case::small_in_chunks(3, BodyFraming::InChunks)]
#[case::large_until_the_connection_ends(1000, BodyFraming::UntilClose)]
#[tokio::test]
async fn every_link_of_a_streamed_page_leads_to_the_broker(
    #[case] resources: usize,
    #[case] form: BodyFraming,
) {
    let cf = Landscape::start().await;
    let (api, own) = (cf.sandbox.cf_url(), cf.broker.base.clone());
    let text = page(&api, resources).to_string();
    match form {
        BodyFraming::WithLength => cf.answers(
            &json!({"body": text, "headers": {"Content-Type": "application/json; charset=utf-8"}}),
        ),
        BodyFraming::InChunks => cf.answers_raw(CHUNKED, &format!("{}0\r\n\r\n", in_chunks(&text))),
        BodyFraming::UntilClose => cf.answers_raw(UNTIL_CLOSE, &text),
    }
    assert!(resources < 1000 || text.len() > 64 * 1024);
    let got = cf.get(PATH).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert!(!got.text.contains(&api));
    assert_eq!(hrefs(&got.json()).len(), 2 * resources + 1);
    assert_eq!(got.json(), page(&own, resources));
    assert!(!got.headers.contains_key("content-length"), "the links change the length");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_streamed_byte_for_byte() {
    let cf = Landscape::start().await;
    let text = format!("{{\"href\":\"{}/v3\"}}\n", cf.sandbox.cf_url()).repeat(4000);
    cf.answers(&json!({"body": text, "headers": {"Content-Type": "text/plain"}}));
    let got = cf.get(PATH).await;
    assert_eq!((got.status, got.text == text), (200, true));
    assert_eq!(got.headers["content-length"], text.len().to_string());
    let head = CHUNKED.replace("application/json", "text/plain");
    cf.answers_raw(&head, &format!("{}0\r\nX-Evil: 1\r\n\r\n", in_chunks(&text)));
    let got = cf.get(PATH).await;
    assert_eq!((got.status, got.text == text), (200, true));
}

#[rstest]
#[case::chunks_without_an_end(CHUNKED, "", false)]
#[case::a_chunk_that_is_none(CHUNKED, "zz\r\n", false)]
#[case::a_length_that_does_not_come(
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n",
    "",
    false
)]
#[case::a_reset(UNTIL_CLOSE, "", true)]
#[tokio::test]
async fn a_body_that_breaks_off_ends_in_an_error_for_the_caller_too(
    #[case] head: &str,
    #[case] end: &str,
    #[case] reset: bool,
) {
    let cf = Landscape::start().await;
    let text = page(&cf.sandbox.cf_url(), 100).to_string();
    let body = if head == CHUNKED { in_chunks(&text) } else { text };
    cf.answers(&json!({"raw": format!("{head}{body}{end}"), "reset": reset}));
    let (status, _, body, whole) = cf.read().await;
    // The reset may overtake the head: then there is no response to pass on.
    assert!(status == 200 && !whole || reset && status == 503, "{status} {whole}");
    assert!(!String::from_utf8_lossy(&body).contains(&cf.sandbox.cf_url()));
    assert_eq!(cf.get(PATH).await.status, 200, "the next one is served");
}

#[rstest]
#[case::a_chunk_that_is_none(CHUNKED, "zz\r\n", false)]
#[case::no_chunk(CHUNKED, "", false)]
#[case::half_a_chunk_size(CHUNKED, "5", false)]
#[case::a_reset(CHUNKED, "", true)]
#[case::a_reset_without_a_length(UNTIL_CLOSE, "", true)]
#[case::a_text(
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
    "zz\r\n",
    false
)]
#[case::nothing_of_a_large_length(
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n",
    "",
    false
)]
#[tokio::test]
async fn a_body_that_is_broken_from_its_beginning_is_a_problem(
    #[case] head: &str,
    #[case] body: &str,
    #[case] reset: bool,
) {
    let cf = Landscape::start().await;
    cf.answers(&json!({"raw": format!("{head}{body}"), "reset": reset}));
    let got = cf.get(PATH).await;
    let code = got.code();
    // A reset may overtake the head.
    let expected = (got.status, code.as_str()) == (502, "cf_error");
    assert!(expected || reset && got.status == 503, "{}", got.text);
    assert_eq!(cf.get(PATH).await.status, 200, "the next one is served");
}

#[tokio::test]
async fn a_small_answer_that_breaks_off_is_a_problem_and_no_half_document() {
    let cf = Landscape::start().await;
    pull(&cf.sandbox, "truncate", &json!({"part": "cf", "after": 20, "only": PATH}));
    let got = cf.get(PATH).await;
    assert_eq!((got.status, got.code().as_str()), (502, "cf_error"), "{}", got.text);
}

#[tokio::test]
async fn an_answer_that_announces_more_than_ten_mebibytes_is_502_before_its_first_byte() {
    let cf = Landscape::start().await;
    let headers = json!({"Content-Type": "application/json"});
    cf.answers(&json!({"body_size": CAP + 1, "headers": headers}));
    let got = cf.get(PATH).await;
    assert_eq!((got.status, got.code().as_str()), (502, "cf_error"), "{}", got.text.len());
    cf.answers(&json!({"body_size": CAP, "headers": headers}));
    let (status, _, body, whole) = cf.read().await;
    assert_eq!((status, body.len(), whole), (200, CAP, true));
}

#[rstest]
#[case::json("application/json")]
#[case::text("text/plain")]
#[tokio::test]
async fn an_answer_that_grows_beyond_ten_mebibytes_is_aborted_there(#[case] kind: &str) {
    let cf = Landscape::start().await;
    let head = UNTIL_CLOSE.replace("application/json", kind);
    cf.answers_raw(&head, &"x".repeat(CAP + 1));
    let (status, headers, body, whole) = cf.read().await;
    assert_eq!((status, whole), (200, false));
    assert!(body.len() <= CAP && body.len() > CAP / 2, "{}", body.len());
    assert!(!headers.contains_key("content-length"));
    cf.answers_raw(&head, &"x".repeat(CAP));
    let (status, _, body, whole) = cf.read().await;
    assert_eq!((status, body.len(), whole), (200, CAP, true));
    assert_eq!(cf.get(PATH).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_call_and_releases_its_permits() {
    let cf = Landscape::start().await;
    // So slow that it would run far longer than the test.
    pull(
        &cf.sandbox,
        "drip",
        &json!({"part": "cf", "n": 20, "chunk": 1, "ms": 1000, "only": PATH}),
    );
    for _ in 0..20 {
        let request = client().get(format!("{}{PATH}", cf.broker.base)).bearer_auth(&cf.token);
        let hasty = request.timeout(std::time::Duration::from_millis(100));
        assert!(hasty.send().await.is_err());
    }
    assert_eq!(cf.get(PATH).await.status, 200, "sixteen permits are enough for one call");
    assert!(cf.sandbox.journal().iter().filter(|entry| entry.part == Part::Cf).count() > 16);
}

/// A gzip member of zeros: matches of 258 bytes in 13 bits each, with fixed codes (RFC 1951,
/// 3.2.6).
fn member(bytes: usize) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    // One last block with fixed codes; the byte 0; then length 258 at distance 1, again and again.
    let begin = [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    let again = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    let bits: Vec<u8> =
        begin.into_iter().chain(again.into_iter().cycle()).take(bytes * 8).collect();
    out.extend(
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0_u8, |sum, (place, bit)| sum | bit << place)),
    );
    out
}

/// Peak memory of a process, in KiB.
fn peak(program: &Program) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_gzip_bomb_is_502_and_takes_no_memory() {
    let sandbox = sandbox().await;
    let mut program = Program::start(&[], &variables(&sandbox));
    let base = program.base().await;
    let token = sandbox.caller_token("sb-bookshop!t4711", &["Api.Proxy"]);
    let get = || answer(client().get(format!("{base}{PATH}")).bearer_auth(&token));
    assert_eq!(get().await.status, 200);
    // Just below the cap, so it is not refused for its size. Unpacked it would be 1.6 GB.
    let bomb = member(64 * 1024).repeat(CAP / (64 * 1024) - 1);
    let bomb = base64::engine::general_purpose::STANDARD.encode(&bomb);
    let before = peak(&program);
    let headers = json!({"Content-Type": "application/json", "Content-Encoding": "gzip"});
    let mut fault = json!({"part": "cf", "n": 4, "only": PATH, "status": 200, "headers": headers});
    fault["body_base64"] = json!(bomb);
    pull(&sandbox, "fail_next", &fault);
    for _ in 0..4 {
        let got = get().await;
        assert_eq!((got.status, got.code().as_str()), (502, "cf_error"), "{}", got.text.len());
    }
    let grown = peak(&program).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    assert_eq!(get().await.status, 200);
    assert_eq!(program.terminate().await.code, Some(0));
}
