//! Capped reading and JSON decoding. Errors give line, column and kind, never the text.
//!
//! Invariant: text from outside leaves this file only as a decoded value, never inside an error.
//! The only place that parses JSON from outside: bindings, destinations, tokens, keys, CF's
//! responses.

use crate::upstream::{error::TransportError, mismatch::Mismatch, stream::ResponseBody};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::cmp::max;
use zeroize::Zeroizing;

/// The first buffer when no length is announced. Most token responses fit.
const FIRST_BUFFER: usize = 4 * 1024;

/// Decodes JSON.
///
/// # Errors
/// [`DecodeError`] with the position and the kind of the fault. The parser's own text quotes the
/// input (recorded: it printed a password), so it is dropped.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that parses; its errors are stripped below"
)]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::of(&error))
}

/// Decodes a JSON body of our own API.
///
/// # Errors
/// [`Mismatch`]: which member is wrong, and what is expected. Only a body that is refused is read
/// for a second time to find that out.
pub fn decode_request<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Mismatch> {
    #[expect(clippy::disallowed_methods, reason = "as above")]
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => {
            let json = &mut serde_json::Deserializer::from_slice(bytes);
            match serde_path_to_error::deserialize::<_, T>(json) {
                Err(located) => Mismatch::at(located.path(), &located.inner().to_string()),
                Ok(_) => Mismatch::syntax(DecodeError::of(&error)),
            }
        }
        Category::Io | Category::Syntax | Category::Eof => {
            Mismatch::syntax(DecodeError::of(&error))
        }
    })
}

/// Decodes JSON of a local file or variable, as [`decode`]; a byte order mark before it is skipped.
///
/// # Errors
/// As [`decode`]; UTF-16 is named, because editors on Windows write it.
pub fn decode_local<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(DecodeError { line: 1, column: 1, kind: "UTF-16 instead of UTF-8" });
    }
    decode(without_mark(bytes))
}

/// Returns a local text without the byte order mark that editors on Windows write before UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Where and how an input differs from what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct DecodeError {
    /// From 1; 0 where the parser does not know.
    pub line: usize,
    /// From 1; 0 where the parser does not know.
    pub column: usize,
    /// One of a few fixed words.
    pub kind: &'static str,
}

impl DecodeError {
    fn of(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Io => "read error",
            Category::Syntax => "syntax error",
            Category::Data => "wrong type or missing field",
            Category::Eof => "unexpected end",
        };
        Self { line: error.line(), column: error.column(), kind }
    }
}

/// Reads a body to its end.
///
/// # Errors
/// The errors of the body, which knows its cap.
pub(super) async fn read_whole(
    mut source: ResponseBody,
) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    let announced = source.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let capacity = announced.unwrap_or(FIRST_BUFFER);
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(frame) = source.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        let length = body.len().saturating_add(chunk.len());
        if length > body.capacity() {
            body = grow(&body, max(length, body.capacity().saturating_mul(2)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Copies into a larger buffer and wipes the old one. A `Vec` that grows by itself leaves its old
/// bytes in memory.
fn grow(body: &Zeroizing<Vec<u8>>, capacity: usize) -> Zeroizing<Vec<u8>> {
    let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
    larger.extend_from_slice(body);
    larger
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_local};
    use rstest::rstest;
    use secrecy::SecretString;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the shape is what is tested, not the values")]
    struct Shape {
        number: u32,
        password: Option<SecretString>,
    }

    #[rstest]
    #[case::wrong_type(r#"{"number":"pw-canary"}"#, "wrong type or missing field")]
    #[case::unknown_field(r#"{"pw-canary":1}"#, "wrong type or missing field")]
    #[case::missing_field(r#"{"password":"pw-canary"}"#, "wrong type or missing field")]
    #[case::not_json("pw-canary", "syntax error")]
    #[case::html("<html>pw-canary</html>", "syntax error")]
    #[case::bad_escape(r#"{"password":"pw-canary\q"}"#, "syntax error")]
    #[case::truncated(r#"{"password":"pw-canary"#, "unexpected end")]
    #[case::rest_behind(r#"{"number":1}pw-canary"#, "syntax error")]
    #[case::empty("", "unexpected end")]
    fn an_error_tells_the_kind_and_never_the_text(#[case] input: &str, #[case] kind: &str) {
        let error = decode::<Shape>(input.as_bytes()).unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(!format!("{error} {error:?} {error:#?}").contains("canary"));
    }

    #[test]
    fn an_error_tells_the_position() {
        let error = decode::<Shape>(b"{\n  \"number\": x\n}").unwrap_err();
        assert_eq!(error.to_string(), "syntax error at line 2, column 13");
    }

    #[test]
    fn a_byte_order_mark_is_skipped_in_local_texts_only() {
        assert_eq!(decode_local::<Vec<u32>>(b"\xef\xbb\xbf[1]").unwrap(), [1]);
        assert!(decode::<Vec<u32>>(b"\xef\xbb\xbf[1]").is_err());
        let error = decode_local::<Vec<u32>>(b"\xff\xfe[\0]\0").unwrap_err();
        assert_eq!(error.to_string(), "UTF-16 instead of UTF-8 at line 1, column 1");
    }

    #[test]
    fn a_valid_input_is_decoded() {
        assert_eq!(decode::<Vec<u32>>(b"[1,2]").unwrap(), [1, 2]);
    }
}
