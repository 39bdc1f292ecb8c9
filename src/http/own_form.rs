//! Forms of the broker's own pages that change something.
//!
//! Invariant: a form counts only from the broker's own origin, with the token that a page of the
//! broker holds for the same person, for at most 15 minutes. Only here does a cookie count for a
//! `POST`, besides the logout.

use axum::{
    extract::{FromRef, FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, ORIGIN},
};
use serde::de::DeserializeOwned;
use url::Url;

use crate::{
    auth::Verifier,
    http::{
        code::ProblemCode,
        extract::{BodyLimits, RequiredScope, read_body, wall_time},
        problem::Problem,
        state::PublicBase,
        viewer::Viewer,
    },
    login::{FormUse, Login},
    pages::{PageAction, Site},
};

/// The field that holds the token.
pub(crate) const FORM_FIELD: &str = "form";

/// A form, who sent it, and what the broker wrote into it.
#[derive(Debug)]
pub(crate) struct OwnForm<N, T> {
    pub(crate) viewer: Viewer<N>,
    pub(crate) content: T,
}

/// What is wrong with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormRefusal {
    /// `Origin` is missing, twice, or not that of the public base.
    Origin,
    /// The token is missing, changed, for somebody else, or too old.
    Token,
}

impl<N: RequiredScope, T: DeserializeOwned, S> FromRequest<S> for OwnForm<N, T>
where
    Verifier: FromRef<S>,
    Login: FromRef<S>,
    PublicBase: FromRef<S>,
    Site: FromRef<S>,
    BodyLimits: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let viewer = Viewer::<N>::identify(&mut parts, state, &Method::POST).await?;
        let refused = |problem: Problem| problem.seen_by(viewer.person()).into_response();
        let base = PublicBase::from_ref(state);
        let foreign = |fault: FormRefusal| {
            let url = Site::from_ref(state).link("/destinations");
            let back = PageAction { label: "Back to the destinations", url };
            refused(fault.problem(&base).action(back))
        };
        if !is_own_origin(&parts.headers, &base) {
            return Err(foreign(FormRefusal::Origin));
        }
        if !is_form(&parts.headers) {
            let detail = "A form is sent as Content-Type: application/x-www-form-urlencoded.";
            return Err(refused(Problem::new(ProblemCode::UnsupportedMediaType, detail)));
        }
        let request = Request::from_parts(parts, body);
        let bytes = read_body(request, BodyLimits::from_ref(state)).await.map_err(refused)?;
        let login = Login::from_ref(state);
        let opened = token_in(&bytes).and_then(|token| {
            login.forms()?.open(FormUse::Release, viewer.holder()?, &token, wall_time())
        });
        match opened {
            Some(content) => Ok(Self { viewer, content }),
            None => Err(foreign(FormRefusal::Token)),
        }
    }
}

impl FormRefusal {
    fn problem(self, base: &PublicBase) -> Problem {
        match self {
            Self::Origin => Problem::new(
                ProblemCode::CrossSite,
                format!(
                    "Nothing was done: the browser does not say that this form comes from a page \
                     of the broker at {}. Open the page there and use its button.",
                    base.origin()
                ),
            ),
            Self::Token => Problem::new(
                ProblemCode::FormInvalid,
                "Nothing was done: this form was not made for you, or more than 15 minutes ago. \
                 Open the page again and use its button.",
            ),
        }
    }
}

/// Returns whether the browser says that the form comes from a page of the broker.
fn is_own_origin(headers: &HeaderMap, base: &PublicBase) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let expected = Url::parse(base.origin()).map(|url| url.origin().ascii_serialization());
    expected.is_ok_and(|expected| expected != "null" && origin.as_bytes() == expected.as_bytes())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Returns the token of a form; `None` if it is missing or there twice.
fn token_in(body: &[u8]) -> Option<String> {
    let mut tokens = form_urlencoded::parse(body).filter(|(name, _)| name == FORM_FIELD);
    let (_, token) = tokens.next()?;
    tokens.next().is_none().then(|| token.into_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::ORIGIN};
    use rstest::rstest;

    use super::{is_own_origin, token_in};
    use crate::http::state::PublicBase;

    #[rstest]
    #[case("https://gateway.example.test/cfapi", &["https://gateway.example.test"], true)]
    #[case("https://Gateway.example.test:443", &["https://gateway.example.test"], true)]
    #[case("http://127.0.0.1:8080", &["http://127.0.0.1:8080"], true)]
    #[case("https://gateway.example.test", &["https://gateway.example.test:443"], false)]
    #[case("https://gateway.example.test", &["http://gateway.example.test"], false)]
    #[case("https://gateway.example.test", &["https://gateway.example.test:8443"], false)]
    #[case("https://gateway.example.test", &["https://gateway.example.test/"], false)]
    #[case("https://gateway.example.test", &["https://gateway.example.test.evil.test"], false)]
    #[case("https://gateway.example.test", &["https://other.example.test"], false)]
    #[case("https://gateway.example.test", &["null"], false)]
    #[case("null", &["null"], false)]
    #[case("https://gateway.example.test", &[""], false)]
    #[case("https://gateway.example.test", &[], false)]
    #[case("https://a.test", &["https://a.test", "https://a.test"], false)]
    fn only_the_origin_of_the_public_base_is_own(
        #[case] base: &str,
        #[case] origins: &[&'static str],
        #[case] expected: bool,
    ) {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_static(origin));
        }
        assert_eq!(is_own_origin(&headers, &PublicBase(base.into())), expected);
    }

    #[rstest]
    #[case("form=a", Some("a"))]
    #[case("x=1&form=a%20b", Some("a b"))]
    #[case("form=a&form=a", None)]
    #[case("forms=a", None)]
    #[case("", None)]
    fn a_token_is_there_once(#[case] body: &str, #[case] expected: Option<&str>) {
        assert_eq!(token_in(body.as_bytes()).as_deref(), expected);
    }
}
