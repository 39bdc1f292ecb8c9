use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::IntoResponse,
    routing::any,
};
use http::{Method, Uri};
use hyper::body::Frame;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, advance, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{BodyLength, GuardedStream, HeaderBudget};
use crate::{
    http::CutTarget,
    server::connection::{ConnectionLimits, serve},
};

const GET: &str = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
const LIMITS: ConnectionLimits = ConnectionLimits {
    idle: Duration::from_secs(100),
    head: Duration::from_secs(10),
    write: Duration::from_secs(15),
    request: Duration::from_secs(55),
    drain: 64 * 1024,
};

/// A client at one end of a connection that is served at the other.
struct Client {
    stream: DuplexStream,
    stop: CancellationToken,
    /// Whether the endless body was dropped.
    dropped: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

async fn echo(request: Request) -> impl IntoResponse {
    let cut = request.extensions().get::<CutTarget>().is_some();
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let body = body.unwrap_or_else(|_| Bytes::from_static(b"broken"));
    format!("[{path} {} {cut}]", String::from_utf8_lossy(&body))
}

/// Size of a response that hyper holds whole while the client reads it slowly.
const MUCH: usize = 256 * 1024;

/// Reads no body and answers late.
async fn slow() -> &'static str {
    sleep(Duration::from_secs(30)).await;
    "[slow]"
}

/// Answers at once and reads the body later.
async fn keep(request: Request) -> &'static str {
    #[expect(clippy::disallowed_methods, reason = "outlives its answer on purpose")]
    tokio::spawn(axum::body::to_bytes(request.into_body(), 1 << 20));
    "[keep]"
}

/// More than any buffer between hyper and the client holds; notes when it is dropped.
async fn large(State(dropped): State<Arc<AtomicBool>>) -> axum::body::Body {
    struct Large(Arc<AtomicBool>);
    impl Drop for Large {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    impl hyper::body::Body for Large {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8192])))))
        }
    }
    axum::body::Body::new(Large(dropped))
}

/// A body of one piece and an error right behind it.
async fn broken() -> axum::body::Body {
    struct Broken(Option<Bytes>);
    impl hyper::body::Body for Broken {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let piece = self.0.take().map(Frame::data);
            Poll::Ready(Some(piece.ok_or_else(|| io::ErrorKind::ConnectionReset.into())))
        }
    }
    axum::body::Body::new(Broken(Some(Bytes::from_static(b"[piece]"))))
}

fn connect() -> Client {
    connect_in(&HeaderBudget::default())
}

fn connect_in(budget: &HeaderBudget) -> Client {
    connect_within(LIMITS, budget)
}

