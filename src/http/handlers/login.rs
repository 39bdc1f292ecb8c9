//! `/login`, `/login/callback` and `/logout`: the steps of a login in a browser.

use std::time::Duration;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
};

use crate::{
    http::{
        code::ProblemCode,
        extract::wall_time,
        page::answer_page,
        problem::Problem,
        state::PublicBase,
        viewer::{login_is_off, set_cookies},
    },
    login::{CodeFault, Login, LoginError, LoginFlow, SessionState, SetCookie},
    pages::{LoggedOutHtml, PageAction, PageScript, PageSection, Site},
    upstream::CERTIFICATE_ADVICE,
};

/// Leads a person to XSUAA.
///
/// # Errors
/// The login is off.
#[cfg_attr(test, utoipa::path(
    get, path = "/login", operation_id = "start_login", tag = "browser",
    summary = "Lead a person to XSUAA",
    params(("return" = Option<String>, Query, description = "The page to show after the login", example = "/spaces")),
    responses((status = 302, description = "XSUAA's login", headers(("Location" = String, description = "XSUAA")))),
    security(())
))]
pub(crate) async fn start(
    State(login): State<Login>,
    State(base): State<PublicBase>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = login.flow().map_err(login_is_off)?;
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let wanted = pairs.find(|(name, _)| name == "return").map(|(_, value)| value);
    let begun = flow.start(wanted.as_deref(), &base.0, &headers, wall_time());
    let begun = begun.map_err(|error| failed(error, &base))?;
    redirect(StatusCode::FOUND, &begun.location, begun.cookies)
}

/// Takes what XSUAA sent with the browser, and begins the session.
#[cfg_attr(test, utoipa::path(
    get, path = "/login/callback", operation_id = "finish_login", tag = "browser",
    summary = "Take what XSUAA sends with the browser, and begin the session",
    params(
        ("state" = Option<String>, Query, description = "As it was sent to XSUAA"),
        ("code" = Option<String>, Query, description = "XSUAA's code"),
        ("error" = Option<String>, Query, description = "XSUAA refuses"),
    ),
    responses((status = 302, description = "The page that was asked for", headers(("Location" = String, description = "A page of the broker")))),
    security(())
))]
pub(crate) async fn callback(
    State(login): State<Login>,
    State(base): State<PublicBase>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = login.flow().map_err(login_is_off)?;
    let query = query.unwrap_or_default();
    let used = LoginFlow::used(&query);
    match flow.finish(&query, &base.0, &headers, wall_time()).await {
        Ok(done) => {
            let cookies = used.into_iter().chain([done.cookie]);
            redirect(StatusCode::FOUND, &base.link(&done.target), cookies)
        }
        Err(error) => Err(used.into_iter().fold(failed(error, &base), |problem, removed| {
            problem.header(SET_COOKIE, removed.into_header())
        })),
    }
}

/// Ends the session here; its page goes on to XSUAA's logout. Works without a session too.
///
/// # Errors
/// The login is off.
#[cfg_attr(test, utoipa::path(
    post, path = "/logout", operation_id = "log_out", tag = "browser",
    summary = "End the session of a browser",
    responses((status = 200, description = "A page that goes on to XSUAA's logout", body = String, content_type = "text/html; charset=utf-8")),
    security(())
))]
pub(crate) async fn logout(
    State(login): State<Login>,
    State(base): State<PublicBase>,
    State(site): State<Site>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = login.flow().map_err(login_is_off)?;
    let ended = flow.sign_out(&base.0, &headers);
    let frame = site.frame(PageSection::Other, PageScript::None);
    let page = LoggedOutHtml { frame, next: Some(ended.location) };
    let mut response = answer_page(StatusCode::OK, &page);
    set_cookies(&mut response, ended.cookies);
    Ok(response)
}

/// `GET /logged-out`: where XSUAA leads to after a logout. A person who is still logged in gets the
/// spaces.
///
/// # Errors
/// The login is off.
#[cfg_attr(test, utoipa::path(
    get, path = "/logged-out", operation_id = "read_logged_out", tag = "browser",
    summary = "The page after a logout",
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8"),
        (status = 302, description = "A person who is still logged in is led to `/spaces`",
            headers(("Location" = String, description = "`/spaces`"))),
    ),
    security(())
))]
pub(crate) async fn logged_out(
    State(login): State<Login>,
    State(base): State<PublicBase>,
    State(site): State<Site>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = login.flow().map_err(login_is_off)?;
    if matches!(flow.session(&headers, wall_time()), SessionState::Valid(_)) {
        return redirect(StatusCode::FOUND, &base.link("/spaces"), None);
    }
    let frame = site.frame(PageSection::Other, PageScript::None);
    Ok(answer_page(StatusCode::OK, &LoggedOutHtml { frame, next: None }))
}

/// 403 for a form of another site.
pub(crate) fn foreign_form() -> Response {
    let detail =
        "This request comes from a page of another site. Use the button on the broker's own page.";
    Problem::new(ProblemCode::CrossSite, detail).into_response()
}

fn redirect(
    status: StatusCode,
    location: &str,
    cookies: impl IntoIterator<Item = SetCookie>,
) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(location).map_err(|error| {
        Problem::new(ProblemCode::Internal, "The login address is not valid.").source(error)
    })?;
    let mut response = (status, [(LOCATION, location)]).into_response();
    set_cookies(&mut response, cookies);
    Ok(response)
}

/// The problem of a login that failed. It offers to begin again.
fn failed(error: LoginError, base: &PublicBase) -> Problem {
    let again = PageAction { label: "Log in again", url: base.link("/login") };
    let problem = match &error {
        LoginError::Token(cause) if cause.retry_after().is_some() => Problem::from(cause.clone()),
        LoginError::NotAccepted { .. } | LoginError::Token(_) => Problem::new(
            ProblemCode::LoginFailed,
            "This login was not accepted: it was begun in another browser, took longer than 10 \
             minutes, was used before, or XSUAA refused it. Log in again.",
        ),
        LoginError::Cookie => Problem::new(
            ProblemCode::Internal,
            "The broker could not make the cookie of this login; its log has the correlation id.",
        ),
        LoginError::Busy => Problem::new(
            ProblemCode::Overloaded,
            "Too many people log in at this moment. Log in again in a few seconds.",
        )
        .retry_after(Some(Duration::from_secs(5))),
        LoginError::Exchange { fault, .. } => not_exchanged(*fault),
    };
    problem.source(error).action(again)
}

/// The problem of a code that XSUAA did not exchange.
fn not_exchanged(fault: CodeFault) -> Problem {
    let wait = Some(Duration::from_secs(10));
    match fault {
        CodeFault::Code => Problem::new(
            ProblemCode::LoginFailed,
            "XSUAA does not accept the code of this login: it was used before, is too old, or \
             belongs to another login. Log in again.",
        ),
        CodeFault::Client => Problem::new(
            ProblemCode::IssuerNotBound,
            "XSUAA refuses the credentials of the broker's xsuaa binding, so nobody can log in. \
             Bind the service instance again and restart the broker.",
        ),
        CodeFault::Certificate => {
            let detail =
                format!("XSUAA cannot be asked, so nobody can log in: {CERTIFICATE_ADVICE}.");
            Problem::new(ProblemCode::CertificateRefused, detail)
        }
        CodeFault::Unavailable => Problem::new(
            ProblemCode::KeysUnavailable,
            "XSUAA gives no usable answer now, so nobody can log in. Log in again in a minute.",
        )
        .retry_after(wait),
    }
}
