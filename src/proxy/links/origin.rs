//! Matches an origin in all its spellings, at the beginning of a JSON string or of a whole URL.
//!
//! Invariant: a match is exactly this origin for every URL parser: scheme, host and port, followed
//! by the path, the query or the end. Callers: this module.

use url::{Position, Url};

/// Most digits of a port.
const PORT_DIGITS: usize = 5;

/// Scheme, host and port of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OriginMatcher {
    /// Scheme and host in the usual spelling, in lower case: `https://api.cf.test`.
    prefix: Box<str>,
    /// The same with the slash of a path, and with the port if it is not the scheme's default.
    usual: Box<str>,
    port: u32,
    default_port: u32,
}

/// Result of comparing the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginMatch {
    /// The origin; its length in bytes.
    Matched(usize),
    /// Something else.
    Mismatch,
    /// More bytes are needed.
    Incomplete,
}

/// One character of a JSON string, as far as an origin or a member's name can contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonChar {
    /// An ASCII character and the length of its spelling in bytes.
    Byte(u8, usize),
    /// The end of the string.
    End,
    /// A character that no origin contains.
    Other,
    /// More bytes are needed.
    Incomplete,
}

impl OriginMatcher {
    /// Makes the matcher of a URL that has a host and no user.
    pub(super) fn of(url: &Url) -> Self {
        let default_port = if url.scheme() == "http" { 80 } else { 443 };
        let prefix = url[..Position::AfterHost].into();
        let port = url.port().map_or(default_port, u32::from);
        let usual = format!("{}/", &url[..Position::AfterPort]).into();
        Self { prefix, usual, port, default_port }
    }

    /// Compares the beginning of a JSON string, behind its opening quote.
    #[inline]
    pub(super) fn match_prefix(&self, text: &[u8]) -> OriginMatch {
        // Nearly all links begin like this.
        if text.starts_with(self.usual.as_bytes()) {
            return OriginMatch::Matched(self.usual.len() - 1);
        }
        let from = if text.starts_with(self.prefix.as_bytes()) { self.prefix.len() } else { 0 };
        self.compare(from, |at| json_char(text.get(at..).unwrap_or_default()))
    }

    /// Returns the rest of a whole URL behind the origin.
    pub(super) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        let plain = |at: usize| match url.as_bytes().get(at) {
            Some(byte) if byte.is_ascii() => JsonChar::Byte(*byte, 1),
            Some(_) => JsonChar::Other,
            None => JsonChar::End,
        };
        match self.compare(0, plain) {
            OriginMatch::Matched(length) => url.get(length..),
            OriginMatch::Mismatch | OriginMatch::Incomplete => None,
        }
    }

    /// Compares character by character. `from` is the length of the prefix if that matched already,
    /// else 0.
    fn compare(&self, from: usize, char_at: impl Fn(usize) -> JsonChar) -> OriginMatch {
        let mut at = from;
        let prefix = if from == 0 { self.prefix.as_bytes() } else { &[] };
        for wanted in prefix {
            match char_at(at) {
                JsonChar::Byte(byte, length) if byte.to_ascii_lowercase() == *wanted => {
                    at += length;
                }
                JsonChar::Byte(..) | JsonChar::End | JsonChar::Other => {
                    return OriginMatch::Mismatch;
                }
                JsonChar::Incomplete => return OriginMatch::Incomplete,
            }
        }
        let (mut port, mut digits) = (None, 0);
        loop {
            match char_at(at) {
                JsonChar::Byte(b':', length) if port.is_none() => {
                    port = Some(0);
                    at += length;
                }
                JsonChar::Byte(digit @ b'0'..=b'9', length) if digits < PORT_DIGITS => {
                    let Some(number) = port else { return OriginMatch::Mismatch };
                    port = Some(number * 10 + u32::from(digit - b'0'));
                    digits += 1;
                    at += length;
                }
                JsonChar::Byte(b'/' | b'?', _) | JsonChar::End => break,
                JsonChar::Byte(..) | JsonChar::Other => return OriginMatch::Mismatch,
                JsonChar::Incomplete => return OriginMatch::Incomplete,
            }
        }
        let port = port.filter(|_| digits > 0).unwrap_or(self.default_port);
        if port == self.port { OriginMatch::Matched(at) } else { OriginMatch::Mismatch }
    }
}

/// Reads one character of a JSON string, with the escapes that JSON allows.
pub(super) fn json_char(text: &[u8]) -> JsonChar {
    match text {
        [] | [b'\\'] => JsonChar::Incomplete,
        [b'"', ..] => JsonChar::End,
        [b'\\', b'/', ..] => JsonChar::Byte(b'/', 2),
        [b'\\', b'u', digits @ ..] => unicode_escape(digits),
        [b'\\', ..] => JsonChar::Other,
        [byte, ..] if byte.is_ascii() => JsonChar::Byte(*byte, 1),
        [..] => JsonChar::Other,
    }
}

fn unicode_escape(digits: &[u8]) -> JsonChar {
    let Some(four) = digits.get(..4) else {
        return JsonChar::Incomplete;
    };
    let number = std::str::from_utf8(four).ok().and_then(|four| u32::from_str_radix(four, 16).ok());
    match number.and_then(|number| u8::try_from(number).ok()) {
        Some(byte) if byte.is_ascii() => JsonChar::Byte(byte, 6),
        Some(_) | None => JsonChar::Other,
    }
}
