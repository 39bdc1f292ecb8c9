//! The transparent CF API: forwards a [`Permit`] and returns CF's own response.
//!
//! Invariant: method, path, query and body come from the permit, and headers are built. The
//! response's headers pass an allow list, and its links lead to the broker only. A write runs to
//! its end on the task tracker and is audited. Rules: `docs/reference/proxy-rules.md`. Callers:
//! `http`.

mod audit;
mod body;
mod error;
mod facts;
mod headers;
mod links;

pub use audit::{ErrorToStatus, WriteAudit};
pub use body::ProxyBody;
pub use error::ProxyError;

use crate::{
    capi::{Call, CapiError, CfRequestClient, OpenedResponse, RequestSent, Unavailability},
    policy::{Permit, Question, Verdict},
    telemetry::metrics::Metrics,
};
use arc_swap::ArcSwapOption;
use facts::QuestionOutcome;
use headers::{LocationOutcome, ResponseHeaders};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header::CONTENT_LENGTH,
};
use links::{LinkBases, Rewriter};
use std::{fmt, sync::Arc};
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use url::Url;

/// Largest response that is passed on.
const ANSWER_CAP: usize = 10 * 1024 * 1024;
/// Response header of RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Forwards permits. A clone is shallow.
#[derive(Clone)]
pub struct Proxy(Arc<ProxyInner>);

