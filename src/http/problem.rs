//! Problem: the one place where an error becomes a status (RFC 9457, RFC 9209).
//!
//! Invariant: nothing here holds a secret, an upstream's text or an owner's name; the source of an
//! error is kept for the log only. Conversions from other modules' errors are in `error_mapping`.

use std::{error::Error, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
};
use serde::Serialize;

use crate::{
    auth::Scope,
    capi::CfError,
    http::{
        code::{CF_NOT_AUTHENTICATED, CfErrorCode, ProblemCode},
        page::answer_page,
        technical_user::wait_text,
        viewer::wants_html,
    },
    pages::{
        PageAction, PageScript, PageSection, Person, ProblemOccurrence, ProblemPage, Site,
        StatusCard,
    },
    policy::path::is_upstream,
    telemetry::trace::CorrelationId,
};

/// RFC 9209 response header.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// An error document of the broker, not yet bound to a request.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: ProblemCode,
    parts: Box<ProblemFields>,
}

/// The fields besides the code; boxed, because many results hold a problem.
#[derive(Clone, Debug, Default)]
struct ProblemFields {
    detail: String,
    errors: Vec<FieldError>,
    cf_errors: Vec<CfError>,
    /// Overrides how CF would name the code.
    cf_error: Option<CfErrorCode>,
    retry_after: Option<Duration>,
    retryable: Option<Retryable>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    scope: Option<Scope>,
    /// What a person can do next; shown on the page only.
    action: Option<PageAction>,
    /// Who looks at the page.
    person: Option<Person>,
    /// How the technical user is; shown on the page only.
    status_card: Option<StatusCard>,
    /// The card says what happened and what to do, in words for people.
    is_told_by_card: bool,
}

/// Overrides the `retryable` of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retryable {
    /// The same request may succeed later.
    Yes,
    /// It cannot succeed without a change.
    No,
}

/// One member of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FieldError))]
pub(crate) struct FieldError {
    /// What it is called: a member of the body, a parameter or a path variable.
    pub(crate) field: String,
    /// Of a member of the body: its JSON pointer as a URI fragment (RFC 6901, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// What is wrong with it.
    pub(crate) detail: String,
}

/// The document as it is sent.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Problem))]
pub(crate) struct ProblemDocument<'a> {
    /// Path of the page about this code.
    r#type: String,
    /// Title of the code.
    title: &'static str,
    /// HTTP status of the answer.
    status: u16,
    /// What happened and what to do.
    detail: &'a str,
    /// Id of this answer.
    instance: String,
    /// The stable word.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::problem_codes))]
    code: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Id of the request in the log.
    correlation_id: &'a str,
    /// The wrong members of the request.
    #[serde(skip_serializing_if = "ProblemErrors::is_absent")]
    #[cfg_attr(test, schema(value_type = Option<Vec<FieldError>>))]
    errors: ProblemErrors<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(test, schema(ignore))]
    field_errors: &'a [FieldError],
    /// What the CF API said.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(test, schema(value_type = Option<Vec<crate::capi::CfError>>))]
    cf_errors: &'a [CfError],
}

/// Who reads a problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProblemForm {
    /// A caller of the broker's own API: `errors` holds the wrong members of the request.
    Own,
    /// A client of the CF API: `errors` holds one entry in CF's form, because such clients show
    /// nothing else. The wrong members are in `field_errors`.
    CfApi,
    /// A person with a browser.
    Page(Site),
}

impl ProblemForm {
    /// Returns the form for a request with this path and these headers.
    pub(crate) fn of(path: &str, headers: &HeaderMap, site: &Site) -> Self {
        if is_upstream(path) {
            Self::CfApi
        } else if wants_html(headers) {
            Self::Page(site.clone())
        } else {
            Self::Own
        }
    }
}

/// The member `errors`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ProblemErrors<'a> {
    Fields(&'a [FieldError]),
    Cf([CfErrorEntry<'a>; 1]),
}

#[derive(Debug, Serialize)]
struct CfErrorEntry<'a> {
    code: u32,
    title: &'static str,
    detail: &'a str,
}

impl ProblemErrors<'_> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Fields([]))
    }
}

