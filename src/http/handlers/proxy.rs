//! `/v3` and everything below it: the CF API, as far as the allow list and the caller's provider
//! entry allow.
//!
//! Nothing is sent before all checks have passed (`docs/reference/proxy-rules.md`). This file only
//! calls the steps in order.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE};
use tokio::time::Instant;
use tower::Service;

use crate::{
    auth::{Caller, Scope},
    capi::CfRequestClient,
    http::{
        code::ProblemCode,
        extract::{read_body, require_scope, verify_caller, wall_time},
        problem::Problem,
        request_record::RequestRecord,
        state::ProxyState,
    },
    policy::{
        Breach, Denial, Draft, RequestLine, RuleId, RuleOutcome, Verdict,
        path::{UpstreamPath, UpstreamQuery},
    },
    proxy::{ProxyError, WriteAudit},
    routes::{RequestContext, RouteError},
    telemetry::audit,
};

/// The handler as a tower service: axum's route table would add about twenty allocations
/// ([`crate::http::dispatch`]).
#[derive(Clone, Debug)]
pub(crate) struct ProxyHandler(pub(crate) Arc<ProxyState>);

impl Service<Request> for ProxyHandler {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        #[cfg(test)]
        if request.uri().path() == "/v3/panic" {
            return Box::pin(async { Ok(super::panic().await.into_response()) });
        }
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(pass(&state, request).await.unwrap_or_else(IntoResponse::into_response))
        })
    }
}

/// Checks and forwards one request.
///
/// # Errors
/// No caller with the scope, a malformed target, a denial, errors of the token module and of the CF
/// client. CF's own error responses are answers, not errors.
async fn pass(state: &ProxyState, request: Request) -> Result<Response, Problem> {
    let record = RequestRecord::from_extensions(request.extensions());
    let caller = verify_caller(&state.verifier, request.headers(), Some(&record)).await?;
    let caller = require_scope(caller, Scope::ApiProxy)?;
    let line = request_line(&request)?;
    let deadline = Instant::now() + state.defaults.call_timeout;
    let call = ProxyCall { caller, record, deadline };
    match state.policy.admit(&call.caller, line) {
        Ok(RuleOutcome::Granted(permit)) => {
            let cf = call.request_client(state);
            let answer = state.proxy.forward(&permit, &cf).await?;
            cf.learn_version();
            Ok(call.passed_on(answer, permit.rule().clone()))
        }
        Ok(RuleOutcome::Write(draft)) => Box::pin(write(draft, call, state, request)).await,
        Err(denial) => {
            let (method, path) = (request.method(), request.uri().path());
            let action = format!("{method} {path}");
            Err(audited_denial(denial, state, call.audited_if_mutation(method, action).as_ref()))
        }
    }
}

/// One proxied request: its caller, its record and its deadline.
struct ProxyCall {
    caller: Caller,
    record: RequestRecord,
    deadline: Instant,
}

impl ProxyCall {
    /// Returns a client for the destination of the caller's provider entry, or the default one.
    fn request_client(&self, state: &ProxyState) -> CfRequestClient {
        let own = state.routes.providers().destination_of(&self.caller);
        let destination = own.unwrap_or(&state.defaults.destination);
        let cf = state.capi.for_request(destination, self.record.correlation(), self.deadline);
        cf.for_caller(&self.caller.limit_key())
    }

    fn request_context(&self) -> RequestContext {
        RequestContext::new(&self.caller, self.record.correlation(), wall_time(), self.deadline)
    }

    fn audited(&self, action: String) -> WriteAudit {
        let trail = self.record.trail().clone();
        WriteAudit::new(&self.caller, self.record.correlation(), trail, status_and_code)
            .with_action(action)
    }

    fn audited_if_mutation(&self, method: &Method, action: String) -> Option<WriteAudit> {
        (!matches!(*method, Method::GET | Method::HEAD)).then(|| self.audited(action))
    }

    /// Records the rule of the allow list for the log line.
    fn passed_on(&self, answer: Response<crate::proxy::ProxyBody>, row: RuleId) -> Response {
        self.record.set_rule(row);
        answer.map(Body::new)
    }
}

/// A write: body, bounds, verdict. Once sent, it runs to its end even if the caller goes away.
async fn write(
    draft: Draft,
    call: ProxyCall,
    state: &ProxyState,
    request: Request,
) -> Result<Response, Problem> {
    let rule = draft.rule().clone();
    let mut audited = call.audited(rule.as_str().to_owned());
    let (verdict, cf) = checked_write(draft, &call, state, request, &mut audited).await?;
    let answer = state.proxy.write(verdict, cf, audited).await;
    state.routes.forget_counts();
    let answer = answer?;
    Ok(call.passed_on(answer, rule))
}

