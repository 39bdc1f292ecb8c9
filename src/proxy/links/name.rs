//! Finds the name of members that hold links in a JSON text, without parsing it.
//!
//! Invariant: a match is a complete JSON string that reads `href`, never a part of another string.
//! Callers: `links`.

use super::origin::{JsonChar, json_char};
use memchr::{memchr, memchr_iter, memmem::Finder};
use std::sync::LazyLock;

/// The member's name as CC writes it, with quotes. Inside a string its quotes would be escaped, so
/// an unescaped match is a member's name.
const NAME: &[u8] = b"\"href\"";

/// Its longest spelling: all four letters escaped.
pub(super) const LONGEST_NAME: usize = 2 + 4 * 6;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// Result of a search for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameMatch {
    /// The name; the position behind its closing quote.
    Name(usize),
    /// A string that is cut off may become the name; the position where it begins.
    Incomplete(usize),
    /// No match.
    None,
}

/// A chunk of JSON, and how the chunk before it ended.
#[derive(Clone, Copy)]
pub(super) struct JsonChunk<'a> {
    pub(super) text: &'a [u8],
    /// Whether an odd number of backslashes is right before it.
    pub(super) escaped: bool,
}

impl JsonChunk<'_> {
    /// Returns whether letters of the name may be escaped. CC escapes none of them, so one look at
    /// the text suffices.
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

    /// Finds the name in any spelling, quote by quote.
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

    /// Returns whether the byte at a position is escaped: an odd number of backslashes is before
    /// it.
    pub(super) fn is_escaped(self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        match before.last() {
            Some(b'\\') => {}
            Some(_) => return false,
            None => return self.escaped,
        }
        let run = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        // A run that begins with the chunk continues the run of the chunk before.
        let earlier = run == before.len() && self.escaped;
        (run % 2 == 1) != earlier
    }
}

/// Whether a string, behind its opening quote, is the name.
enum NameSpelling {
    /// Yes; its length with the closing quote.
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
