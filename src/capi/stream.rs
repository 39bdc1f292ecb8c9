//! Responses whose body is passed on while it arrives: for the proxy.
//!
//! Invariant: the permit of the gate is held until the body has ended, and the breaker learns how
//! it ended. Error responses of CF are always read whole, because this module must know what they
//! mean. Callers: this module; `proxy` through
//! [`CfRequestClient::open`](super::CfRequestClient::open).

use super::error::CapiError;
use crate::token::Lease;
use crate::upstream::{
    HttpResponse, ResponseBody, StreamedResponse, TransportError,
    gate::{CallPermit, FailureKind},
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

/// Cap for error responses; CF's own have some hundred bytes.
pub(super) const ERROR_CAP: usize = 1024 * 1024;

/// How to receive a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyMode {
    /// Read to the end first.
    Whole,
    /// Passed on while it arrives, unless CF refuses.
    Streamed,
}

/// A response, read whole or streamed.
#[derive(Debug)]
pub(super) enum CfResponse {
    Whole(HttpResponse),
    /// With its permit of the gate.
    Streamed(StreamedResponse, CallPermit),
}

/// A response of CF that can be passed on.
#[derive(Debug)]
pub struct OpenedResponse {
    /// CF's status.
    pub status: StatusCode,
    /// CF's headers, all of them.
    pub headers: HeaderMap,
    /// The body.
    pub body: CfBody,
    /// Names the API that answered.
    token: Arc<Lease>,
    external: Option<Arc<Url>>,
}

/// The body of an [`OpenedResponse`]. It ends with an error if it was cut short.
pub struct CfBody(BodySource);

enum BodySource {
    Whole(Option<Bytes>),
    Streamed { status: StatusCode, body: ResponseBody, permit: Option<CallPermit> },
}

impl CfResponse {
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

    /// Returns whether there is no body, as far as it is known.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Whole(answer) => answer.body.is_empty(),
            Self::Streamed(streamed, _) => streamed.body.is_end_stream(),
        }
    }

    /// Returns the response of a call that was read whole.
    pub(super) fn into_answer(self) -> Result<HttpResponse, CapiError> {
        match self {
            Self::Whole(answer) => Ok(answer),
            Self::Streamed(_, _) => Err(CapiError::Internal("answer_not_read")),
        }
    }
}

impl OpenedResponse {
    pub(super) fn of(reply: CfResponse, token: Arc<Lease>, external: Option<Arc<Url>>) -> Self {
        match reply {
            CfResponse::Whole(mut answer) => {
                let bytes = Bytes::from(std::mem::take(&mut *answer.body));
                let body = CfBody(BodySource::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())));
                Self { status: answer.status, headers: answer.headers, body, token, external }
            }
            CfResponse::Streamed(StreamedResponse { status, headers, body }, permit) => {
                let body = CfBody(BodySource::Streamed { status, body, permit: Some(permit) });
                Self { status, headers, body, token, external }
            }
        }
    }

    /// Returns the base URL of the API that answered, for links that name it.
    pub fn api(&self) -> &Url {
        self.token.api()
    }

    /// Returns the address that the API last gave for itself. CC builds its links from its own
    /// external domain, whatever name it is called by.
    pub fn external(&self) -> Option<&Url> {
        self.external.as_deref()
    }
}

impl CfBody {
    /// Drops a body that is not passed on, although CF has done its work: it counts as a success.
    pub fn discard(self) {
        if let BodySource::Streamed { permit: Some(permit), .. } = self.0 {
            permit.succeeded();
        }
    }
}

impl HttpBody for CfBody {
    type Data = Bytes;
    type Error = CapiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CapiError>>> {
        match &mut self.0 {
            BodySource::Whole(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            BodySource::Streamed { status, body, permit } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(context));
                // A reader that knows the length does not poll again after the last byte.
                let over = !matches!(frame, Some(Ok(_))) || body.is_end_stream();
                if let Some(permit) = permit.take_if(|_| over) {
                    tell(permit, frame.as_ref());
                }
                let status = *status;
                let cut_short = |error| CapiError::cut_short(error, status);
                Poll::Ready(frame.map(|frame| frame.map_err(cut_short)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodySource::Whole(bytes) => bytes.is_none(),
            BodySource::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodySource::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, length)),
            BodySource::Streamed { body, .. } => body.size_hint(),
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A body that ended well, or is larger than our cap, is no fault of the upstream.
fn tell(permit: CallPermit, last: Option<&Result<Frame<Bytes>, TransportError>>) {
    match last {
        Some(Err(TransportError::TooLarge | TransportError::Refused) | Ok(_)) | None => {
            permit.succeeded();
        }
        Some(Err(
            TransportError::Connect { .. }
            | TransportError::Timeout { .. }
            | TransportError::Unreadable { .. }
            | TransportError::Interrupted { .. },
        )) => permit.failed(FailureKind::Response),
    }
}

impl fmt::Debug for CfBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CfBody").finish_non_exhaustive()
    }
}
