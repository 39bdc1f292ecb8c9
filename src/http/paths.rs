//! The fork behind the listener: what is for the CF API goes straight to its handler, all else through axum's route table.
//!
//! Invariant: both ways lead through the whole stack of `layers`, and no path has both. Made by `mod`, asked by `server`.

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
    http::{handlers::proxy::CfApi, layers::Within},
    policy::path::is_upstream,
};

/// All paths; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/v3` and everything below it.
    pub(super) cf: Within<CfApi>,
    /// Our own.
    pub(super) own: Router,
}

impl Service<Request> for Paths {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both always are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answering {
        let way = if is_upstream(request.uri().path()) {
            Way::Cf { answer: self.cf.call(request) }
        } else {
            Way::Own { answer: self.own.call(request) }
        };
        Answering { way }
    }
}

pin_project! {
    /// An answer on its way.
    pub struct Answering {
        #[pin]
        way: Way,
    }
}

pin_project! {
    #[project = WayPart]
    enum Way {
        Cf { #[pin] answer: <Within<CfApi> as Service<Request>>::Future },
        Own { #[pin] answer: RouteFuture<Infallible> },
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayPart::Cf { answer } => answer.poll(context),
            WayPart::Own { answer } => answer.poll(context),
        }
    }
}
