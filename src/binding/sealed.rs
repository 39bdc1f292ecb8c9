//! A sealed value, and what the rules must know of it: noted before it is sealed.
//!
//! Invariant: the text leaves as a `SecretString` only. Used by this room and by `destination`.

use secrecy::SecretString;

/// A cockpit export puts a remark of this form where a secret was.
const EXPORT_MARK: (&str, &str) = ("<<", ">>");

/// A secret and what is known about its form.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The secret.
    pub text: SecretString,
    /// Seen before it was sealed.
    pub form: SecretForm,
}

/// What the rules must know about a sealed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// No character at all.
    Empty,
    /// The cockpit's remark that the secret was removed.
    ExportMark,
    /// Holds a NUL character, which UAA answers with an error page (uaa.md 4).
    HasNul,
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
        } else {
            SecretForm::Usable
        };
        Self { text: SecretString::from(text), form }
    }
}
