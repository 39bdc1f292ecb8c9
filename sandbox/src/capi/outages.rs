//! The answers of a Cloud Controller that does not reach its database or its UAA. They come before
//! the rate limiter and before any part of the API.

use http::StatusCode;
use http::request::Parts;

use crate::capi::Bearer;
use crate::capi::answer::Answer;
use crate::capi::errors::uaa_unavailable;
use crate::capi::response_headers;
use crate::world::{CfWorld, OutageAnswer};

/// Returns the answer if CC cannot judge the request.
pub(super) fn answer(world: &CfWorld, parts: &Parts, bearer: &Bearer) -> Option<Answer> {
    let end = world.with_state(|state| {
        let end = state.outages.end(bearer);
        if let (None, Ok(user)) = (end, bearer) {
            state.meet(user);
        }
        end
    });
    end.map(|end| match end {
        OutageAnswer::Crash => Answer::server(StatusCode::INTERNAL_SERVER_ERROR),
        OutageAnswer::UaaUnavailable => {
            let (refusal, path) = (uaa_unavailable(), parts.uri.path());
            let body = if path.starts_with("/v3") {
                refusal.body().render()
            } else if path.starts_with("/v2") {
                refusal.old_body().render()
            } else {
                String::new()
            };
            response_headers::add(Answer::token_check(body), parts, None)
        }
    })
}