async fn checked_write(
    draft: Draft,
    call: &ProxyCall,
    state: &ProxyState,
    request: Request,
    audited: &mut WriteAudit,
) -> Result<(Verdict, CfRequestClient), Problem> {
    let refused = |denial, audited: &WriteAudit| audited_denial(denial, state, Some(audited));
    let body = if draft.takes_body() {
        let kind = is_json(request.headers());
        let body = read_body(request, state.body).await?;
        if !kind {
            let detail = "The body must be sent as Content-Type: application/json.";
            return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
        }
        body
    } else {
        bytes::Bytes::new()
    };
    let write = draft.read(&body).map_err(|denial| refused(denial, audited))?;
    audited.host = write.host().map(str::to_owned);
    let (space, domain) = write.place().unzip();
    (audited.space, audited.domain) = (space.map(str::to_owned), domain.map(str::to_owned));
    audited.route = write.route().map(str::to_owned);
    let request_context = call.request_context();
    let failed = |error: RouteError| bounds_failed(error, audited);
    let outline = state.routes.outline(&request_context).map_err(failed)?;
    write.precheck(&outline).map_err(|denial| refused(denial, audited))?;
    let (bounds, cf) = state.routes.bounds(&request_context).await.map_err(failed)?;
    let mut verdict = write.clone().check_bounds(&bounds);
    // A deployment may have recreated the app since its guid was read.
    if matches!(verdict, Err(Denial::Breach(Breach::App)))
        && state.routes.forget_apps(&request_context).await.map_err(failed)?
    {
        let (bounds, _) = state.routes.bounds(&request_context).await.map_err(failed)?;
        verdict = write.check_bounds(&bounds);
    }
    Ok((verdict.map_err(|denial| refused(denial, audited))?, cf))
}

/// Returns the target that `request_validation` has checked.
pub(in crate::http) fn request_line(request: &Request) -> Result<RequestLine, Problem> {
    let odd = |_| Problem::new(ProblemCode::MalformedPath, "The path or the query is malformed.");
    let checked =
        request.extensions().get::<RequestRecord>().and_then(RequestRecord::target).cloned();
    let (path, query) = match checked {
        Some(checked) => checked,
        None => (
            UpstreamPath::parse(request.uri().path()).map_err(odd)?,
            UpstreamQuery::parse(request.uri().query()).map_err(odd)?,
        ),
    };
    if query.names_credential() {
        let detail =
            "A query must not carry a credential; send the token in the Authorization header.";
        return Err(Problem::new(ProblemCode::MalformedPath, detail));
    }
    Ok(RequestLine { method: request.method().clone(), path, query })
}

/// Whether the type is JSON, and UTF-8 if a character set is named.
fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    let Some(text) = only.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().is_some_and(|essence| essence == "application/json");
    essence && parts.all(|part| matches!(part.as_str(), "charset=utf-8" | "charset=\"utf-8\""))
}

/// Counts a denial, and audits it if the request is a mutation.
fn audited_denial(denial: Denial, state: &ProxyState, audited: Option<&WriteAudit>) -> Problem {
    let word = match &denial {
        Denial::NoRule => "no_rule",
        Denial::Scope(_) => "scope",
        Denial::Malformed(_) => "body",
        Denial::Breach(_) => "bounds",
    };
    state.metrics.policy_denied(word);
    let problem = Problem::from(denial);
    if let Some(audited) = audited {
        let spec = problem.code().spec();
        audited.refused(audit::DENIED, spec.name, spec.status);
    }
    problem
}

/// Audits that the caller's bounds could not be determined.
fn bounds_failed(error: RouteError, audited: &WriteAudit) -> Problem {
    let (word, denied) = (error.as_str(), error.is_denial());
    let problem = Problem::from(error);
    let spec = problem.code().spec();
    audited.refused(if denied { audit::DENIED } else { word }, spec.name, spec.status);
    problem
}

/// Status and code that the caller gets for an error, for the audit line.
fn status_and_code(error: &ProxyError) -> (StatusCode, &'static str) {
    let problem = Problem::from(error.clone());
    let spec = problem.code().spec();
    (spec.status, spec.name)
}