fn connect_within(limits: ConnectionLimits, budget: &HeaderBudget) -> Client {
    let (stream, server) = duplex(64 * 1024);
    let (stop, dropped) = (CancellationToken::new(), Arc::default());
    let router = Router::new()
        .route("/slow", any(slow))
        .route("/keep", any(keep))
        .route("/deaf", any("[deaf]"))
        .route("/broken", any(broken))
        .route("/much", any("x".repeat(MUCH)))
        .route("/large", any(large).with_state(Arc::clone(&dropped)))
        .fallback(any(echo));
    #[expect(clippy::disallowed_methods, reason = "the server's end of a test's connection")]
    let serving = tokio::spawn(serve(server, router, limits, budget.clone(), stop.clone()));
    Client { stream, stop, dropped, serving }
}

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until `count` answers of `echo` were received.
    async fn answers(&mut self, count: usize) -> String {
        let mut text = String::new();
        while text.matches(']').count() < count {
            let mut piece = [0; 1024];
            let length = self.stream.read(&mut piece).await.unwrap();
            assert_ne!(length, 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        text
    }

    /// Reads until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off_at_its_limit() {
    let mut client = connect();
    sleep(Duration::from_secs(50)).await;
    let began = Instant::now();
    let mut written = Ok(());
    for byte in GET.bytes().cycle().take(200) {
        written = client.stream.write_all(&[byte | 0x40]).await;
        if written.is_err() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_stops_is_cut_off_at_its_limit_without_another_byte() {
    let mut client = connect();
    client.send("GET / HT").await;
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_served() {
    let mut client = connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await;
    for _ in 0..10 {
        sleep(Duration::from_secs(5)).await;
        client.send("x").await;
    }
    assert!(client.answers(1).await.contains("[/echo xxxxxxxxxx false]"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_waited_for() {
    let mut client = connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.answers(1).await.ends_with("[slow]"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_idle_for_95_seconds_is_still_usable() {
    let mut client = connect();
    for _ in 0..3 {
        client.send(GET).await;
        client.answers(1).await;
        advance(Duration::from_secs(95)).await;
    }
    client.send(GET).await;
    assert!(client.answers(1).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_at_its_limit() {
    let mut client = connect();
    client.send(GET).await;
    client.answers(1).await;
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(began.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_asks_is_closed_at_its_limit() {
    let mut client = connect();
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_close(began.elapsed(), LIMITS.idle);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_kept_and_closed_when_it_has_been_idle_for_the_whole_limit() {
    let mut client = connect();
    for pause in [10, 99, 1, 50, 73, 99, 30] {
        sleep(Duration::from_secs(pause)).await;
        client.send(GET).await;
        client.answers(1).await;
    }
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_close(began.elapsed(), LIMITS.idle);
}

#[tokio::test(start_paused = true)]
async fn idle_time_begins_with_the_end_of_the_answer() {
    let mut client = connect();
    sleep(Duration::from_secs(80)).await;
    // Begun before the limit and answered after it, with a chunked body.
    client
        .send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    client.answers(1).await;
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_close(began.elapsed(), LIMITS.idle);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_slowly_is_not_idle_time() {
    let limits = ConnectionLimits { request: Duration::from_secs(600), ..LIMITS };
    let mut client = connect_within(limits, &HeaderBudget::default());
    client.send("GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut taken, mut piece) = (0, [0; 8 * 1024]);
    while taken < MUCH {
        sleep(Duration::from_secs(10)).await;
        let length = client.stream.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "cut off after {taken}");
        taken += length;
    }
    client.rest().await;
    client.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_at_the_last_moment_has_its_full_time() {
    let mut client = connect();
    let (first, second) = GET.split_at(9);
    sleep(Duration::from_secs(99)).await;
    client.send(first).await;
    sleep(Duration::from_secs(9)).await;
    client.send(second).await;
    assert!(client.answers(1).await.starts_with("HTTP/1.1 200"));
}

/// The timer's own resolution is a millisecond.
fn assert_close(took: Duration, expected: Duration) {
    assert!((expected..expected + Duration::from_millis(3)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_time() {
    let mut client = connect();
    for _ in 0..4 {
        let (first, second) = GET.split_at(9);
        client.send(first).await;
        sleep(Duration::from_secs(6)).await;
        client.send(second).await;
        client.answers(1).await;
    }
    client.send("GET").await;
    let began = Instant::now();
    client.rest().await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn requests_sent_at_once_are_answered_in_turn() {
    let mut client = connect();
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz";
    client.send(&format!("GET /a HTTP/1.1\r\nHost: a\r\n\r\n{post}{GET}{GET}")).await;
    let all = client.answers(4).await;
    let order: Vec<_> = all.split('[').skip(1).filter_map(|text| text.split(']').next()).collect();
    assert_eq!(order, ["/a  false", "/b xyz false", "/echo  false", "/echo  false"]);
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_head_waits_without_a_head_timer() {
    let mut client = connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /ec").await;
    assert!(client.answers(1).await.ends_with("[slow]"));
    client.send("ho HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.answers(1).await.ends_with("[/echo  false]"));
}

#[tokio::test(start_paused = true)]
async fn a_fragment_is_noticed_although_the_parser_cuts_it() {
    for target in ["/v3/apps#x", "/#", "/a?b=c#d", "/a?#"] {
        let mut client = connect();
        client.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(client.answers(1).await.contains(" true]"), "{target}");
    }
    for target in ["/", "/v3/apps", "/a?b=c", "/a?", "/é"] {
        let mut client = connect();
        client.send(&format!("\r\nGET {target} HTTP/1.1\nHost: a\n\n")).await;
        assert!(client.answers(1).await.contains(" false]"), "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_target_is_left_to_request_validation() {
    let mut client = connect();
    let long = "a".repeat(9000);
    client.send(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(client.answers(1).await.contains(" false]"));
    client.send(&format!("GET /a#{long} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(client.answers(1).await.contains(" true]"));
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_a_chunked_body_is_marked_as_cut() {
    let mut client = connect();
    let post =
        "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    client.send(&format!("{post}{GET}")).await;
    let all = client.answers(2).await;
    assert!(all.contains("[/b x false]") && all.contains("[/echo  true]"), "{all}");
    client.send(GET).await;
    assert!(client.answers(1).await.contains("[/echo  false]"));
}

#[tokio::test(start_paused = true)]
async fn an_early_response_keeps_the_next_head_intact() {
    let mut client = connect();
    let post = "POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(&format!("{post}{GET}")).await;
    let all = client.answers(2).await;
    assert!(all.ends_with("[/echo  false]"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_body_after_its_response_keeps_the_next_head_intact() {
    let mut client = connect();
    client.send("POST /keep HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    client.answers(1).await;
    client.send(&format!("llo{GET}")).await;
    assert!(client.answers(1).await.ends_with("[/echo  false]"));
}

const EARLY: &str = "POST /deaf HTTP/1.1\r\nHost: a\r\n";

#[rstest]
#[case::at_once(0)]
#[case::half_a_millisecond(500)]
#[case::two_milliseconds(2_000)]
#[case::ten_milliseconds(10_000)]
#[case::nearly_a_second(990_000)]
#[tokio::test(start_paused = true)]
async fn after_an_early_response_the_connection_serves_the_next_request(
    #[case] microseconds: u64,
    #[values(
        "Content-Length: 5\r\n\r\n|hello",
        "Transfer-Encoding: chunked\r\n\r\n|5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhel|lo\r\n0\r\nA: b\r\n\r\n"
    )]
    message: &str,
) {
    let mut client = connect();
    let (head, body) = message.split_once('|').unwrap();
    client.send(&format!("{EARLY}{head}")).await;
    sleep(Duration::from_micros(microseconds)).await;
    client.send(body).await;
    let first = client.answers(1).await;
    assert!(first.ends_with("[deaf]") && !first.contains("connection"), "{first}");
    client.send(GET).await;
    assert!(client.answers(1).await.ends_with("[/echo  false]"));
}

#[rstest]
#[case::silent("Content-Length: 5\r\n\r\n", 1000)]
#[case::half("Content-Length: 5\r\n\r\nhe", 1000)]
#[case::chunks_without_an_end("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 1000)]
#[case::long("Content-Length: 65537\r\n\r\n", 0)]
#[case::longest("Content-Length: 18446744073709551613\r\n\r\n", 0)]
#[case::broken("Transfer-Encoding: chunked\r\n\r\nno number\r\n", 0)]
#[case::announced("Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 0)]
#[case::last("Connection: close\r\nContent-Length: 5\r\n\r\n", 0)]
#[tokio::test(start_paused = true)]
async fn an_early_response_says_that_the_connection_closes(
    #[case] message: &str,
    #[case] milliseconds: u128,
) {
    let mut client = connect();
    client.send(&format!("{EARLY}{message}")).await;
    let sent = Instant::now();
    let answer = client.answers(1).await;
    let took = sent.elapsed().as_millis();
    assert!((milliseconds..=milliseconds + 1).contains(&took), "{took}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    // What still comes is taken in: a reset could destroy the response.
    client.send(&"x".repeat(100_000)).await;
    assert_eq!(client.rest().await, "");
    assert!(sent.elapsed() <= Duration::from_millis(2_002));
}

#[tokio::test(start_paused = true)]
async fn a_long_body_in_chunks_is_not_received_to_its_end() {
    let mut client = connect();
    client.send(&format!("{EARLY}Transfer-Encoding: chunked\r\n\r\n")).await;
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..4 {
        client.send(&chunk).await;
    }
    assert!(client.rest().await.contains("connection: close"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_told_to_continue_may_send_another_request() {
    let mut client = connect();
    let post =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(post).await;
    sleep(Duration::from_millis(1)).await;
    client.send(&format!("hello{GET}")).await;
    let all = client.answers(2).await;
    assert!(all.starts_with("HTTP/1.1 100 Continue"), "{all}");
    assert!(all.ends_with("[/echo  false]") && !all.contains("close"), "{all}");
}

#[rstest]
#[case::bare("")]
#[case::keep_alive("Connection: keep-alive\r\n")]
#[tokio::test(start_paused = true)]
async fn a_response_to_http_1_0_closes_the_connection(#[case] header: &str) {
    let mut client = connect();
    client.send(&format!("GET /echo HTTP/1.0\r\n{header}\r\n")).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("[/echo  false]") && !answer.contains("keep-alive"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_broken_body_is_sent() {
    let mut client = connect();
    client.send("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert!(answer.ends_with("[piece]\r\n"), "without the last chunk: {answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_held_back_read_continues_when_the_response_is_sent() {
    let (mut client, server) = duplex(1024);
    let (mut guarded, state) = GuardedStream::new(server, LIMITS, HeaderBudget::default());
    client.write_all(format!("{GET}{GET}").as_bytes()).await.unwrap();
    let mut piece = [0; 1024];
    assert_eq!(guarded.read(&mut piece).await.unwrap(), GET.len());
    state.request_started(&Method::GET, &Uri::from_static("/echo"), BodyLength::Exactly(0));
    #[expect(clippy::disallowed_methods, reason = "a task of its own is woken by nothing else")]
    let reading = tokio::spawn(async move { guarded.read(&mut piece).await });
    sleep(Duration::from_secs(1)).await;
    assert!(!reading.is_finished());
    state.response_sent();
    let length = timeout(Duration::from_secs(1), reading).await.expect("not woken").unwrap();
    assert_eq!(length.unwrap(), GET.len());
}

#[tokio::test(start_paused = true)]
async fn an_early_response_reaches_a_client_that_is_still_sending() {
    let mut client = connect();
    client.send("POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").await;
    sleep(Duration::from_millis(10)).await;
    // Far more than the pipe holds: if it is not read, this hangs.
    client.send(&"x".repeat(800_000)).await;
    assert!(client.rest().await.ends_with("[deaf]"));
}

#[tokio::test(start_paused = true)]
async fn the_preface_of_http2_is_not_answered() {
    let mut client = connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_idle_and_half_open_connections_at_once() {
    for begun in ["", "GET / HT", &format!("{GET}GET / HT")] {
        let mut client = connect();
        client.send(begun).await;
        sleep(Duration::from_millis(10)).await;
        let began = Instant::now();
        client.stop.cancel();
        client.serving.await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(10), "{begun}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_at_the_stop_is_answered_and_closes_its_connection() {
    let mut client = connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    client.stop.cancel();
    let answer = client.rest().await;
    assert!(answer.ends_with("[slow]"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    client.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_ends_its_work() {
    let Client { mut stream, stop: _stop, serving, .. } = connect();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    drop(stream);
    serving.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 0);
}

const LARGE: &str = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_read_is_dropped() {
    let mut client = connect();
    client.send(LARGE).await;
    let began = Instant::now();
    timeout(Duration::from_secs(60), client.serving).await.expect("held for ever").unwrap();
    assert_eq!(began.elapsed().as_secs(), LIMITS.write.as_secs());
    assert!(client.dropped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_byte_by_byte_ends_at_the_request_deadline() {
    let mut client = connect();
    client.send(LARGE).await;
    let began = Instant::now();
    let mut piece = [0; 1];
    while !client.dropped.load(Ordering::Relaxed) {
        assert!(began.elapsed() < Duration::from_secs(300), "held for ever");
        client.stream.read_exact(&mut piece).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let took = began.elapsed().as_secs();
    assert!((LIMITS.request.as_secs()..=LIMITS.request.as_secs() + 1).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_slowly_but_in_time_is_complete() {
    let mut client = connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
    client.send(&"x".repeat(200_000)).await;
    sleep(LIMITS.write.saturating_sub(Duration::from_secs(1))).await;
    let mut taken = 0;
    while taken < 120_000 {
        let mut piece = [0; 16 * 1024];
        taken += client.stream.read(&mut piece).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert!(client.answers(1).await.ends_with("false]"));
}

#[tokio::test(start_paused = true)]
async fn large_incomplete_heads_share_a_bounded_budget() {
    let budget = HeaderBudget::default();
    let begun = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(60 * 1024));
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = connect_in(&budget);
        client.send(&begun).await;
        clients.push(client);
    }
    sleep(Duration::from_secs(1)).await;
    let closed = clients.iter().filter(|client| client.serving.is_finished()).count();
    assert!((20..100).contains(&closed), "{closed}");
    // Clients with an ordinary head are still served.
    let mut client = connect_in(&budget);
    client.send(GET).await;
    client.answers(1).await;
    drop(clients);
    sleep(Duration::from_secs(1)).await;
    let mut client = connect_in(&budget);
    client.send(&format!("{begun}\r\nHost: a\r\n\r\n")).await;
    client.answers(1).await;
}
