//! Links of the CF API turned into links of the broker, while the bytes pass by (`proxy.md` 6).
//!
//! Invariant: only the value of a member named `href` that begins with the API's base is changed, and only that
//! beginning; every other byte stays as and where it is. What is held back between two pieces is bounded by six times
//! the base. Callers: this room.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use std::sync::{Arc, LazyLock};
use url::Url;

/// The member's name as CC writes it, quotes included. Inside a text its quotes would be escaped, so an unescaped
/// match is a member's name.
const NAME: &[u8] = b"\"href\"";

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// What is turned into what: two bases without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    upstream: Box<str>,
    own: Arc<str>,
}

impl Bases {
    pub(super) fn new(api: &Url, own: &Arc<str>) -> Self {
        Self { upstream: api.as_str().trim_end_matches('/').into(), own: Arc::clone(own) }
    }

    /// Returns what follows the API's base in a whole URL, if it is one of the API's.
    pub(super) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        let rest = url.strip_prefix(&*self.upstream)?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
    }

    /// Returns the broker's base.
    pub(super) fn own(&self) -> &str {
        &self.own
    }
}

/// Rewrites a JSON text that arrives in pieces.
#[derive(Debug)]
pub(super) struct Rewriter {
    bases: Bases,
    state: State,
    /// Bytes that cannot be judged yet.
    held: BytesMut,
    /// Whether an odd number of backslashes stands right before `held`.
    escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Looking for the name.
    Outside,
    /// The name was seen; blanks, a colon and a text may follow.
    Named { colon: bool },
    /// Inside the text, at its begin.
    Value,
}

/// What a value's begin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// The API's base, in so many bytes.
    Base(usize),
    /// Something else.
    Other,
    /// Not yet to be said.
    Open,
}

impl Rewriter {
    pub(super) fn new(bases: Bases) -> Self {
        Self { bases, state: State::Outside, held: BytesMut::new(), escaped: false }
    }

    /// Takes a piece and returns what may go out.
    pub(super) fn push(&mut self, piece: &Bytes) -> Bytes {
        if self.held.is_empty() {
            return self.scan(piece);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(piece);
        let joined = joined.freeze();
        self.scan(&joined)
    }

    /// Returns what was held back when the last piece had come.
    pub(super) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// Works through one text. Nothing found and nothing to hold back: the text itself goes out, uncopied.
    fn scan(&mut self, text: &Bytes) -> Bytes {
        let mut out = BytesMut::new();
        let (mut copied, mut at) = (0, 0);
        loop {
            let rest = text.get(at..).unwrap_or_default();
            match self.state {
                State::Outside => {
                    let Some(found) = FINDER.find(rest) else { break };
                    let name = at + found;
                    at = name + NAME.len();
                    if !self.is_escaped(text, name) {
                        self.state = State::Named { colon: false };
                    }
                }
                State::Named { colon } => {
                    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    let Some(byte) = rest.get(blanks) else {
                        at = text.len();
                        break;
                    };
                    at += blanks;
                    self.state = match (byte, colon) {
                        (b':', false) => State::Named { colon: true },
                        (b'"', true) => State::Value,
                        _ => State::Outside,
                    };
                    if self.state != State::Outside {
                        at += 1;
                    }
                }
                State::Value => match begin(rest, self.bases.upstream.as_bytes()) {
                    Begin::Open => break,
                    Begin::Other => self.state = State::Outside,
                    Begin::Base(length) => {
                        out.reserve(text.len() + 64);
                        out.extend_from_slice(text.get(copied..at).unwrap_or_default());
                        out.extend_from_slice(self.bases.own.as_bytes());
                        at += length;
                        copied = at;
                        self.state = State::Outside;
                    }
                },
            }
        }
        let keep = self.keep_from(text, at);
        self.held = BytesMut::from(text.get(keep..).unwrap_or_default());
        self.escaped = self.is_escaped(text, keep);
        if copied == 0 {
            return text.slice(..keep);
        }
        out.extend_from_slice(text.get(copied..keep).unwrap_or_default());
        out.freeze()
    }

    /// Returns from where the text must wait for the next piece: a name or a value that is cut in two.
    fn keep_from(&self, text: &[u8], at: usize) -> usize {
        match self.state {
            State::Value | State::Named { .. } => at,
            State::Outside => {
                let from = text.len().saturating_sub(NAME.len() - 1).max(at);
                let tail = text.get(from..).unwrap_or_default();
                let cut = (0..tail.len())
                    .find(|skip| tail.get(*skip..).is_some_and(|end| NAME.starts_with(end)));
                cut.map_or(text.len(), |skip| from + skip)
            }
        }
    }

    /// Returns whether the byte at a place is escaped: an odd number of backslashes stands before it.
    fn is_escaped(&self, text: &[u8], at: usize) -> bool {
        let before = text.get(..at).unwrap_or_default();
        let run = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        // A run that reaches the begin goes on in the piece before.
        let earlier = run == before.len() && self.escaped;
        (run % 2 == 1) != earlier
    }
}

/// Compares a value's begin with the base, through the escapes that JSON allows; behind it must stand `/`, `?` or the
/// value's end.
fn begin(text: &[u8], base: &[u8]) -> Begin {
    let plain = text.get(..base.len()) == Some(base);
    let (mut at, mut wanted) = if plain { (base.len(), [].as_slice()) } else { (0, base) };
    loop {
        let (byte, length) = match unit(text.get(at..).unwrap_or_default()) {
            Unit::Byte(byte, length) => (Some(byte), length),
            Unit::End => (None, 0),
            Unit::Other => return Begin::Other,
            Unit::Open => return Begin::Open,
        };
        match (wanted.split_first(), byte) {
            (None, None | Some(b'/' | b'?')) => return Begin::Base(at),
            (Some((first, rest)), Some(byte)) if *first == byte => {
                at += length;
                wanted = rest;
            }
            (None, Some(_)) | (Some(_), _) => return Begin::Other,
        }
    }
}

/// One character of a JSON text, as far as a base can hold it.
enum Unit {
    /// An ASCII character in so many bytes.
    Byte(u8, usize),
    /// The closing quote.
    End,
    /// None that a base holds.
    Other,
    /// More bytes are needed.
    Open,
}

fn unit(text: &[u8]) -> Unit {
    match text {
        [] | [b'\\'] => Unit::Open,
        [b'"', ..] => Unit::End,
        [b'\\', b'/', ..] => Unit::Byte(b'/', 2),
        [b'\\', b'u', digits @ ..] => code(digits),
        [b'\\', ..] => Unit::Other,
        [byte, ..] if byte.is_ascii() => Unit::Byte(*byte, 1),
        [..] => Unit::Other,
    }
}

fn code(digits: &[u8]) -> Unit {
    let Some(four) = digits.get(..4) else {
        return Unit::Open;
    };
    let number = std::str::from_utf8(four).ok().and_then(|four| u32::from_str_radix(four, 16).ok());
    match number.and_then(|number| u8::try_from(number).ok()) {
        Some(byte) if byte.is_ascii() => Unit::Byte(byte, 6),
        Some(_) | None => Unit::Other,
    }
}

#[cfg(test)]
mod tests;
