//! `/v3` and everything below it: the CF API, as far as the allow list and the caller's terms let a request pass.
//!
//! Nothing is sent before all checks have passed, in the order of `proxy.md` 2; this file only walks the steps.

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
        code::Code,
        extract::{holding, known, read_body, wall_time},
        problem::Problem,
        seen::Seen,
        state::ProxyDesk,
    },
    policy::{
        Breach, Denial, Draft, RequestLine, RuleId, RuleOutcome, Verdict,
        path::{UpstreamPath, UpstreamQuery},
    },
    proxy::{ProxyError, WriteAudit},
    routes::{RequestContext, RouteError},
    telemetry::audit,
};

/// The handler as a service: axum's route table would make some twenty allocations around it ([`crate::http::paths`]).
#[derive(Clone, Debug)]
pub(crate) struct CfApi(pub(crate) Arc<ProxyDesk>);

impl Service<Request> for CfApi {
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
        let desk = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(pass(&desk, request).await.unwrap_or_else(IntoResponse::into_response))
        })
    }
}

/// Judges and forwards one request.
///
/// # Errors
/// No caller with the scope, a malformed target, a denial, what the token engine and the CF API give in place of an
/// answer. CF's own refusals are answers, not errors.
async fn pass(desk: &ProxyDesk, request: Request) -> Result<Response, Problem> {
    let seen = Seen::within(request.extensions());
    let caller = known(&desk.verifier, request.headers(), Some(&seen)).await?;
    let caller = holding(caller, Scope::ApiProxy)?;
    let line = line_of(&request)?;
    let deadline = Instant::now() + desk.defaults.call_timeout;
    let visit = Visit { caller, seen, deadline };
    match desk.policy.admit(&visit.caller, line) {
        Ok(RuleOutcome::Granted(permit)) => {
            let cf = visit.request_client(desk);
            let answer = desk.proxy.forward(&permit, &cf).await?;
            cf.learn_version();
            Ok(visit.told(answer, permit.rule().clone()))
        }
        Ok(RuleOutcome::Write(draft)) => Box::pin(write(draft, visit, desk, request)).await,
        Err(denial) => {
            let (method, path) = (request.method(), request.uri().path());
            let action = format!("{method} {path}");
            Err(denied(denial, desk, visit.is_mutation(method, action).as_ref()))
        }
    }
}

/// Who asks for what, until when.
struct Visit {
    caller: Caller,
    seen: Seen,
    deadline: Instant,
}

impl Visit {
    /// Returns the CF API of the caller's entry, or the default one.
    fn request_client(&self, desk: &ProxyDesk) -> CfRequestClient {
        let own = desk.routes.policies().destination_of(&self.caller);
        let destination = own.unwrap_or(&desk.defaults.destination);
        desk.capi.for_request(destination, self.seen.correlation(), self.deadline)
    }

    fn request_context(&self) -> RequestContext {
        RequestContext::new(&self.caller, self.seen.correlation(), wall_time(), self.deadline)
    }

    fn audited(&self, action: String) -> WriteAudit {
        let trail = self.seen.trail().clone();
        WriteAudit::new(&self.caller, self.seen.correlation(), trail, answer_to).of(action)
    }

    fn is_mutation(&self, method: &Method, action: String) -> Option<WriteAudit> {
        (!matches!(*method, Method::GET | Method::HEAD)).then(|| self.audited(action))
    }

    /// Notes the row of the allow list for the log line.
    fn told(&self, answer: Response<crate::proxy::ProxyBody>, row: RuleId) -> Response {
        self.seen.passed_by(row);
        answer.map(Body::new)
    }
}

/// A write: body, bounds, verdict; then it is out of the caller's hands.
async fn write(
    draft: Draft,
    visit: Visit,
    desk: &ProxyDesk,
    request: Request,
) -> Result<Response, Problem> {
    let rule = draft.rule().clone();
    let mut audited = visit.audited(rule.as_str().to_owned());
    let (verdict, cf) = judged(draft, &visit, desk, request, &mut audited).await?;
    let answer = desk.proxy.write(verdict, cf, audited).await?;
    Ok(visit.told(answer, rule))
}

