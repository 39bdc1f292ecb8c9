//! The login hint: parsed, checked, and sent once, in the body.
//!
//! Invariant: a `LoginHint` is always well-formed. UAA silently ignores a hint that it cannot parse
//! and asks the default provider of the zone. The password would then go to the wrong provider and
//! count as a failure there. `destination` makes hints from destinations; only this module sends
//! them. See `docs/reference/destination.md`.

use crate::upstream::body;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use std::borrow::Cow;

/// UAA's own limit for the key of an identity provider (read in its source).
const LONGEST_KEY: usize = 36;

/// UAA decodes once more after its servlet container, so both single and double encoding are in
/// use.
const MOST_DECODINGS: usize = 2;

/// Key of the identity provider that checks a logon: 1–36 characters of `[A-Za-z0-9_-]` or `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginKey(String);

impl OriginKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`HintError::Key`]: empty, too long or with other characters.
    pub fn parse(text: &str) -> Result<Self, HintError> {
        let is_valid = (1..=LONGEST_KEY).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(HintError::Key) }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the key looks like one of the platform: `sap.ids`, `uaa`, or a custom
    /// provider's that ends in `-platform` (read in UAA's source). Other keys get a warning only.
    pub fn is_of_platform(&self) -> bool {
        matches!(self.as_str(), "sap.ids" | "uaa") || self.as_str().ends_with("-platform")
    }
}

/// Tells UAA which identity provider to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginHint {
    origin: OriginKey,
}

/// The JSON object, with this one member only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginHintJson {
    origin: String,
}

impl LoginHint {
    /// Makes the hint for an origin.
    pub fn new(origin: OriginKey) -> Self {
        Self { origin }
    }

    /// Parses a `login_hint`, decoded at most twice.
    ///
    /// # Errors
    /// [`HintError::Form`] when no decoding is a JSON object with exactly one member `origin`,
    /// a string; [`HintError::Key`] when that string is no valid key.
    pub fn parse(text: &str) -> Result<Self, HintError> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..MOST_DECODINGS {
            if let Some(origin) = origin_of(&text) {
                return OriginKey::parse(&origin).map(Self::new);
            }
            text = Cow::Owned(form_decoded(&text)?);
        }
        let origin = origin_of(&text).ok_or(HintError::Form)?;
        OriginKey::parse(&origin).map(Self::new)
    }

    /// Returns the key of the identity provider.
    pub fn origin(&self) -> &OriginKey {
        &self.origin
    }

    /// Returns `{"origin":"<key>"}` without blanks; the key needs no escape.
    pub fn to_json(&self) -> String {
        format!(r#"{{"origin":"{}"}}"#, self.origin.as_str())
    }
}

/// Reads the member if the text is a JSON object. A derived reader would also accept an array.
fn origin_of(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let json: LoginHintJson = body::decode(text.as_bytes()).ok()?;
    Some(json.origin)
}

/// Removes one layer of form encoding, as UAA's decoder does.
fn form_decoded(text: &str) -> Result<String, HintError> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().map(Cow::into_owned).map_err(|_| HintError::Form)
}

/// Why a text is not a login hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Not JSON, not an object, another member, or not a string.
    #[error("login hint is not a JSON object with exactly one member origin")]
    Form,
    /// The origin is empty, longer than 36 characters or has characters other than
    /// `[A-Za-z0-9_.-]`.
    #[error("origin key has an invalid form")]
    Key,
}

/// How a query pair of the token URL or a further field of a destination is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldUse {
    /// The login hint: parsed, then sent in our own form.
    LoginHint,
    /// Set by the broker: a destination that has it is invalid.
    Reserved,
    /// Would only change the form of the token: left out.
    Dropped,
    /// Sent in the body.
    Body,
}

