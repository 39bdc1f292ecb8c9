//! A secret value, and what validation must know of it.
//!
//! Invariant: the text leaves as a `SecretString` only. Used by this module and by `destination`.

use super::placeholder::is_placeholder;
use secrecy::SecretString;

/// A cockpit export writes a remark of this form in place of a secret.
const EXPORT_MARK: (&str, &str) = ("<<", ">>");

/// A secret and what is known about its form.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The secret.
    pub text: SecretString,
    /// Determined before the text was sealed.
    pub form: SecretForm,
}

/// What validation must know about a sealed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// An empty text.
    Empty,
    /// The cockpit's remark that the secret was removed.
    ExportMark,
    /// Contains a NUL character, which UAA answers with an error page.
    HasNul,
    /// A variable or a sample's text that was not replaced by the secret.
    Placeholder,
    /// Anything else.
    Usable,
}

impl Sealed {
    /// Seals a text.
    pub fn new(text: &str) -> Self {
        let form = if text.is_empty() {
            SecretForm::Empty
        } else if text.trim().starts_with(EXPORT_MARK.0) && text.trim().ends_with(EXPORT_MARK.1) {
            SecretForm::ExportMark
        } else if text.contains('\0') {
            SecretForm::HasNul
        } else if is_placeholder(text) {
            SecretForm::Placeholder
        } else {
            SecretForm::Usable
        };
        Self { text: SecretString::from(text), form }
    }
}