impl Problem {
    /// Makes a problem; `detail` is for the caller: what happened, where, what to do.
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let parts = ProblemFields { detail: detail.into(), ..ProblemFields::default() };
        Self { code, parts: Box::new(parts) }
    }

    /// Returns the code.
    pub(crate) fn code(&self) -> ProblemCode {
        self.code
    }

    /// Returns the text for the caller.
    pub(crate) fn into_detail(self) -> String {
        self.parts.detail
    }

    /// Adds a sentence to the text.
    #[must_use]
    pub(crate) fn note(mut self, sentence: &str) -> Self {
        self.parts.detail.push(' ');
        self.parts.detail.push_str(sentence);
        self
    }

    /// Replaces the text.
    #[must_use]
    pub(crate) fn saying(mut self, detail: &str) -> Self {
        self.parts.detail.clear();
        self.parts.detail.push_str(detail);
        self
    }

    /// Names what is wrong in the request, outside of a JSON body.
    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        self.parts.errors.push(FieldError { field, pointer: None, detail });
        self
    }

    /// Names a member of the body that is wrong; `pointer` is a JSON pointer (RFC 6901).
    #[must_use]
    pub(crate) fn member(
        mut self,
        field: impl Into<String>,
        pointer: &str,
        detail: impl Into<String>,
    ) -> Self {
        let (pointer, detail) = (Some(format!("#{pointer}")), detail.into());
        self.parts.errors.push(FieldError { field: field.into(), pointer, detail });
        self
    }

    /// Says that the members named so far are those of an entry of a list of the body.
    #[must_use]
    pub(crate) fn of_entry(mut self, list: &str, index: usize) -> Self {
        let pointers = self.parts.errors.iter_mut().filter_map(|error| error.pointer.as_mut());
        for pointer in pointers {
            pointer.insert_str(1, &format!("/{list}/{index}"));
        }
        self
    }

    /// Attaches CF's own errors.
    #[must_use]
    pub(crate) fn cf_errors(mut self, errors: &[CfError]) -> Self {
        self.parts.cf_errors.extend_from_slice(errors);
        self
    }

    /// Sets `Retry-After` (whole seconds, at least 1).
    #[must_use]
    pub(crate) fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.parts.retry_after = wait.or(self.parts.retry_after);
        self
    }

    /// Overrides the `retryable` of the code.
    #[must_use]
    pub(crate) fn retryable(mut self, retryable: Retryable) -> Self {
        self.parts.retryable = Some(retryable);
        self
    }

    /// Offers a person what to do next.
    #[must_use]
    pub(crate) fn action(mut self, action: PageAction) -> Self {
        self.parts.action = Some(action);
        self
    }

    /// Names the person who sees the page.
    #[must_use]
    pub(crate) fn seen_by(mut self, person: Person) -> Self {
        self.parts.person = Some(person);
        self
    }

    /// Shows a person how the technical user is.
    #[must_use]
    pub(crate) fn with_status(mut self, card: Option<StatusCard>) -> Self {
        self.parts.status_card = card;
        self
    }

    /// Shows a person how the technical user is, in place of the detail: this problem is the state
    /// of the technical user.
    #[must_use]
    pub(crate) fn told_by(self, card: Option<StatusCard>) -> Self {
        let is_told_by_card = card.as_ref().is_some_and(|card| card.cause.is_some());
        let mut problem = self.with_status(card);
        problem.parts.is_told_by_card = is_told_by_card;
        problem
    }

    /// Adds a header of the answer.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.parts.headers.push((name, value));
        self
    }

    /// Keeps the source for the log line.
    #[must_use]
    pub(crate) fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.parts.source = Some(Arc::new(source));
        self
    }

    /// Closes the connection after the response: what follows on it could be the rest of this
    /// request.
    #[must_use]
    pub(crate) fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// 404 for every unknown path.
    pub(crate) fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "There is nothing under this path.")
    }

    /// 503 while too many requests are being answered.
    pub(crate) fn too_many_in_flight() -> Self {
        let detail = "Too many requests are being answered; repeat in a second.";
        Self::new(ProblemCode::Overloaded, detail).retry_after(Some(Duration::from_secs(1)))
    }

    /// 413 for a body over this many bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(ProblemCode::TooLarge, format!("The body is larger than {limit} bytes."))
    }

    /// 405 with `Allow` (RFC 9110, 15.5.6).
    pub(crate) fn method_not_allowed(allow: &HeaderMap) -> Self {
        let problem = Self::new(
            ProblemCode::MethodNotAllowed,
            "This path does not support this method; see the Allow header.",
        );
        match allow.get(ALLOW) {
            Some(value) => problem.header(ALLOW, value.clone()),
            None => problem,
        }
    }

    /// 401 (RFC 6750): one body for all causes; the challenge has `error` only if a token was sent.
    pub(crate) fn unauthenticated(token: TokenPresence) -> Self {
        let challenge = match token {
            TokenPresence::Absent => "Bearer realm=\"cfapi-broker\"",
            TokenPresence::Invalid => "Bearer realm=\"cfapi-broker\", error=\"invalid_token\"",
        };
        let mut problem = Self::new(
            ProblemCode::Unauthenticated,
            "A valid bearer token is needed in the Authorization header.",
        );
        if token == TokenPresence::Absent {
            problem.parts.cf_error = Some(CF_NOT_AUTHENTICATED);
        }
        problem.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// 403 (RFC 6750): the token is good, a scope is missing. One text, whether the token lacks the
    /// scope or `auth.pins` reserves it for others: only the log tells.
    pub(crate) fn scope_missing(scope: Scope) -> Self {
        let detail = format!(
            "This call needs the scope {}, and this caller does not have it. If its token holds the scope, the log of \
             the broker says why it does not count.",
            scope.name()
        );
        Self::new(ProblemCode::ForbiddenScope, detail).lacking(scope)
    }

    /// Returns the scope that the caller does not have.
    pub(crate) fn missing_scope(&self) -> Option<Scope> {
        self.parts.scope
    }

    /// Names the missing scope for the log and adds the challenge (RFC 6750, 3.1).
    #[must_use]
    pub(crate) fn lacking(mut self, scope: Scope) -> Self {
        self.parts.scope = Some(scope);
        let challenge = "Bearer realm=\"cfapi-broker\", error=\"insufficient_scope\"";
        self.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Returns the cause with all its sources, for the log.
    pub(crate) fn error_chain(&self) -> Option<String> {
        let first: &dyn Error = self.parts.source.as_deref()?;
        let mut text = first.to_string();
        let mut next = first.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        Some(text)
    }

    /// Writes the document for the request with this correlation id.
    pub(crate) fn render(&self, correlation: &CorrelationId, form: &ProblemForm) -> Response {
        if let ProblemForm::Page(site) = form {
            let page = self.page(correlation, site);
            let mut response = answer_page(self.code.spec().status, &page);
            self.decorate(response.headers_mut());
            return response;
        }
        let body = serde_json::to_vec(&self.document(correlation, form)).unwrap_or_default();
        let mut response = (self.code.spec().status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if *form == ProblemForm::Own {
            // A browser gets a page.
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        }
        self.decorate(response.headers_mut());
        response
    }

    /// Returns the page for a person.
    fn page(&self, correlation: &CorrelationId, site: &Site) -> ProblemPage {
        let parts = &*self.parts;
        let card = parts.status_card.clone();
        let script = if card.is_some() { PageScript::Live } else { PageScript::None };
        let frame = site.frame(PageSection::Other, script);
        let says_it = self.code == ProblemCode::IssuerNotBound;
        let frame = if says_it { frame.without_notice() } else { frame };
        let fields = parts.errors.iter();
        let occurrence = ProblemOccurrence {
            detail: (!parts.is_told_by_card).then(|| parts.detail.clone()),
            fields: fields.map(|one| [one.field.clone(), one.detail.clone()]).collect(),
            cf_errors: parts.cf_errors.iter().map(|error| error.detail.clone()).collect(),
            wait: parts.retry_after.map(|wait| wait_text(whole_seconds(wait))),
            correlation: correlation.as_str().to_owned(),
            action: parts.action.clone(),
        };
        ProblemPage {
            frame: frame.seen_by(parts.person.clone()),
            problem: self.code.summary(),
            occurrence: Some(occurrence),
            card,
        }
    }

    /// Returns the document as a value, for responses that hold several.
    pub(crate) fn to_value(&self, correlation: &CorrelationId) -> serde_json::Value {
        serde_json::to_value(self.document(correlation, &ProblemForm::Own)).unwrap_or_default()
    }

    fn document<'a>(
        &'a self,
        correlation: &'a CorrelationId,
        form: &ProblemForm,
    ) -> ProblemDocument<'a> {
        let spec = self.code.spec();
        let fields = self.parts.errors.as_slice();
        let (errors, field_errors): (_, &[_]) = match form {
            ProblemForm::Own | ProblemForm::Page(_) => (ProblemErrors::Fields(fields), &[]),
            ProblemForm::CfApi => (ProblemErrors::Cf([self.cf_entry()]), fields),
        };
        ProblemDocument {
            r#type: self.code.summary().path(),
            title: spec.title,
            status: spec.status.as_u16(),
            detail: &self.parts.detail,
            instance: uuid::Uuid::new_v4().urn().to_string(),
            code: spec.name,
            retryable: self
                .parts
                .retryable
                .map_or(spec.retryable, |retryable| retryable == Retryable::Yes),
            correlation_id: correlation.as_str(),
            errors,
            field_errors,
            cf_errors: &self.parts.cf_errors,
        }
    }

    /// Returns the problem as an entry of CF's `errors`.
    fn cf_entry(&self) -> CfErrorEntry<'_> {
        let CfErrorCode { code, title } = self.parts.cf_error.unwrap_or(self.code.cf_error());
        CfErrorEntry { code, title, detail: &self.parts.detail }
    }

    fn decorate(&self, headers: &mut HeaderMap) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.parts.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        let proxy = self.code.spec().proxy.map(|error| format!("cfapi-broker; error={error}"));
        if let Some(Ok(value)) = proxy.map(HeaderValue::try_from) {
            headers.insert(PROXY_STATUS, value);
        }
        for (name, value) in &self.parts.headers {
            headers.append(name, value.clone());
        }
    }
}

/// A wait as `Retry-After` says it: whole seconds, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().max(1)
}

/// Whether a refused caller has sent a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenPresence {
    /// No `Authorization` header.
    Absent,
    /// An invalid token.
    Invalid,
}

/// Passes the problem to the outermost layer, which knows the correlation id and writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.spec().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
