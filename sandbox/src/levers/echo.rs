//! Errors that repeat what the client sent: a carrier of canaries. Invariant: the body has the form
//! of the part's own errors, and only the text in it is unusual. Armed by the lever `echo`, written
//! for `service`.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::journal::{is_form, is_secret};
use crate::part::Part;

/// What an error of the lever `echo` says, and where.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    pub(crate) status: Option<StatusCode>,
    /// The text. `None` is what the client sent.
    pub(crate) text: Option<String>,
    pub(crate) spelling: EchoSpelling,
    pub(crate) place: EchoPlace,
    /// Characters in front of the text, so that a reader that cuts first cuts the canary.
    pub(crate) before: usize,
}

/// How each canary is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EchoSpelling {
    Plain,
    /// As in a form.
    Url,
    /// With the five entities of HTML.
    Html,
    /// As inside a JSON text, which the body holds as a text again.
    Json,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EchoPlace {
    /// The free text of the part's own error.
    Description,
    /// The member that should be a short code.
    Code,
    /// An HTML page.
    Page,
    /// The router's header, with an empty body.
    Header,
}

impl Echo {
    /// Builds the answer to one request.
    pub(crate) fn answer(
        &self,
        part: Part,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Response<Body> {
        let sent = || sent_by(head, body);
        let canaries = self.text.clone().map_or_else(sent, |text| vec![text]);
        let canaries: Vec<String> = canaries.iter().map(|text| self.spelled(text)).collect();
        let text = format!("{}{}", "-".repeat(self.before), canaries.join(" "));
        let (content_type, body) = match self.place {
            EchoPlace::Page => {
                ("text/html;charset=UTF-8", format!("<html><body>{text}</body></html>"))
            }
            EchoPlace::Header => ("", String::new()),
            EchoPlace::Description => ("application/json", error_body(part, "", &text).to_string()),
            EchoPlace::Code => ("application/json", error_body(part, &text, "refused").to_string()),
        };
        let mut answer = Response::new(Body::from(Bytes::from(body)));
        *answer.status_mut() = self.status.unwrap_or_else(|| usual_status(part));
        let lines = match self.place {
            EchoPlace::Header => (HeaderName::from_static("x-cf-routererror"), text.as_str()),
            EchoPlace::Description | EchoPlace::Code | EchoPlace::Page => {
                (header::CONTENT_TYPE, content_type)
            }
        };
        if let Ok(value) = HeaderValue::from_bytes(lines.1.as_bytes()) {
            answer.headers_mut().insert(lines.0, value);
        }
        answer
    }

    fn spelled(&self, text: &str) -> String {
        match self.spelling {
            EchoSpelling::Plain => text.to_owned(),
            EchoSpelling::Url => form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            EchoSpelling::Html => html_escaped(text),
            EchoSpelling::Json => Value::from(text).to_string(),
        }
    }
}

/// Escapes the five characters that UAA escaped before 77.9.
pub(crate) fn html_escaped(text: &str) -> String {
    let amp = text.replace('&', "&amp;");
    let quotes = amp.replace('"', "&quot;").replace('\'', "&#39;");
    quotes.replace('<', "&lt;").replace('>', "&gt;")
}

/// An error of a part. An empty code is the usual one.
fn error_body(part: Part, code: &str, text: &str) -> Value {
    let code = |usual: &str| if code.is_empty() { usual.to_owned() } else { code.to_owned() };
    match part {
        Part::Uaa | Part::Xsuaa => {
            json!({"error": code("invalid_client"), "error_description": text})
        }
        Part::Destination => json!({"ErrorMessage": text, "ErrorCode": code("refused")}),
        Part::Cf => json!({"errors": [{"detail": text, "title": code("CF-UnprocessableEntity"),
            "code": 10_008}]}),
        Part::Ias => json!({"error": code("invalid_request"), "error_description": text}),
    }
}

fn usual_status(part: Part) -> StatusCode {
    match part {
        Part::Uaa | Part::Xsuaa => StatusCode::UNAUTHORIZED,
        Part::Destination | Part::Ias => StatusCode::BAD_REQUEST,
        Part::Cf => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Everything secret in a request: secret fields of query and form, the credentials, and the path
/// with its query.
fn sent_by(head: &http::request::Parts, body: &[u8]) -> Vec<String> {
    let form = if is_form(&head.headers) { body } else { b"" };
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
    let fields = pairs.filter(|(name, _)| is_secret(name)).map(|(_, value)| value.into_owned());
    let path = head.uri.path_and_query().map(ToString::to_string);
    let sent = fields.chain(credentials(&head.headers)).chain(path);
    sent.filter(|text| !text.is_empty()).collect()
}

/// A bearer token. Of Basic credentials both the encoded text and the secret as it was typed.
fn credentials(headers: &HeaderMap) -> Vec<String> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((_, encoded)) = value.and_then(|value| value.split_once(' ')) else {
        return Vec::new();
    };
    let decoded = STANDARD.decode(encoded).ok().and_then(|raw| String::from_utf8(raw).ok());
    let secret = decoded.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, secret)| {
        let blanks = secret.replace('+', " ");
        percent_encoding::percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
    });
    vec![encoded.to_owned(), secret.unwrap_or_default()]
}
