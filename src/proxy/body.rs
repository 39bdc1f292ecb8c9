//! The body that goes back: as it came, or with its links rewritten.
//!
//! Invariant: an error of the source ends the body with an error, so that the caller never takes a part for the whole.
//! Callers: this room; `http` hands it to the caller.

use super::links::Rewriter;
use crate::capi::{Body as Source, CapiError};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Up to this size a body is taken whole, so that its length can be told and a fault can still become a problem.
const SMALL: usize = 64 * 1024;

/// A body on its way to the caller.
pub struct Body(Kind);

enum Kind {
    /// None, whatever length is told.
    Absent,
    Whole(Option<Bytes>),
    Plain(Source),
    Links {
        source: Source,
        rewriter: Rewriter,
        done: bool,
    },
}

impl Body {
    /// No body, and no word on how long one would be.
    pub(super) fn none() -> Self {
        Self(Kind::Absent)
    }

    /// Passes a source on; with a rewriter, its links are changed.
    ///
    /// # Errors
    /// That of the source, if it broke while a small body was read.
    pub(super) async fn of(
        source: Source,
        rewriter: Option<Rewriter>,
        announced: Option<usize>,
    ) -> Result<Self, CapiError> {
        if announced.is_some_and(|length| length <= SMALL) {
            let whole = whole(source).await?;
            let whole = match rewriter {
                Some(rewriter) => rewriter.whole(&whole),
                None => whole,
            };
            return Ok(Self(Kind::Whole(Some(whole).filter(|bytes| !bytes.is_empty()))));
        }
        Ok(Self(match rewriter {
            Some(rewriter) => Kind::Links { source, rewriter, done: false },
            None => Kind::Plain(source),
        }))
    }
}

/// Reads a source to its end; what comes in one piece is not copied.
async fn whole(mut source: Source) -> Result<Bytes, CapiError> {
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

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CapiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CapiError>>> {
        let (source, rewriter, done) = match &mut self.0 {
            Kind::Absent => return Poll::Ready(None),
            Kind::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Kind::Plain(source) => return Pin::new(source).poll_frame(context),
            Kind::Links { source, rewriter, done } => (source, rewriter, done),
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
            Kind::Absent => true,
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Plain(source) => source.is_end_stream(),
            Kind::Links { done, .. } => *done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Kind::Plain(source) => source.size_hint(),
            Kind::Absent | Kind::Links { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
