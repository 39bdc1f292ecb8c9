//! The body of a request, and what happens to the rest of it that no handler has read.
//!
//! Invariant: a connection takes another request only if the body of the last one was received to
//! its end (RFC 9112, 9.3). Otherwise the response says that the connection closes. Only
//! `server::connection` uses this.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Version, header::CONNECTION, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// How long the rest of a body is waited for before the response. Clients send a body right behind
/// its head; a longer wait would only delay the response to those that do not.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What the connection does after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterResponse {
    /// It takes the next request.
    KeepOpen,
    /// It closes.
    Close,
}

impl AfterResponse {
    /// What the head of a request asks for. HTTP/1.0 is for probes, which need no second request.
    pub(super) fn asked_by<B>(request: &Request<B>) -> Self {
        let closes = request.version() < Version::HTTP_11 || says_close(request.headers());
        if closes { Self::Close } else { Self::KeepOpen }
    }
}

/// Whether a message is the last one on its connection.
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case("close"))
}

/// How far a body was read.
#[derive(Debug)]
enum BodyProgress {
    /// To its end.
    Complete,
    /// A handler has it.
    InUse,
    /// No handler wants the rest.
    Rest(Incoming),
    /// Its rest cannot be told from the next request, or will not come.
    Lost,
}

/// The progress of the body of one request; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct BodyTracker(Arc<Mutex<BodyProgress>>);

impl BodyTracker {
    fn set(&self, progress: BodyProgress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Receives and discards the rest of the body, at most `limit` bytes and for [`DRAIN_TIME`].
    /// Drops the rest if that is not enough.
    pub(super) async fn drain(self, limit: usize) -> AfterResponse {
        let lost = BodyProgress::Lost;
        let progress =
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), lost);
        match progress {
            // A handler that has the body still may read it to its end.
            BodyProgress::Complete | BodyProgress::InUse => AfterResponse::KeepOpen,
            BodyProgress::Rest(rest) => discard(rest, limit).await,
            BodyProgress::Lost => AfterResponse::Close,
        }
    }

    /// Drops the rest of the body.
    pub(super) fn abandon(&self) {
        self.set(BodyProgress::Lost);
    }
}

async fn discard(mut rest: Incoming, limit: usize) -> AfterResponse {
    let is_longer = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > limit);
    if is_longer(rest.size_hint().lower()) {
        return AfterResponse::Close;
    }
    let receiving = async {
        let mut left = limit;
        while let Some(frame) = rest.frame().await {
            let length = frame.ok().map(|frame| frame.data_ref().map_or(0, Bytes::len));
            left = match length.and_then(|length| left.checked_sub(length)) {
                Some(left) => left,
                None => return AfterResponse::Close,
            };
        }
        AfterResponse::KeepOpen
    };
    timeout(DRAIN_TIME, receiving).await.unwrap_or(AfterResponse::Close)
}

/// The body for a handler. What the handler leaves goes back to the [`BodyTracker`].
#[derive(Debug)]
pub(super) struct TrackedRequestBody {
    incoming: Option<Incoming>,
    tracker: BodyTracker,
    /// The client waits for `100 Continue`, which is sent when the body is first polled. Until then
    /// no body comes, and after another response perhaps none at all (RFC 9110, 10.1.1).
    is_awaited: bool,
}

impl TrackedRequestBody {
    /// Tracks the body of a request with this head.
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap) -> (Self, BodyTracker) {
        let tracker = BodyTracker(Arc::new(Mutex::new(BodyProgress::InUse)));
        let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        let is_awaited = headers.get_all(EXPECT).iter().any(expects);
        let body = Self { incoming: Some(incoming), tracker: tracker.clone(), is_awaited };
        (body, tracker)
    }

    fn end(&mut self, progress: BodyProgress) {
        self.incoming = None;
        self.tracker.set(progress);
    }
}

impl HttpBody for TrackedRequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_awaited = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.end(BodyProgress::Lost),
            None => self.end(BodyProgress::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for TrackedRequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        self.tracker.set(if incoming.is_end_stream() {
            BodyProgress::Complete
        } else if self.is_awaited {
            BodyProgress::Lost
        } else {
            BodyProgress::Rest(incoming)
        });
    }
}
