//! Who opens a page that is open to everyone.
//!
//! Invariant: nobody is refused. A token or a cookie that does not count is nobody.

use std::convert::Infallible;

use axum::{
    extract::{FromRef, FromRequestParts},
    response::Response,
};
use http::{StatusCode, header::AUTHORIZATION, request::Parts};

use crate::{
    auth::Verifier,
    http::{
        extract::{VerifiedCaller, wall_time},
        page::answer_page,
        viewer::{if_a_person_asks, set_cookies},
    },
    login::{Login, SessionState, SetCookie},
    pages::{HtmlPage, Person, Site},
};

/// A person, known or not.
#[derive(Debug)]
pub(crate) struct Visitor {
    person: Option<Person>,
    cookie: Option<SetCookie>,
}

impl Visitor {
    /// Returns whether the person is known.
    pub(crate) fn is_known(&self) -> bool {
        self.person.is_some()
    }

    /// Answers with a page that names the person.
    pub(crate) fn answer<P: HtmlPage>(self, page: impl FnOnce(Option<Person>) -> P) -> Response {
        let mut response = answer_page(StatusCode::OK, &page(self.person));
        set_cookies(&mut response, self.cookie);
        response
    }
}

impl<S> FromRequestParts<S> for Visitor
where
    Verifier: FromRef<S>,
    Login: FromRef<S>,
    Site: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        if parts.headers.contains_key(AUTHORIZATION) {
            let caller = VerifiedCaller::from_request_parts(parts, state).await.ok();
            let name = |VerifiedCaller(caller): VerifiedCaller| caller.user().map(str::to_owned);
            let person = caller.map(|caller| Person { name: name(caller), log_out: None });
            return Ok(Self { person, cookie: None });
        }
        let login = Login::from_ref(state);
        let session = login.flow().map(|flow| flow.session(&parts.headers, wall_time()));
        Ok(match session {
            Ok(SessionState::Valid(session)) => {
                let name = session.caller.user().map(str::to_owned);
                let log_out = Some(Site::from_ref(state).link("/logout"));
                let cookie = if_a_person_asks(session.renewed, parts);
                Self { person: Some(Person { name, log_out }), cookie }
            }
            Ok(SessionState::Ended(cookie)) => Self { person: None, cookie },
            Ok(SessionState::Absent) | Err(_) => Self { person: None, cookie: None },
        })
    }
}