struct ProxyInner {
    /// The broker's own base URL, without a slash at the end.
    own: Arc<str>,
    /// Those of the last response: nearly all responses are of one API.
    bases: ArcSwapOption<LinkBases>,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl Proxy {
    /// Makes the proxy. `own` is the broker's public base URL, to which links lead; writes run on
    /// `tasks`.
    pub fn new(own: Arc<str>, tasks: TaskTracker, metrics: Metrics) -> Self {
        Self(Arc::new(ProxyInner { own, bases: ArcSwapOption::empty(), tasks, metrics }))
    }

    /// Forwards a read and returns CF's response while its body arrives.
    ///
    /// # Errors
    /// [`ProxyError::Capi`] if CF gave no response of its own, [`ProxyError::Unpassable`].
    pub async fn forward(
        &self,
        permit: &Permit,
        cf: &CfRequestClient,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let opened = cf.open(&call_of(permit)).await?;
        self.build_response(opened, permit.method()).await
    }

    /// Forwards a write. If the verdict depends on the route, the route is read first. Waits until
    /// the request's deadline.
    ///
    /// # Errors
    /// As [`Proxy::forward`]. [`ProxyError::Denied`] because of the route's state,
    /// [`ProxyError::Unclear`] for a POST with an unknown outcome.
    ///
    /// # Cancel safety
    /// The write continues when the future is dropped.
    pub async fn write(
        &self,
        verdict: Verdict,
        cf: CfRequestClient,
        audit: WriteAudit,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let this = self.clone();
        let (method, deadline) = (verdict.method().clone(), cf.deadline());
        let writing = async move {
            audit.begin();
            let written = Box::pin(this.judge_and_send(verdict, &cf, &audit)).await;
            let upstream = cf.last_request_id();
            match &written {
                Ok(answer) => audit.answered(answer.status(), upstream.as_deref()),
                Err(error) => audit.failed(error, upstream.as_deref()),
            }
            written
        };
        let running = self.0.tasks.spawn(writing.in_current_span());
        match timeout_at(deadline, running).await {
            Ok(written) => written.unwrap_or(Err(CapiError::Internal("writing_panicked").into())),
            Err(_elapsed) => {
                Err(unclear_write(CapiError::Timeout { sent: RequestSent::Maybe }, &method))
            }
        }
    }

    async fn judge_and_send(
        &self,
        verdict: Verdict,
        cf: &CfRequestClient,
        audit: &WriteAudit,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let permit = match verdict {
            Verdict::Permit(permit) => permit,
            Verdict::Depends(question) => match self.decide(question, cf).await? {
                QuestionOutcome::Permit(permit) => permit,
                QuestionOutcome::Answer(opened) => {
                    return self.build_response(*opened, &Method::GET).await;
                }
            },
        };
        audit.intent();
        let opened = cf.open(&call_of(&permit)).await;
        let opened = opened.map_err(|error| unclear_write(error, permit.method()))?;
        self.build_response(opened, permit.method()).await
    }

    async fn decide(
        &self,
        question: Box<Question>,
        cf: &CfRequestClient,
    ) -> Result<QuestionOutcome, ProxyError> {
        let settled = facts::decide(*question, cf).await;
        if let Err(ProxyError::Denied(_)) = &settled {
            self.0.metrics.policy_denied("route");
        }
        settled
    }

    /// Returns the link bases of this API.
    fn link_bases(&self, api: &Url, external: Option<&Url>) -> Arc<LinkBases> {
        let last = self.0.bases.load_full().filter(|bases| bases.are_of(api, external));
        last.unwrap_or_else(|| {
            let bases = Arc::new(LinkBases::new(api, external, &self.0.own));
            self.0.bases.store(Some(Arc::clone(&bases)));
            bases
        })
    }

    /// Builds the caller's response from CF's.
    async fn build_response(
        &self,
        opened: OpenedResponse,
        method: &Method,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let bases = self.link_bases(opened.api(), opened.external());
        let OpenedResponse { status, headers, body, .. } = opened;
        let ResponseHeaders { listed: mut headers, location, is_json, is_encoded, length } =
            headers::select(headers, &bases);
        if status == StatusCode::SWITCHING_PROTOCOLS || is_encoded {
            return Err(ProxyError::Unpassable);
        }
        if location == LocationOutcome::Dropped {
            self.0.metrics.policy_denied("foreign_location");
        }
        add_proxy_status(&mut headers, status);
        // CF's error bodies pass byte for byte: they are texts, not documents with links.
        let linked = status.as_u16() < 400 && is_json;
        let is_head = *method == Method::HEAD;
        let bodiless =
            is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = if bodiless {
            body.discard();
            if let Some(length) = length.filter(|_| is_head && !linked) {
                headers.insert(CONTENT_LENGTH, length.into());
            }
            ProxyBody::none()
        } else {
            let rewriter = linked.then(|| Rewriter::new(bases));
            ProxyBody::of(body, rewriter, length).await?
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

/// Adds `Proxy-Status`: the response is CF's, with this status (RFC 9209).
fn add_proxy_status(headers: &mut HeaderMap, status: StatusCode) {
    let value = match status {
        StatusCode::OK => Ok(HeaderValue::from_static("cfapi-broker; received-status=200")),
        other => HeaderValue::try_from(format!("cfapi-broker; received-status={}", other.as_u16())),
    };
    if let Ok(value) = value {
        headers.insert(PROXY_STATUS, value);
    }
}

/// Marks writes with an unknown outcome: a POST that was sent and got no response.
fn unclear_write(error: CapiError, method: &Method) -> ProxyError {
    let silent = match &error {
        CapiError::Unavailable { cause, .. } => *cause == Unavailability::ConnectionTerminated,
        CapiError::Timeout { .. } | CapiError::Unreadable { .. } => error.may_have_been_executed(),
        CapiError::Token(_)
        | CapiError::Unauthorized { .. }
        | CapiError::LacksRole(_)
        | CapiError::NotFound(_)
        | CapiError::Refused(_)
        | CapiError::Failed(_)
        | CapiError::RateLimited { .. }
        | CapiError::Internal(_) => false,
    };
    if silent && *method == Method::POST { ProxyError::Unclear(error) } else { error.into() }
}

/// Makes the call from the permit alone. A delete was checked against the route right before, so it
/// is not repeated automatically.
pub(crate) fn call_of(permit: &Permit) -> Call {
    let operation = if permit.is_read() { "proxy_read" } else { "proxy_write" };
    let mut call = Call::new(operation, permit.method().clone(), permit.path().as_str())
        .with_exact_query(permit.query().as_str())
        .with_cap(ANSWER_CAP);
    if *permit.method() == Method::DELETE {
        call = call.never_repeated();
    }
    if let Some(body) = permit.body() {
        call = call.with_body(body.clone());
    }
    call
}

#[cfg(test)]
mod tests;

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("own", &self.0.own).finish_non_exhaustive()
    }
}