async fn judged(
    draft: Draft,
    visit: &Visit,
    desk: &ProxyDesk,
    request: Request,
    audited: &mut WriteAudit,
) -> Result<(Verdict, CfRequestClient), Problem> {
    let refused = |denial, audited: &WriteAudit| denied(denial, desk, Some(audited));
    let body = if draft.takes_body() {
        let kind = is_json(request.headers());
        let body = read_body(request, desk.body).await?;
        if !kind {
            let detail = "The body must be sent as Content-Type: application/json.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        body
    } else {
        bytes::Bytes::new()
    };
    let wish = draft.read(&body).map_err(|denial| refused(denial, audited))?;
    audited.host = wish.host().map(str::to_owned);
    let (space, domain) = wish.place().unzip();
    (audited.space, audited.domain) = (space.map(str::to_owned), domain.map(str::to_owned));
    audited.route = wish.route().map(str::to_owned);
    let request_context = visit.request_context();
    let failed = |error: RouteError| unserved(error, audited);
    let outline = desk.routes.outline(&request_context).map_err(failed)?;
    wish.precheck(&outline).map_err(|denial| refused(denial, audited))?;
    let (bounds, cf) = desk.routes.bounds(&request_context).await.map_err(failed)?;
    let mut verdict = wish.clone().judge(&bounds);
    // A deployment may have made the app anew since its guid was learned.
    if matches!(verdict, Err(Denial::Breach(Breach::App)))
        && desk.routes.forget_apps(&request_context).await.map_err(failed)?
    {
        let (bounds, _) = desk.routes.bounds(&request_context).await.map_err(failed)?;
        verdict = wish.judge(&bounds);
    }
    Ok((verdict.map_err(|denial| refused(denial, audited))?, cf))
}

/// Takes the target that the gate has judged.
pub(in crate::http) fn line_of(request: &Request) -> Result<RequestLine, Problem> {
    let odd = |_| Problem::new(Code::MalformedPath, "The path or the query is malformed.");
    let judged = request.extensions().get::<Seen>().and_then(Seen::target).cloned();
    let (path, query) = match judged {
        Some(judged) => judged,
        None => (
            UpstreamPath::parse(request.uri().path()).map_err(odd)?,
            UpstreamQuery::parse(request.uri().query()).map_err(odd)?,
        ),
    };
    if query.names_credential() {
        let detail =
            "A query must not carry a credential; send the token in the Authorization header.";
        return Err(Problem::new(Code::MalformedPath, detail));
    }
    Ok(RequestLine { method: request.method().clone(), path, query })
}

/// JSON, in UTF-8 where a character set is named.
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

/// Tells a denial where it is to be told: counted, and audited if it is about a mutation.
fn denied(denial: Denial, desk: &ProxyDesk, audited: Option<&WriteAudit>) -> Problem {
    let word = match &denial {
        Denial::NoRule => "no_rule",
        Denial::Scope(_) => "scope",
        Denial::Malformed(_) => "body",
        Denial::Breach(_) => "bounds",
    };
    desk.metrics.policy_denied(word);
    let problem = Problem::from(denial);
    if let Some(audited) = audited {
        let spec = problem.code().spec();
        audited.refused(audit::DENIED, spec.name, spec.status);
    }
    problem
}

/// Tells why the caller's limits could not be had.
fn unserved(error: RouteError, audited: &WriteAudit) -> Problem {
    let (word, denied) = (error.word(), error.is_denial());
    let problem = Problem::from(error);
    let spec = problem.code().spec();
    audited.refused(if denied { audit::DENIED } else { word }, spec.name, spec.status);
    problem
}

/// What a caller is told of an error, for the audit line.
fn answer_to(error: &ProxyError) -> (StatusCode, &'static str) {
    let problem = Problem::from(error.clone());
    let spec = problem.code().spec();
    (spec.status, spec.name)
}
