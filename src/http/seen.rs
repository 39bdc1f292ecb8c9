//! The verified caller of a request on its way to the log line, and its place on its way to the end of the body.
//!
//! Invariant: the place is given back when the whole body is sent or given up, not before. `extract` remembers, `observe`
//! looks.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::auth::{Admitted, Caller};

/// What is known of the caller once it is verified, with its place among its requests in flight; the extractor leaves it
/// in the answer's way to the log line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<OnceLock<Admitted>>);

impl Seen {
    /// Remembers the verified caller for the log line, and keeps its place until the last clone is gone.
    pub(crate) fn remember(&self, admitted: Admitted) {
        // The first one counts; a request has one caller.
        drop(self.0.set(admitted));
    }

    /// Returns the caller, if one was verified.
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.get().map(|admitted| &admitted.caller)
    }

    /// Keeps the caller's place until the whole body is sent or given up.
    pub(super) fn outlast(self, answer: Response) -> Response {
        if self.caller().is_none() {
            return answer;
        }
        answer.map(|body| Body::new(Held { body, _seen: self }))
    }
}

/// A body that keeps a caller's place.
struct Held {
    body: Body,
    _seen: Seen,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, response::Response};
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;
    use tokio::sync::Semaphore;

    use super::Seen;
    use crate::auth::{Admitted, Caller, Place};

    fn seen(places: &Arc<Semaphore>) -> Seen {
        let permit = Arc::clone(places).try_acquire_owned().unwrap();
        let seen = Seen::default();
        let caller = Caller::for_tests("caller", &[]);
        seen.remember(Admitted { caller, place: Place::for_tests(permit) });
        seen
    }

    #[tokio::test]
    async fn the_place_is_kept_until_the_whole_body_is_sent() {
        let places = Arc::new(Semaphore::new(1));
        let answer = seen(&places).outlast(Response::new(Body::from("two parts")));
        assert_eq!(places.available_permits(), 0);
        let mut body = answer.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(places.available_permits(), 0, "the end was not read yet");
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_body_that_keeps_a_place_is_as_long_as_before() {
        let places = Arc::new(Semaphore::new(1));
        let answer = seen(&places).outlast(Response::new(Body::from("nine long")));
        assert_eq!(answer.body().size_hint().exact(), Some(9));
        assert!(!answer.body().is_end_stream());
        let empty = Seen::default().outlast(Response::new(Body::empty()));
        assert!(empty.body().is_end_stream());
    }
}
