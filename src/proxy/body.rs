//! The response body for the caller: as it came, or with its links rewritten.
//!
//! Invariant: an error of the source ends the body with an error, so that the caller never takes a
//! part for the whole. Callers: this module; `http` passes it to the caller.

use super::links::Rewriter;
use crate::capi::{CapiError, CfBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::timeout;

/// Up to this size a body is read whole: then its length is known, and a failure can still become a
/// problem response.
const SMALL: usize = 64 * 1024;

/// How long a response waits for the first piece of its body. A body that is broken from its
/// beginning is then still a problem; one that begins later is passed on while it arrives.
const FIRST_PIECE: Duration = Duration::from_millis(100);

/// A response body for the caller.
pub struct ProxyBody(BodyKind);

enum BodyKind {
    /// No body, whatever `Content-Length` says.
    Absent,
    Whole(Option<Bytes>),
    Streamed(Box<StreamedBody>),
}

/// A body that is passed on while it arrives.
struct StreamedBody {
    source: CfBody,
    /// Changes the links, if it does.
    rewriter: Option<Rewriter>,
    /// What came before the response was passed on.
    first: Option<Bytes>,
    done: bool,
}

impl ProxyBody {
    /// No body and no length.
    pub(super) fn none() -> Self {
        Self(BodyKind::Absent)
    }

    /// Passes a source on; a rewriter changes its links.
    ///
    /// # Errors
    /// The source's error, if it broke while a small body was read.
    pub(super) async fn of(
        source: CfBody,
        rewriter: Option<Rewriter>,
        announced: Option<usize>,
    ) -> Result<Self, CapiError> {
        if announced.is_some_and(|length| length <= SMALL) {
            let whole = whole(source).await?;
            let whole = match rewriter {
                Some(rewriter) => rewriter.whole(&whole),
                None => whole,
            };
            return Ok(Self(BodyKind::Whole(Some(whole).filter(|bytes| !bytes.is_empty()))));
        }
        let mut streamed = StreamedBody { source, rewriter, first: None, done: false };
        let first = poll_fn(|context| streamed.poll_piece(context));
        match timeout(FIRST_PIECE, first).await {
            Ok(Some(piece)) => streamed.first = Some(piece?),
            Ok(None) => return Ok(Self(BodyKind::Whole(None))),
            Err(_elapsed) => {}
        }
        Ok(Self(BodyKind::Streamed(Box::new(streamed))))
    }
}

impl StreamedBody {
    /// Returns the next piece that is not empty.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CapiError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        while !self.done {
            let frame = ready!(Pin::new(&mut self.source).poll_frame(context)).transpose()?;
            let piece = match (frame.map(Frame::into_data), &mut self.rewriter) {
                (Some(Ok(data)), Some(rewriter)) => rewriter.push(&data),
                (Some(Ok(data)), None) => data,
                // Trailers are dropped.
                (Some(Err(_)), _) => continue,
                (None, rewriter) => {
                    self.done = true;
                    rewriter.as_mut().map_or_else(Bytes::new, Rewriter::finish)
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        let is_source_at_end = self.rewriter.is_none() && self.source.is_end_stream();
        self.first.is_none() && (self.done || is_source_at_end)
    }

    /// Rewritten links change the length.
    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len);
        let announced = self.source.size_hint().exact().filter(|_| self.rewriter.is_none());
        let length = announced.zip(u64::try_from(first).ok());
        length.map_or_else(SizeHint::default, |(rest, first)| SizeHint::with_exact(rest + first))
    }
}

/// Reads a source to its end. A body in one piece is not copied.
async fn whole(mut source: CfBody) -> Result<Bytes, CapiError> {
    let (mut whole, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = source.frame().await.transpose()? {
        // Trailers are dropped.
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_empty() {
            whole = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() { whole } else { [whole, more.freeze()].concat().into() })
}

impl HttpBody for ProxyBody {
    type Data = Bytes;
    type Error = CapiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CapiError>>> {
        match &mut self.0 {
            BodyKind::Absent => Poll::Ready(None),
            BodyKind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyKind::Streamed(streamed) => {
                streamed.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Absent => true,
            BodyKind::Whole(bytes) => bytes.is_none(),
            BodyKind::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            BodyKind::Streamed(streamed) => streamed.size_hint(),
            BodyKind::Absent => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyBody").finish_non_exhaustive()
    }
}
