//! The caller of a page: a bearer token, or the cookie of a person who has logged in.
//!
//! Invariant: with an `Authorization` header the cookie is not looked at, and the cookie counts for
//! `GET` only; forms ([`super::own_form`]) have rules of their own. A person without a session is
//! led to the login only by a navigation.

use std::marker::PhantomData;

use axum::{
    extract::{FromRef, FromRequestParts},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, SET_COOKIE, VARY},
    request::Parts,
};

use crate::{
    auth::{Caller, Scope, Verifier},
    http::{
        code::ProblemCode,
        extract::{Allowed, RequiredScope, keep_admitted, require_scope, wall_time},
        page::answer_page,
        problem::{Problem, TokenPresence},
        request_record::RequestRecord,
        state::PublicBase,
    },
    login::{FormHolder, Login, LoginOff, Session, SessionState, SetCookie},
    pages::{HtmlPage, PageAction, Person, Site},
};

/// Says whether the browser shows what it asks for as a page.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A verified caller with the scope `N`, by token or by cookie.
#[derive(Debug)]
pub(crate) struct Viewer<N> {
    pub(crate) caller: Caller,
    renewed: Option<SetCookie>,
    holder: Option<FormHolder>,
    log_out: Option<String>,
    wants_html: bool,
    scope: PhantomData<N>,
}

impl<N> Viewer<N> {
    /// Returns who looks at the page.
    pub(crate) fn person(&self) -> Person {
        let name = self.caller.user().map(str::to_owned);
        Person { name, log_out: self.log_out.clone() }
    }

    /// Returns whether the answer is a page.
    pub(crate) fn wants_html(&self) -> bool {
        self.wants_html
    }

    /// Returns for whom the forms of the page are; `None` for a token that names nobody.
    pub(crate) fn holder(&self) -> Option<&FormHolder> {
        self.holder.as_ref()
    }

    /// Answers with the page or the document, whichever the client accepts.
    pub(crate) fn answer<P: HtmlPage>(
        self,
        page: impl FnOnce(Option<Person>) -> P,
        document: impl FnOnce() -> Response,
    ) -> Response {
        let mut response = if self.wants_html {
            let person = self.person();
            answer_page(StatusCode::OK, &page(Some(person)))
        } else {
            document()
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        set_cookies(&mut response, self.renewed);
        response
    }
}

impl<N: RequiredScope, S> FromRequestParts<S> for Viewer<N>
where
    Verifier: FromRef<S>,
    Login: FromRef<S>,
    PublicBase: FromRef<S>,
    Site: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        Self::identify(parts, state, &Method::GET).await
    }
}

impl<N: RequiredScope> Viewer<N> {
    /// Returns who has sent a request. `method` is the one for which a cookie counts.
    pub(crate) async fn identify<S>(
        parts: &mut Parts,
        state: &S,
        method: &Method,
    ) -> Result<Self, Response>
    where
        Verifier: FromRef<S>,
        Login: FromRef<S>,
        PublicBase: FromRef<S>,
        Site: FromRef<S>,
        S: Send + Sync,
    {
        let wants_html = wants_html(&parts.headers);
        if parts.headers.contains_key(AUTHORIZATION) {
            let allowed = Allowed::<N>::from_request_parts(parts, state).await;
            let told = |it| if wants_html { passed_on(it, N::SCOPE) } else { it };
            let Allowed(caller, scope) =
                allowed.map_err(|problem| told(problem).into_response())?;
            let holder = FormHolder::of_token(&caller);
            return Ok(Self { caller, renewed: None, holder, log_out: None, wants_html, scope });
        }
        let login = Login::from_ref(state);
        let flow = match login.flow() {
            Ok(flow) => flow,
            Err(off) if is_navigation(parts) => return Err(login_is_off(off).into_response()),
            Err(_) => return Err(unauthenticated().into_response()),
        };
        let removed = match flow.session(&parts.headers, wall_time()) {
            SessionState::Valid(session) if parts.method == *method => {
                let holder = Some(session.holder.clone());
                let name = session.caller.user().map(str::to_owned);
                let log_out = Some(Site::from_ref(state).link("/logout"));
                let admitted = admit::<N>(*session, &Verifier::from_ref(state), parts).await;
                let (caller, renewed) = admitted.map_err(|problem| {
                    let person = Person { name, log_out: log_out.clone() };
                    with_role(problem).seen_by(person).into_response()
                })?;
                let scope = PhantomData;
                return Ok(Self { caller, renewed, holder, log_out, wants_html, scope });
            }
            SessionState::Ended(removed) => removed,
            SessionState::Valid(_) | SessionState::Absent => None,
        };
        if *method == Method::POST && wants_html {
            let url = Site::from_ref(state).link("/login?return=%2Fdestinations");
            let ended = unauthenticated().saying(
                "Nothing was done: your login has ended. Log in again and use the button of the page.",
            );
            let again = PageAction { label: "Log in again", url };
            return Err(anonymous(ended.action(again), removed).into_response());
        }
        let mut refused = if is_navigation(parts) {
            let path = form_urlencoded::byte_serialize(parts.uri.path().as_bytes());
            let path = format!("/login?return={}", path.collect::<String>());
            let mut response = StatusCode::FOUND.into_response();
            PublicBase::from_ref(state).locate(response.headers_mut(), &path);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
            response
        } else {
            return Err(anonymous(unauthenticated(), removed).into_response());
        };
        set_cookies(&mut refused, removed);
        Err(refused)
    }
}

