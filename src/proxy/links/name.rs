//! The name of the members that hold links, found in a text without parsing it.
//!
//! Invariant: what is found is a whole text of JSON that reads `href`, never a part of another text. Callers: `links`.

use super::origin::{JsonChar, json_char};
use memchr::{memchr, memchr_iter, memmem::Finder};
use std::sync::LazyLock;

/// The member's name as CC writes it, quotes included. Inside a text its quotes would be escaped, so an unescaped
/// match is a member's name.
const NAME: &[u8] = b"\"href\"";

/// The longest form of it: all four letters escaped.
pub(super) const LONGEST_NAME: usize = 2 + 4 * 6;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// What was found of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameMatch {
    /// The name, up to behind its closing quote.
    Name(usize),
    /// A text that is cut off may become the name; it begins here.
    Incomplete(usize),
    /// Neither.
    None,
}

/// A chunk of JSON, and how the one before it ended.
#[derive(Clone, Copy)]
pub(super) struct JsonChunk<'a> {
    pub(super) text: &'a [u8],
    /// Whether an odd number of backslashes stands right before it.
    pub(super) escaped: bool,
}

impl JsonChunk<'_> {
    /// Returns whether letters of the name may be escaped: CC escapes none of them, so this costs one look at the text.
    pub(super) fn may_hide_a_name(self) -> bool {
        let is_letter = |at: usize| {
            matches!(self.text.get(at + 1..), Some([b'u', b'0', b'0', b'6' | b'7', ..]))
        };
        memchr_iter(b'\\', self.text).any(is_letter)
    }

    /// Finds the name as CC writes it.
    pub(super) fn find_plain(self, mut from: usize) -> NameMatch {
        while let Some(found) = FINDER.find(self.text.get(from..).unwrap_or_default()) {
            let name = from + found;
            from = name + NAME.len();
            if !self.is_escaped(name) {
                return NameMatch::Name(from);
            }
        }
        NameMatch::None
    }

    /// Finds the name however its letters are written, quote by quote.
    pub(super) fn find_escaped(self, mut from: usize) -> NameMatch {
        while let Some(found) = memchr(b'"', self.text.get(from..).unwrap_or_default()) {
            let quote = from + found;
            from = quote + 1;
            if self.is_escaped(quote) {
                continue;
            }
            match match_name(self.text.get(from..).unwrap_or_default()) {
                NameSpelling::Name(length) => return NameMatch::Name(from + length),
                NameSpelling::Incomplete => return NameMatch::Incomplete(quote),
                NameSpelling::Other => {}
            }
        }
        NameMatch::None
    }

    /// Returns whether the byte at a place is escaped: an odd number of backslashes stands before it.
    pub(super) fn is_escaped(self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        match before.last() {
            Some(b'\\') => {}
            Some(_) => return false,
            None => return self.escaped,
        }
        let run = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        // A run that reaches the begin goes on in the chunk before.
        let earlier = run == before.len() && self.escaped;
        (run % 2 == 1) != earlier
    }
}

/// Whether a text behind its opening quote is the name.
enum NameSpelling {
    /// In so many bytes, the closing quote included.
    Name(usize),
    Other,
    Incomplete,
}

fn match_name(text: &[u8]) -> NameSpelling {
    let mut at = 0;
    for wanted in b"href" {
        match json_char(text.get(at..).unwrap_or_default()) {
            JsonChar::Byte(byte, length) if byte == *wanted => at += length,
            JsonChar::Byte(..) | JsonChar::End | JsonChar::Other => return NameSpelling::Other,
            JsonChar::Incomplete => return NameSpelling::Incomplete,
        }
    }
    match json_char(text.get(at..).unwrap_or_default()) {
        JsonChar::End => NameSpelling::Name(at + 1),
        JsonChar::Byte(..) | JsonChar::Other => NameSpelling::Other,
        JsonChar::Incomplete => NameSpelling::Incomplete,
    }
}