impl FieldUse {
    /// Returns how a field of this name is used.
    pub fn of(name: &str) -> Self {
        match name {
            "login_hint" => Self::LoginHint,
            "username"
            | "password"
            | "passcode"
            | "grant_type"
            | "client_id"
            | "client_secret"
            | "client_assertion"
            | "client_assertion_type"
            | "assertion"
            | "refresh_token" => Self::Reserved,
            "response_type" | "token_format" => Self::Dropped,
            _ => Self::Body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldUse, HintError, LoginHint, OriginKey};
    use proptest::{prop_assert_eq, proptest};
    use rstest::rstest;

    fn encoded(text: &str) -> String {
        form_urlencoded::byte_serialize(text.as_bytes()).collect()
    }

    #[rstest]
    #[case::plain(r#"{"origin":"acme-platform"}"#)]
    #[case::blanks(r#" { "origin" : "acme-platform" } "#)]
    #[case::encoded("%7B%22origin%22%3A%22acme-platform%22%7D")]
    #[case::raw_colon("%7B%22origin%22:%22acme-platform%22%7D")]
    #[case::lower_case_escapes("%7b%22origin%22%3a%22acme-platform%22%7d")]
    #[case::encoded_twice("%257B%2522origin%2522%253A%2522acme-platform%2522%257D")]
    #[case::plus_for_a_blank("%7B%22origin%22:+%22acme-platform%22%7D")]
    #[case::json_escape(r#"{"origin":"acme\u002dplatform"}"#)]
    fn every_spelling_gives_the_same_hint(#[case] text: &str) {
        let hint = LoginHint::parse(text).unwrap();
        assert_eq!(hint.origin().as_str(), "acme-platform");
    }

    #[rstest]
    #[case::empty("", HintError::Form)]
    #[case::word("acme-platform", HintError::Form)]
    #[case::json_string(r#""acme-platform""#, HintError::Form)]
    #[case::array(r#"["acme-platform"]"#, HintError::Form)]
    #[case::no_member("{}", HintError::Form)]
    #[case::null(r#"{"origin":null}"#, HintError::Form)]
    #[case::number(r#"{"origin":1}"#, HintError::Form)]
    #[case::further_member(r#"{"origin":"x","user":"y"}"#, HintError::Form)]
    #[case::twice(r#"{"origin":"x","origin":"x"}"#, HintError::Form)]
    #[case::other_case(r#"{"Origin":"x"}"#, HintError::Form)]
    #[case::rest_behind(r#"{"origin":"x"}}"#, HintError::Form)]
    #[case::encoded_three_times(
        "%25257B%252522origin%252522%25253A%252522x%252522%25257D",
        HintError::Form
    )]
    #[case::broken_escape("%7B%22origin%22%3A%22x%22%7D%zz", HintError::Form)]
    #[case::broken_escape_at_the_end("%7B%22origin%22%3A%22x%22%7D%", HintError::Form)]
    #[case::not_utf8("%7B%22origin%22%3A%22%ff%22%7D", HintError::Form)]
    #[case::empty_key(r#"{"origin":""}"#, HintError::Key)]
    #[case::escape_in_the_key(r#"{"origin":"sap%2Eids"}"#, HintError::Key)]
    #[case::blank_in_the_key(r#"{"origin":"a b"}"#, HintError::Key)]
    #[case::long_key(r#"{"origin":"0123456789012345678901234567890123456"}"#, HintError::Key)]
    fn what_uaa_would_ignore_is_an_error(#[case] text: &str, #[case] error: HintError) {
        assert_eq!(LoginHint::parse(text), Err(error));
    }

    #[rstest]
    #[case("a", true)]
    #[case("sap.ids", true)]
    #[case("A_b-9", true)]
    #[case("012345678901234567890123456789012345", true)]
    #[case("0123456789012345678901234567890123456", false)]
    #[case("", false)]
    #[case("a b", false)]
    #[case("a/b", false)]
    #[case("ä", false)]
    #[case("a\n", false)]
    fn a_key_has_one_to_36_allowed_characters(#[case] key: &str, #[case] is_valid: bool) {
        assert_eq!(OriginKey::parse(key).is_ok(), is_valid);
    }

    #[rstest]
    #[case("sap.ids", true)]
    #[case("uaa", true)]
    #[case("acme-platform", true)]
    #[case("sap.default", false)]
    #[case("acme", false)]
    fn platform_keys_are_recognised(#[case] key: &str, #[case] platform: bool) {
        assert_eq!(OriginKey::parse(key).unwrap().is_of_platform(), platform);
    }

    #[test]
    fn a_hint_is_written_without_blanks() {
        let hint = LoginHint::new(OriginKey::parse("sap.ids").unwrap());
        assert_eq!(hint.to_json(), r#"{"origin":"sap.ids"}"#);
    }

    #[rstest]
    #[case("login_hint", FieldUse::LoginHint)]
    #[case("passcode", FieldUse::Reserved)]
    #[case("client_assertion_type", FieldUse::Reserved)]
    #[case("token_format", FieldUse::Dropped)]
    #[case("resource", FieldUse::Body)]
    fn fields_are_sorted_by_name(#[case] name: &str, #[case] fate: FieldUse) {
        assert_eq!(FieldUse::of(name), fate);
    }

    proptest! {
        #[test]
        fn parsing_undoes_writing_in_every_encoding(key in "[A-Za-z0-9_.-]{1,36}") {
            let hint = LoginHint::new(OriginKey::parse(&key).unwrap());
            let json = hint.to_json();
            let once = encoded(&json);
            prop_assert_eq!(LoginHint::parse(&encoded(&once)), Ok(hint.clone()));
            prop_assert_eq!(LoginHint::parse(&once), Ok(hint.clone()));
            prop_assert_eq!(LoginHint::parse(&json), Ok(hint));
        }

        #[test]
        fn no_input_panics_or_yields_an_invalid_key(text in ".{0,80}") {
            if let Ok(hint) = LoginHint::parse(&text) {
                let key = hint.origin().clone();
                prop_assert_eq!(OriginKey::parse(key.as_str()), Ok(key));
            }
        }
    }
}
