//! A response body that is passed on while it arrives.
//!
//! Invariant: it yields no byte beyond its cap or after its deadline. A body that was cut short
//! ends with an error, never like a complete one. Made by `IncomingResponse::into_body`. Callers:
//! `capi`, and `body` for whole responses.

use crate::upstream::{connection_pool::PooledBody, error::TransportError};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A response whose body is passed on while it arrives.
#[derive(Debug)]
pub struct StreamedResponse {
    /// Any status, 3xx included.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

/// A body on the wire: capped, with a deadline, without trailers. After an error it is finished.
///
/// Dropping it closes the connection or resets the stream.
pub struct ResponseBody {
    source: ClientBody,
    /// Bytes that may still come.
    left: usize,
    deadline: Instant,
    /// Made when the body must first be waited for. Most bodies arrive with their head.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether polling has begun. Bytes that arrived with the head need no look at the clock.
    is_begun: bool,
    is_done: bool,
}

/// The body type of the client library.
pub(super) enum ClientBody {
    /// reqwest's body.
    Reqwest(reqwest::Body),
    /// [`HyperClient`](super::hyper_client::HyperClient)'s body.
    Hyper(PooledBody),
}

impl ResponseBody {
    /// Limits a body in size and time.
    ///
    /// # Errors
    /// [`TransportError::TooLarge`] when it announces more than the cap.
    pub(super) fn bounded(
        source: ClientBody,
        cap: usize,
        deadline: Instant,
    ) -> Result<Self, TransportError> {
        let announced = usize::try_from(source.size_hint().lower());
        if announced.is_ok_and(|length| length <= cap) {
            let (alarm, is_begun, is_done) = (None, false, false);
            return Ok(Self { source, left: cap, deadline, alarm, is_begun, is_done });
        }
        Err(TransportError::TooLarge)
    }

    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, TransportError>>> {
        loop {
            // Checked before the source: a source that always has data would hide the deadline.
            if self.is_begun && Instant::now() >= self.deadline {
                return Poll::Ready(Some(Err(TransportError::Timeout { source: None })));
            }
            self.is_begun = true;
            let frame = match self.source.poll_frame(context) {
                Poll::Ready(Some(frame)) => frame?,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.alarm().poll(context));
                    continue;
                }
            };
            // Trailers are dropped (`docs/reference/proxy-rules.md`).
            if let Ok(data) = frame.into_data() {
                return Poll::Ready(Some(self.counted(data)));
            }
        }
    }

    fn alarm(&mut self) -> Pin<&mut Sleep> {
        let deadline = self.deadline;
        self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut()
    }

    fn counted(&mut self, data: Bytes) -> Result<Bytes, TransportError> {
        self.left = self.left.checked_sub(data.len()).ok_or(TransportError::TooLarge)?;
        Ok(data)
    }
}

