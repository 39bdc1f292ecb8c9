//! The headers of every answer of the Cloud Controller, by the part that answers (recorded).
//! Nothing removes `X-USER-GUID` and `X-Runtime` here, so a test can find a client that passes them
//! on.

use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    CONTENT_LENGTH, ORIGIN, RETRY_AFTER, VARY,
};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use uuid::Uuid;

use crate::capi::answer::{Answer, AnswerFamily};
use crate::token::CfUser;
use crate::world::RateUsage;

/// CC takes at most this many characters of the caller's request id.
const LONGEST_ID: usize = 255;
const DEFAULTS: &[(&str, &str)] = &[
    ("x-frame-options", "SAMEORIGIN"),
    ("x-xss-protection", "1; mode=block"),
    ("x-content-type-options", "nosniff"),
    ("x-download-options", "noopen"),
    ("x-permitted-cross-domain-policies", "none"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];
/// Zipkin's ids; they come back if both were sent.
const ECHOED: &[&str] = &["x-b3-traceid", "x-b3-spanid"];
const EXPOSED: &str = "x-cf-warnings,x-app-staging-log,x-vcap-request-id,location,range";

/// Adds the headers of the part that answers.
pub(crate) fn add(answer: Answer, parts: &Parts, user: Option<&CfUser>) -> Answer {
    if answer.family == AnswerFamily::Server {
        return answer;
    }
    let defaults: &[(&str, &str)] = match answer.family {
        AnswerFamily::V3 => DEFAULTS,
        AnswerFamily::Old => &[("x-content-type-options", "nosniff")],
        AnswerFamily::Crash
        | AnswerFamily::Plain
        | AnswerFamily::TokenCheck
        | AnswerFamily::Server => &[],
    };
    let timed = matches!(answer.family, AnswerFamily::V3 | AnswerFamily::Crash);
    let mut answer = answer.with(header("x-vcap-request-id"), &request_id(parts));
    for (name, value) in defaults {
        answer = answer.with(header(name), value);
    }
    if timed {
        answer = answer.with(header("x-runtime"), "0.004217");
    }
    if let Some(user) = user {
        answer = answer.with(header("x-user-guid"), &user.guid);
    }
    if answer.family == AnswerFamily::V3 && answer.is_rendered() && names_formats(parts) {
        answer = answer.with(VARY, "Accept");
    }
    let ids: Option<Vec<&str>> = ECHOED.iter().map(|name| text(parts, name)).collect();
    let ids = ids.filter(|_| answer.family != AnswerFamily::TokenCheck);
    for (name, value) in ECHOED.iter().zip(ids.unwrap_or_default()) {
        answer = answer.with(header(name), value);
    }
    match text(parts, ORIGIN.as_str()) {
        Some(origin) => with_cors(answer, origin),
        None => answer,
    }
}

/// Adds what a browser needs (source: `middleware/cors.rb`). This landscape allows every origin.
fn with_cors(answer: Answer, origin: &str) -> Answer {
    let vary = match answer.headers.get(VARY) {
        Some(_) => "Accept,Origin",
        None => "Origin",
    };
    answer
        .with(VARY, vary)
        .with(ACCESS_CONTROL_ALLOW_ORIGIN, origin)
        .with(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")
        .with(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
}

/// Returns the answer to a browser's question before a request from another origin; `None` for any
/// other request.
pub(crate) fn preflight(parts: &Parts) -> Option<Answer> {
    let origin = text(parts, ORIGIN.as_str()).filter(|_| parts.method == Method::OPTIONS)?;
    let method = text(parts, ACCESS_CONTROL_REQUEST_METHOD.as_str())?;
    if !["get", "put", "delete", "post"].contains(&method.to_lowercase().as_str()) {
        return None;
    }
    let mut allowed = vec!["origin".to_owned(), "content-type".into(), "authorization".into()];
    let asked = text(parts, ACCESS_CONTROL_REQUEST_HEADERS.as_str()).unwrap_or_default();
    for name in asked.split(',').map(|name| name.trim().to_lowercase()) {
        if !name.is_empty() && !allowed.contains(&name) {
            allowed.push(name);
        }
    }
    let answer = with_cors(Answer::preflight(), origin)
        .with(ACCESS_CONTROL_ALLOW_METHODS, "GET,PUT,POST,DELETE")
        .with(ACCESS_CONTROL_MAX_AGE, "900")
        .with(ACCESS_CONTROL_ALLOW_HEADERS, &allowed.join(","));
    Some(answer)
}

/// Returns whether Rails looks at `Accept`: it does, unless the value looks like a browser's.
fn names_formats(parts: &Parts) -> bool {
    let accept = text(parts, ACCEPT.as_str()).unwrap_or_default().replace(' ', "");
    !accept.is_empty() && !accept.contains(",*/*") && !accept.contains("*/*,")
}

fn text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// Adds the headers of the rate limiter. `Retry-After` comes with a used-up limit, also with the
/// 401 of a bad token (recorded).
pub(crate) fn add_rate_limit(answer: Answer, count: Option<RateUsage>, seconds: i64) -> Answer {
    let Some(count) = count else {
        return answer;
    };
    let reset = seconds.saturating_add(i64::try_from(count.resets_in).unwrap_or(i64::MAX));
    let answer = answer
        .with(header("x-ratelimit-limit"), &count.limit.to_string())
        .with(header("x-ratelimit-remaining"), &count.remaining.to_string())
        .with(header("x-ratelimit-reset"), &reset.to_string());
    let refuses = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED);
    if count.exceeded && refuses {
        return answer.with(RETRY_AFTER, &count.resets_in.to_string());
    }
    answer
}

/// Returns `{the caller's id}::{uuid}`, or only a uuid. The caller's id keeps letters, digits, `_`
/// and `-`.
fn request_id(parts: &Parts) -> String {
    let sent = ["x-vcap-request-id", "x-request-id"]
        .iter()
        .find_map(|name| parts.headers.get(*name)?.to_str().ok());
    let kept: String = sent
        .unwrap_or_default()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        .take(LONGEST_ID)
        .collect();
    if kept.is_empty() {
        return Uuid::new_v4().to_string();
    }
    format!("{kept}::{}", Uuid::new_v4())
}

fn header(name: &str) -> HeaderName {
    // All names here are constants in lower case.
    HeaderName::from_bytes(name.as_bytes()).unwrap_or(CONTENT_LENGTH)
}
