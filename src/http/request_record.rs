//! The record of one request: correlation id, target, caller, rule. Layers and handlers share it.
//!
//! Invariant: the caller's place is given back when the whole body is sent or dropped. Earlier only
//! while the request waits for CF. `access_log` creates the record and reads it at the end;
//! `request_validation`, `extract` and the handlers add to it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Extensions, HeaderMap};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    auth::{Admitted, Caller, RequestPlaces},
    http::problem::Problem,
    policy::{
        RuleId,
        path::{UpstreamPath, UpstreamQuery},
    },
    telemetry::{audit::AuditTrail, trace::CorrelationId},
};

/// What is known of one request. It is a single request extension, because each extension costs one
/// or two allocations. A clone is shallow.
#[derive(Clone, Debug)]
pub(crate) struct RequestRecord(Arc<RequestRecordInner>);

#[derive(Debug)]
struct RequestRecordInner {
    correlation: CorrelationId,
    trail: OnceLock<AuditTrail>,
    target: OnceLock<(UpstreamPath, UpstreamQuery)>,
    caller: OnceLock<Caller>,
    places: RequestPlaces,
    rule: OnceLock<RuleId>,
}

impl RequestRecord {
    /// Starts a record with the correlation id of the request headers.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        Self::new(CorrelationId::of(headers))
    }

    fn new(correlation: CorrelationId) -> Self {
        Self(Arc::new(RequestRecordInner {
            correlation,
            trail: OnceLock::new(),
            target: OnceLock::new(),
            caller: OnceLock::new(),
            places: RequestPlaces::default(),
            rule: OnceLock::new(),
        }))
    }

    /// Returns the record of a request, or a new one if the request did not pass the middleware.
    pub(crate) fn from_extensions(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(|| Self::new(CorrelationId::random()))
    }

    /// Returns the correlation id.
    pub(crate) fn correlation(&self) -> &CorrelationId {
        &self.0.correlation
    }

    /// Returns the trail that notes whether the request has written an audit line.
    pub(crate) fn trail(&self) -> &AuditTrail {
        self.0.trail.get_or_init(AuditTrail::default)
    }

    /// Returns whether the request has written an audit line.
    pub(super) fn is_audited(&self) -> bool {
        self.0.trail.get().is_some_and(AuditTrail::is_marked)
    }

    /// Sets the target of a request for the CF API; only the first call counts.
    pub(super) fn set_target(&self, path: UpstreamPath, query: UpstreamQuery) {
        drop(self.0.target.set((path, query)));
    }

    /// Returns the target, if it is a valid one for the CF API.
    pub(super) fn target(&self) -> Option<&(UpstreamPath, UpstreamQuery)> {
        self.0.target.get()
    }

    /// Sets the verified caller and holds its place until the last clone is dropped.
    pub(crate) fn set_caller(&self, admitted: Admitted) {
        let Admitted { caller, permit } = admitted;
        // A request has one caller, so only the first call counts.
        if self.0.caller.set(caller).is_ok() {
            self.0.places.hold_caller(permit);
        }
    }

    /// Returns the places that the request holds.
    pub(crate) fn places(&self) -> &RequestPlaces {
        &self.0.places
    }

    /// Waits for something that the client or other requests of its caller delay. If it is not
    /// ready at once, the request gives its place among all requests back: a few slow clients would
    /// take all of them. Then [`RequestRecord::take_place`] is needed.
    pub(super) async fn wait_outside<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        match poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await {
            Poll::Ready(done) => done,
            Poll::Pending => {
                self.0.places.leave_process();
                waiting.await
            }
        }
    }

    /// Takes the place again that was given back.
    ///
    /// # Errors
    /// `overloaded` if there is none within 1 s.
    pub(super) async fn take_place(&self) -> Result<(), Problem> {
        let taken = self.0.places.return_to_process().await;
        if taken { Ok(()) } else { Err(Problem::too_many_in_flight()) }
    }

    /// Returns the caller, if one was verified.
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// Notes which rule of the allow list let the request through.
    pub(super) fn set_rule(&self, rule: RuleId) {
        drop(self.0.rule.set(rule));
    }

    /// Returns method and path template of that rule.
    pub(super) fn rule(&self) -> Option<&str> {
        self.0.rule.get().map(RuleId::as_str)
    }

    /// Boxes the response body. The caller's permit is held until the whole body is sent or
    /// dropped.
    pub(super) fn hold_permit_during<B>(self, answer: Response<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if self.caller().is_none() {
            return answer.map(Body::new);
        }
        answer.map(|body| Body::new(PermitBody { body, _record: self }))
    }
}

impl Drop for RequestRecordInner {
    fn drop(&mut self) {
        self.places.end();
    }
}

/// A body that holds the caller's permit.
struct PermitBody<B> {
    body: B,
    _record: RequestRecord,
}

impl<B: HttpBody + Unpin> HttpBody for PermitBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
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

    use super::RequestRecord;
    use crate::{
        auth::{Admitted, Caller, InFlightPermit},
        telemetry::trace::CorrelationId,
    };

    fn record(permits: &Arc<Semaphore>) -> RequestRecord {
        let permit = Arc::clone(permits).try_acquire_owned().unwrap();
        let record = RequestRecord::new(CorrelationId::random());
        let caller = Caller::for_tests("caller", &[]);
        record.set_caller(Admitted { caller, permit: InFlightPermit::for_tests(permit) });
        record
    }

    #[tokio::test]
    async fn the_permit_is_held_until_the_whole_body_is_sent() {
        let permits = Arc::new(Semaphore::new(1));
        let answer = record(&permits).hold_permit_during(Response::new(Body::from("two parts")));
        assert_eq!(permits.available_permits(), 0);
        let mut body = answer.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(permits.available_permits(), 0, "the end was not read yet");
        drop(body);
        assert_eq!(permits.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_body_that_holds_a_permit_keeps_its_size_hint() {
        let permits = Arc::new(Semaphore::new(1));
        let answer = record(&permits).hold_permit_during(Response::new(Body::from("nine long")));
        assert_eq!(answer.body().size_hint().exact(), Some(9));
        assert!(!answer.body().is_end_stream());
        let empty = RequestRecord::new(CorrelationId::random())
            .hold_permit_during(Response::new(Body::empty()));
        assert!(empty.body().is_end_stream());
    }
}
