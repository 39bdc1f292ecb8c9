//! The login hint as UAA reads it: what does not parse is dropped without an error. Invariant:
//! without a hint the default provider is asked, so a client's mistake shows in the journal. Called
//! by `password`.

use http::StatusCode;
use serde_json::Value;

use crate::identity::no_such_provider;
use crate::oauth::{OAuthRefusal, escapes_hold};

/// Returns the provider to ask.
///
/// # Errors
/// F8 and F10, and two failures of UAA itself: an empty origin while a default provider is set, and
/// a broken percent escape (deduced).
pub(crate) fn provider(hint: Option<&str>, default: Option<&str>) -> Result<String, OAuthRefusal> {
    let Some(hint) = hint else {
        return no_hint(default);
    };
    let decoded = twice_decoded(hint).ok_or_else(server_error)?;
    match origin(&decoded) {
        ParsedHint::Origin(origin) => Ok(origin),
        ParsedHint::NoOrigin if default.is_some() => Err(server_error()),
        ParsedHint::NoOrigin => Err(no_such_provider()),
        ParsedHint::NoHint => no_hint(default),
    }
}

/// What the decoded text says.
enum ParsedHint {
    Origin(String),
    /// `{}` or a null origin.
    NoOrigin,
    /// Not JSON, not an object, or an object with another member.
    NoHint,
}

fn no_hint(default: Option<&str>) -> Result<String, OAuthRefusal> {
    default.map(str::to_owned).ok_or_else(|| {
        OAuthRefusal::invalid_client(
            "The client is authorized for multiple identity providers that support password grant and could not determine which identity provider to use.",
        )
    })
}

/// Only the first JSON value is read, whatever follows. A number or a boolean is the name of a
/// provider, which none has.
fn origin(text: &str) -> ParsedHint {
    let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let members = match first {
        Some(Ok(Value::Object(members))) => members,
        Some(Ok(Value::Number(number))) => return ParsedHint::Origin(number.to_string()),
        _ => return ParsedHint::NoHint,
    };
    if members.keys().any(|name| name != "origin") {
        return ParsedHint::NoHint;
    }
    match members.get("origin") {
        Some(Value::String(origin)) => ParsedHint::Origin(origin.clone()),
        None | Some(Value::Null) => ParsedHint::NoOrigin,
        Some(Value::Number(number)) => ParsedHint::Origin(number.to_string()),
        Some(Value::Bool(value)) => ParsedHint::Origin(value.to_string()),
        Some(Value::Array(_) | Value::Object(_)) => ParsedHint::NoHint,
    }
}

/// Decodes as Java's `URLDecoder`, although the servlet decoded already. `None` for a broken
/// escape.
fn twice_decoded(text: &str) -> Option<String> {
    let blanks = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&blanks).decode_utf8_lossy().into_owned();
    escapes_hold(text).then_some(decoded)
}

fn server_error() -> OAuthRefusal {
    OAuthRefusal::unexplained(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::provider;

    const DEFAULT: Option<&str> = Some("sap.ids");

    fn asked(hint: &str) -> String {
        provider(Some(hint), DEFAULT).unwrap_or_else(|refusal| refusal.status.to_string())
    }

    #[test]
    fn one_and_two_encodings_are_the_same() {
        assert_eq!(asked(r#"{"origin":"acme-platform"}"#), "acme-platform");
        assert_eq!(asked("%7B%22origin%22:%22acme-platform%22%7D"), "acme-platform");
    }

    #[test]
    fn a_hint_that_does_not_parse_counts_as_absent() {
        for hint in ["acme-platform", r#"{"origin":"x","user":"y"}"#, "[]", r#"{"origin":[]}"#, ""]
        {
            assert_eq!(asked(hint), "sap.ids", "{hint}");
        }
        assert_eq!(provider(None, DEFAULT).unwrap(), "sap.ids");
        assert_eq!(asked(r#"{"origin":1}"#), "1");
        assert_eq!(asked(r#"{"origin":"x"}x"#), "x");
        assert_eq!(provider(None, None).unwrap_err().error, "invalid_client");
    }

    #[test]
    fn an_empty_origin_and_a_broken_escape_are_server_errors() {
        for hint in ["{}", r#"{"origin":null}"#, "%7", "%zz"] {
            assert_eq!(asked(hint), "500 Internal Server Error", "{hint}");
        }
        let text = provider(Some("{}"), None).unwrap_err().description;
        assert!(text.starts_with("The origin provided in the login_hint"));
    }
}
