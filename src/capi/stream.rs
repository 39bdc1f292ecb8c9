//! Answers whose body is handed on while it arrives: what the proxy passes through.
//!
//! Invariant: the place in the gate is held until the body has ended, and the breaker learns how. Errors of CF are
//! always read whole, for the room must know what they mean. Callers: this room; `proxy` by way of
//! [`Foundation::open`](super::Foundation::open).

use super::{error::CapiError, tokens::Loan};
use crate::upstream::{
    Answer, Body as Wire, Streamed, TransportError,
    gate::{Failure, Pass},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use url::Url;

/// Most bytes of an answer that says no; CF's own errors have some hundred.
pub(super) const ERROR_CAP: usize = 1024 * 1024;

/// How an answer's body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Read to the end first.
    Whole,
    /// Handed on as it comes, unless CF refuses.
    Streamed,
}

/// An answer in one form or the other.
#[derive(Debug)]
pub(super) enum Reply {
    Whole(Answer),
    /// With its place in the gate.
    Streamed(Streamed, Pass),
}

/// An answer of CF that can be passed on.
#[derive(Debug)]
pub struct Opened {
    /// CF's status.
    pub status: StatusCode,
    /// CF's headers, all of them.
    pub headers: HeaderMap,
    /// What follows them.
    pub body: Body,
    /// Knows the API that answered.
    loan: Loan,
    external: Option<Arc<Url>>,
}

/// The body of an [`Opened`]; ends with an error where it was cut short.
pub struct Body(Source);

enum Source {
    Whole(Option<Bytes>),
    Wire { status: StatusCode, wire: Wire, pass: Option<Pass> },
}

impl Reply {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Whole(answer) => answer.status,
            Self::Streamed(streamed, _) => streamed.status,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Whole(answer) => &answer.headers,
            Self::Streamed(streamed, _) => &streamed.headers,
        }
    }

    /// Returns the whole answer that was asked for.
    pub(super) fn into_answer(self) -> Result<Answer, CapiError> {
        match self {
            Self::Whole(answer) => Ok(answer),
            Self::Streamed(_, _) => Err(CapiError::Internal("answer_not_read")),
        }
    }
}

impl Opened {
    pub(super) fn of(reply: Reply, loan: Loan, external: Option<Arc<Url>>) -> Self {
        match reply {
            Reply::Whole(mut answer) => {
                let bytes = Bytes::from(std::mem::take(&mut *answer.body));
                let body = Body(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())));
                Self { status: answer.status, headers: answer.headers, body, loan, external }
            }
            Reply::Streamed(Streamed { status, headers, body }, pass) => {
                let body = Body(Source::Wire { status, wire: body, pass: Some(pass) });
                Self { status, headers, body, loan, external }
            }
        }
    }

    /// Returns the base of the API that answered, for links that name it.
    pub fn api(&self) -> &Url {
        self.loan.api()
    }

    /// Returns the address by which the API named itself last: CC builds its links from its own external domain,
    /// whatever name it is called by (`capi.md` 2).
    pub fn external(&self) -> Option<&Url> {
        self.external.as_deref()
    }
}

impl Body {
    /// Lets go of a body that is not passed on, where CF has done its work: there is none, or nobody wants it.
    pub fn dismiss(self) {
        if let Source::Wire { pass: Some(pass), .. } = self.0 {
            pass.succeeded();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CapiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CapiError>>> {
        match &mut self.0 {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Wire { status, wire, pass } => {
                let frame = ready!(Pin::new(&mut *wire).poll_frame(context));
                // Whoever knows the length does not ask again once it has come.
                let over = !matches!(frame, Some(Ok(_))) || wire.is_end_stream();
                if let Some(pass) = pass.take_if(|_| over) {
                    tell(pass, frame.as_ref());
                }
                let status = *status;
                let cut_short = |error| CapiError::cut_short(error, status);
                Poll::Ready(frame.map(|frame| frame.map_err(cut_short)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Wire { wire, .. } => wire.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, length)),
            Source::Wire { wire, .. } => wire.size_hint(),
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A body that ended well, or is larger than we take, is no fault of the upstream's health.
fn tell(pass: Pass, last: Option<&Result<Frame<Bytes>, TransportError>>) {
    match last {
        Some(Err(TransportError::TooLarge | TransportError::Refused) | Ok(_)) | None => {
            pass.succeeded();
        }
        Some(Err(
            TransportError::Connect { .. }
            | TransportError::Timeout { .. }
            | TransportError::Unreadable { .. }
            | TransportError::Interrupted { .. },
        )) => pass.failed(Failure::Answer),
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