/// Counts the request of a person against its limits, and checks the scope.
async fn admit<N: RequiredScope>(
    session: Session,
    verifier: &Verifier,
    parts: &Parts,
) -> Result<(Caller, Option<SetCookie>), Problem> {
    let Session { caller, renewed, .. } = session;
    let admitting = verifier.admit_caller(caller);
    let caller = keep_admitted(admitting, parts.extensions.get::<RequestRecord>()).await?;
    Ok((require_scope(caller, N::SCOPE)?, if_a_person_asks(renewed, parts)))
}

/// What a page asks by itself is no sign of a person: it does not renew the session.
pub(super) fn if_a_person_asks<T>(renewed: Option<T>, parts: &Parts) -> Option<T> {
    renewed.filter(|_| is_navigation(parts))
}

/// Tells a person how to get a scope that is missing.
fn with_role(problem: Problem) -> Problem {
    let Some(role) = problem.missing_scope().and_then(Scope::role) else { return problem };
    let note = format!(
        "An administrator of the subaccount can give it to you: a role collection with the role \
         {role}, in the BTP cockpit under Security, Users. Log out and log in again afterwards: the \
         roles are read at the login."
    );
    problem.note(&note)
}

/// Tells a person whose token an approuter has passed on what is wrong. A token without any role of
/// the broker is not for the broker at all, so it is refused like a foreign one.
fn passed_on(problem: Problem, scope: Scope) -> Problem {
    match (problem.code(), scope.role()) {
        (ProblemCode::Unauthenticated, Some(role)) => problem.note(&format!(
            "An approuter has passed on a token that is not for this broker. Usually the person has \
             no role of the broker yet: an administrator of the subaccount assigns a role collection \
             with the role {role}, in the BTP cockpit under Security, Users. After that, log out of the app that led \
             here, or close the browser, and log in again."
        )),
        _ => with_role(problem),
    }
}

/// The problem of a person who cannot log in here.
pub(crate) fn login_is_off(off: LoginOff) -> Problem {
    let (code, why) = match off {
        LoginOff::Disabled => (
            ProblemCode::Unauthenticated,
            "The login of this broker is switched off (login.enabled). Open it through the \
             approuter that passes your token on. To switch the login on:",
        ),
        LoginOff::MutualTls => (
            ProblemCode::Unauthenticated,
            "This broker accepts only tokens that are bound to a client certificate \
             (auth.require_mtls), so nobody can log in here. What you can do:",
        ),
        LoginOff::NotBound => (
            ProblemCode::IssuerNotBound,
            "The broker has no xsuaa binding, so nobody can log in. Its operator has to do this:",
        ),
        LoginOff::NoKey => (
            ProblemCode::IssuerNotBound,
            "The broker has no key to protect a login with: its xsuaa binding has a certificate in \
             place of a secret. Its operator has to do this:",
        ),
        LoginOff::Certificate => (
            ProblemCode::IssuerNotBound,
            "The certificate of the broker's xsuaa binding cannot be used, so nobody can log in. \
             Its operator has to do this:",
        ),
    };
    Problem::new(code, format!("{why} {}.", off.hint())).source(off)
}

/// Adds the removal of a cookie that does not count.
fn anonymous(problem: Problem, removed: Option<SetCookie>) -> Problem {
    removed.into_iter().fold(problem, |it, cookie| it.header(SET_COOKIE, cookie.into_header()))
}

fn unauthenticated() -> Problem {
    Problem::unauthenticated(TokenPresence::Absent)
}

/// Adds the cookies to an answer.
pub(crate) fn set_cookies(response: &mut Response, cookies: impl IntoIterator<Item = SetCookie>) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie.into_header());
    }
}

/// Returns whether a person opens a page. A script or an image must not be led to the login.
pub(super) fn is_navigation(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate")
        && wants_html(&parts.headers)
}

/// Returns whether the client is a browser: `Accept` names HTML without `q=0` (RFC 9110, 12.5.1).
/// Clients of the CF API accept JSON or `*/*`.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = lines.flat_map(|line| line.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
        };
        html && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, header::ACCEPT};
    use rstest::rstest;

    use super::{if_a_person_asks, wants_html};

    #[rstest]
    #[case::a_person_opens_a_page("GET", "text/html", "navigate", true)]
    #[case::the_script_of_a_page("GET", "application/json", "cors", false)]
    #[case::a_script_that_wants_a_page("GET", "text/html", "same-origin", false)]
    #[case::a_form("POST", "text/html", "navigate", false)]
    fn only_a_person_who_opens_a_page_keeps_the_session_alive(
        #[case] method: &str,
        #[case] accept: &str,
        #[case] mode: &str,
        #[case] expected: bool,
    ) {
        let request = Request::builder().method(method).header(ACCEPT, accept);
        let (parts, ()) = request.header("sec-fetch-mode", mode).body(()).unwrap().into_parts();
        assert_eq!(if_a_person_asks(Some(()), &parts).is_some(), expected);
    }

    #[rstest]
    #[case("text/html,application/xhtml+xml,*/*;q=0.8", true)]
    #[case("application/json, Text/HTML;q=0.1", true)]
    #[case("application/json", false)]
    #[case("*/*", false)]
    #[case("text/html;q=0, application/json", false)]
    #[case("text/htmlx", false)]
    fn a_browser_is_recognized_by_its_accept_header(#[case] accept: &str, #[case] expected: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        assert_eq!(wants_html(&headers), expected);
    }
}
