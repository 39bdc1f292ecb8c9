//! Dispatch behind the listener: requests for the CF API go straight to their handler, all others
//! through axum's route table.
//!
//! Invariant: both branches have the whole middleware stack, and each path has exactly one branch.
//! Created by `mod`, called by `server`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response, routing::future::RouteFuture};
use pin_project_lite::pin_project;
use tower::Service;

use crate::{
    http::{handlers::proxy::ProxyHandler, middleware::WithMiddleware},
    policy::path::is_upstream,
};

/// All paths; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// `/v3` and everything below it.
    pub(super) cf: WithMiddleware<ProxyHandler>,
    /// The broker's own paths.
    pub(super) own: Router,
}

impl Service<Request> for Dispatch {
    type Response = Response;
    type Error = Infallible;
    type Future = DispatchFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> DispatchFuture {
        let branch = if is_upstream(request.uri().path()) {
            DispatchBranch::Cf { answer: self.cf.call(request) }
        } else {
            DispatchBranch::Own { answer: self.own.call(request) }
        };
        DispatchFuture { branch }
    }
}

pin_project! {
    /// The response future of either branch.
    pub struct DispatchFuture {
        #[pin]
        branch: DispatchBranch,
    }
}

pin_project! {
    #[project = DispatchBranchProjection]
    enum DispatchBranch {
        Cf { #[pin] answer: <WithMiddleware<ProxyHandler> as Service<Request>>::Future },
        Own { #[pin] answer: RouteFuture<Infallible> },
    }
}

impl Future for DispatchFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().branch.project() {
            DispatchBranchProjection::Cf { answer } => answer.poll(context),
            DispatchBranchProjection::Own { answer } => answer.poll(context),
        }
    }
}
