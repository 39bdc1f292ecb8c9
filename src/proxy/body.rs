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
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Up to this size a body is read whole: then its length is known, and a failure can still become a
/// problem response.
const SMALL: usize = 64 * 1024;

/// A response body for the caller.
pub struct ProxyBody(BodyKind);

enum BodyKind {
    /// No body, whatever `Content-Length` says.
    Absent,
    Whole(Option<Bytes>),
    Plain(CfBody),
    Links {
        source: CfBody,
        rewriter: Rewriter,
        done: bool,
    },
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
        Ok(Self(match rewriter {
            Some(rewriter) => BodyKind::Links { source, rewriter, done: false },
            None => BodyKind::Plain(source),
        }))
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
        let (source, rewriter, done) = match &mut self.0 {
            BodyKind::Absent => return Poll::Ready(None),
            BodyKind::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            BodyKind::Plain(source) => return Pin::new(source).poll_frame(context),
            BodyKind::Links { source, rewriter, done } => (source, rewriter, done),
        };
        while !*done {
            let frame = ready!(Pin::new(&mut *source).poll_frame(context)).transpose()?;
            let piece = match frame.map(Frame::into_data) {
                Some(Ok(data)) => rewriter.push(&data),
                // Trailers are dropped.
                Some(Err(_)) => continue,
                None => {
                    *done = true;
                    rewriter.finish()
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Absent => true,
            BodyKind::Whole(bytes) => bytes.is_none(),
            BodyKind::Plain(source) => source.is_end_stream(),
            BodyKind::Links { done, .. } => *done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            BodyKind::Plain(source) => source.size_hint(),
            BodyKind::Absent | BodyKind::Links { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyBody").finish_non_exhaustive()
    }
}