impl ClientBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        match self {
            Self::Reqwest(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Hyper(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Reqwest(body) => body.is_end_stream(),
            Self::Hyper(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Reqwest(body) => body.size_hint(),
            Self::Hyper(body) => body.size_hint(),
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let data = ready!(self.poll_data(context));
        self.is_done = !matches!(data, Some(Ok(_)));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientBody, ResponseBody, StreamedResponse};
    use crate::upstream::{
        ClientFactory, Purpose, Settings, Timeouts, TransportError,
        raw_server::{RawServer, Reply},
    };
    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use hyper::body::{Body as HttpBody, Frame};
    use rstest::rstest;
    use std::{
        pin::Pin,
        task::{Context, Poll, ready},
        time::Duration,
    };
    use tokio::time::{Instant, Interval, interval, timeout};

    const CAP: usize = 1024;

    /// Far longer than loopback needs, also on a busy machine.
    const AMPLE: Duration = Duration::from_secs(20);

    async fn opened(
        method: &str,
        reply: Reply,
        total: Duration,
    ) -> Result<StreamedResponse, TransportError> {
        let wire = RawServer::answering([reply]).await;
        let timeouts = Timeouts { connect: AMPLE, head: AMPLE, total };
        let client = ClientFactory::new(&Settings::default())
            .unwrap()
            .client_with_timeouts(Purpose::CfApi, timeouts)
            .unwrap();
        let request =
            Request::builder().method(method).uri(wire.url("/x")).body(Bytes::new()).unwrap();
        client.send(request).await.unwrap().into_body(CAP)
    }

    fn bytes(head: &str, body: &[u8]) -> Reply {
        Reply::Bytes([format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat())
    }

    /// Reads up to the end or the error, and checks that nothing follows.
    async fn received(mut body: ResponseBody) -> (Vec<u8>, Option<TransportError>) {
        let mut received = Vec::new();
        let mut error = None;
        while let Some(frame) = timeout(AMPLE * 2, body.frame()).await.expect("it hangs") {
            match frame {
                Ok(frame) => {
                    let data = frame.into_data().unwrap();
                    assert!(!data.is_empty());
                    received.extend_from_slice(&data);
                }
                Err(fault) => assert!(error.replace(fault).is_none(), "two errors"),
            }
        }
        assert!(body.is_end_stream());
        (received, error)
    }

    #[tokio::test]
    async fn a_streamed_answer_has_status_headers_and_body() {
        let reply = Reply::with_headers("404 Not Found", "X-A: b\r\n", b"short");
        let streamed = opened("GET", reply, AMPLE).await.unwrap();
        assert_eq!(streamed.status, StatusCode::NOT_FOUND);
        assert_eq!(streamed.headers["x-a"], "b");
        assert_eq!(streamed.body.size_hint().exact(), Some(5));
        let (received, error) = received(streamed.body).await;
        assert_eq!((received.as_slice(), error.is_none()), (&b"short"[..], true));
    }

    #[rstest]
    #[case::one_more(Reply::with_headers("200 OK", "", &[b'x'; CAP + 1]))]
    #[case::announced_only(bytes("Content-Length: 10000000000\r\n", b""))]
    #[tokio::test]
    async fn a_body_that_announces_more_than_the_cap_is_not_begun(#[case] reply: Reply) {
        let opened = opened("GET", reply, AMPLE).await;
        assert!(matches!(opened, Err(TransportError::TooLarge)), "{opened:?}");
    }

    #[tokio::test]
    async fn a_length_without_a_body_is_no_announcement() {
        let reply = bytes("Content-Length: 10000000000\r\n", b"");
        let (received, error) = received(opened("HEAD", reply, AMPLE).await.unwrap().body).await;
        assert!(received.is_empty() && error.is_none(), "{error:?}");
    }

    #[rstest]
    #[case::until_the_end(bytes("", &[b'x'; CAP + 1]))]
    #[case::chunked(bytes("Transfer-Encoding: chunked\r\n", &chunked(CAP / 16 + 1)))]
    #[tokio::test]
    async fn a_body_that_grows_beyond_the_cap_ends_there_with_an_error(#[case] reply: Reply) {
        let (received, error) = received(opened("GET", reply, AMPLE).await.unwrap().body).await;
        assert!(matches!(error, Some(TransportError::TooLarge)), "{error:?}");
        assert!(received.len() <= CAP);
    }

    #[rstest]
    #[case::announced(Reply::with_headers("200 OK", "", &[b'x'; CAP]))]
    #[case::until_the_end(bytes("", &[b'x'; CAP]))]
    #[case::chunked(bytes("Transfer-Encoding: chunked\r\n", &chunked(CAP / 16)))]
    #[tokio::test]
    async fn a_body_of_exactly_the_cap_is_whole(#[case] reply: Reply) {
        let (received, error) = received(opened("GET", reply, AMPLE).await.unwrap().body).await;
        assert_eq!((received.len(), error.is_none()), (CAP, true), "{error:?}");
    }

    fn chunked(pieces: usize) -> Vec<u8> {
        format!("{}0\r\n\r\n", "10\r\n0123456789abcdef\r\n".repeat(pieces)).into_bytes()
    }

    #[rstest]
    #[case::announced(bytes("Content-Length: 9\r\n", b"abc"))]
    #[case::chunked(bytes("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n"))]
    #[case::broken_chunk(bytes("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\nzz\r\n"))]
    #[tokio::test]
    async fn a_body_that_breaks_off_ends_with_an_interruption(#[case] reply: Reply) {
        let (received, error) = received(opened("GET", reply, AMPLE).await.unwrap().body).await;
        assert_eq!(received, b"abc");
        assert!(matches!(error, Some(TransportError::Interrupted { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn trailers_are_dropped() {
        let body = b"3\r\nabc\r\n0\r\nX-Evil: 1\r\n\r\n";
        let reply = bytes("Transfer-Encoding: chunked\r\nTrailer: X-Evil\r\n", body);
        let (received, error) = received(opened("GET", reply, AMPLE).await.unwrap().body).await;
        assert_eq!((received.as_slice(), error.is_none()), (&b"abc"[..], true));
    }

    #[tokio::test]
    async fn a_body_that_falls_silent_ends_with_a_time_out() {
        let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        let total = Duration::from_millis(500);
        let streamed = opened("GET", Reply::Stall(begun.into()), total).await.unwrap();
        let (received, error) = received(streamed.body).await;
        assert_eq!(received, b"abc");
        assert!(matches!(error, Some(TransportError::Timeout { source: None })), "{error:?}");
    }

    /// One byte per tick, without end. Without ticks it is always ready.
    struct Dribble(Option<Interval>);

    impl HttpBody for Dribble {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if let Some(interval) = &mut self.0 {
                ready!(interval.poll_tick(context));
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    fn within(dribble: Dribble, span: Duration) -> ResponseBody {
        let source = ClientBody::Reqwest(reqwest::Body::wrap(dribble));
        ResponseBody::bounded(source, CAP, Instant::now() + span).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_dribbles_ends_at_the_deadline_of_its_call() {
        let every_second = Dribble(Some(interval(Duration::from_secs(1))));
        let body = within(every_second, Duration::from_millis(30_500));
        let begun = Instant::now();
        let (received, error) = received(body).await;
        assert!(matches!(error, Some(TransportError::Timeout { source: None })), "{error:?}");
        assert_eq!(received.len(), 31);
        // Tokio's timers have a resolution of a millisecond.
        assert!((30_500..=30_501).contains(&begun.elapsed().as_millis()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_always_ready_ends_at_the_deadline_too() {
        let mut body = within(Dribble(None), Duration::from_secs(30));
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(30)).await;
        let frame = body.frame().await.unwrap();
        assert!(matches!(frame, Err(TransportError::Timeout { source: None })), "{frame:?}");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn debug_shows_no_content() {
        let reply = Reply::with_headers("200 OK", "", b"canary");
        let body = opened("GET", reply, AMPLE).await.unwrap().body;
        assert_eq!(format!("{body:?}"), "ResponseBody { left: 1024, .. }");
    }
}
