//! Links of the CF API turned into links of the broker, while the bytes pass by (`proxy.md` 6).
//!
//! Invariant: only the value of a member named `href` that begins with an origin of the API is changed, and only that
//! beginning; every other byte stays as and where it is. What is held back between two pieces is bounded by six times
//! the origin. Callers: this room.

mod origin;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memmem::Finder};
use origin::{Begin, Origin, Unit, unit};
use std::sync::{Arc, LazyLock};
use url::Url;

/// The member's name as CC writes it, quotes included. Inside a text its quotes would be escaped, so an unescaped
/// match is a member's name.
const NAME: &[u8] = b"\"href\"";

/// The longest form of it: all four letters escaped.
const LONGEST_NAME: usize = 2 + 4 * 6;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// What is turned into what: origins of the API, and the broker's base without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    upstream: Origin,
    /// How CC names itself in its links, where that is another name than the one that it is called by.
    alias: Option<Origin>,
    own: Arc<str>,
}

impl Bases {
    pub(super) fn new(api: &Url, external: Option<&Url>, own: &Arc<str>) -> Self {
        let alias = external.filter(|external| *external != api).map(Origin::of);
        Self { upstream: Origin::of(api), alias, own: Arc::clone(own) }
    }

    /// Returns what follows the API's base in a whole URL, if it is one of the API's.
    pub(super) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        let mut origins = std::iter::once(&self.upstream).chain(&self.alias);
        origins.find_map(|origin| origin.below(url))
    }

    /// Returns the broker's base.
    pub(super) fn own(&self) -> &str {
        &self.own
    }

    /// Compares the begin of a JSON text.
    fn begin(&self, text: &[u8]) -> Begin {
        match (self.upstream.begins(text), &self.alias) {
            (Begin::Other, Some(alias)) => alias.begins(text),
            (Begin::Open, Some(alias)) => match alias.begins(text) {
                whole @ Begin::Origin(_) => whole,
                Begin::Other | Begin::Open => Begin::Open,
            },
            (begin, _) => begin,
        }
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

/// What was found of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The name, up to behind its closing quote.
    Name(usize),
    /// A text that is cut off may become the name; it begins here.
    Cut(usize),
    /// Neither.
    Nothing,
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
        let escapes = may_hide_a_name(text);
        loop {
            let rest = text.get(at..).unwrap_or_default();
            match self.state {
                State::Outside => {
                    let found =
                        if escapes { self.find_spelt(text, at) } else { self.find_plain(text, at) };
                    let Found::Name(end) = found else { break };
                    at = end;
                    self.state = State::Named { colon: false };
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
                State::Value => match self.bases.begin(rest) {
                    Begin::Open => break,
                    Begin::Other => self.state = State::Outside,
                    Begin::Origin(length) => {
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
                let from = text.len().saturating_sub(LONGEST_NAME - 1).max(at);
                match self.find_spelt(text, from) {
                    Found::Cut(begin) => begin,
                    Found::Name(_) | Found::Nothing => text.len(),
                }
            }
        }
    }

    /// Finds the name as CC writes it.
    fn find_plain(&self, text: &[u8], mut from: usize) -> Found {
        while let Some(found) = FINDER.find(text.get(from..).unwrap_or_default()) {
            let name = from + found;
            from = name + NAME.len();
            if !self.is_escaped(text, name) {
                return Found::Name(from);
            }
        }
        Found::Nothing
    }

    /// Finds the name however its letters are written, quote by quote.
    fn find_spelt(&self, text: &[u8], mut from: usize) -> Found {
        while let Some(found) = memchr(b'"', text.get(from..).unwrap_or_default()) {
            let quote = from + found;
            from = quote + 1;
            if self.is_escaped(text, quote) {
                continue;
            }
            match spelt(text.get(from..).unwrap_or_default()) {
                Spelling::Name(length) => return Found::Name(from + length),
                Spelling::Open => return Found::Cut(quote),
                Spelling::Other => {}
            }
        }
        Found::Nothing
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

/// Whether a text behind its opening quote is the name.
enum Spelling {
    /// In so many bytes, the closing quote included.
    Name(usize),
    Other,
    Open,
}

fn spelt(text: &[u8]) -> Spelling {
    let mut at = 0;
    for wanted in b"href" {
        match unit(text.get(at..).unwrap_or_default()) {
            Unit::Byte(byte, length) if byte == *wanted => at += length,
            Unit::Byte(..) | Unit::End | Unit::Other => return Spelling::Other,
            Unit::Open => return Spelling::Open,
        }
    }
    match unit(text.get(at..).unwrap_or_default()) {
        Unit::End => Spelling::Name(at + 1),
        Unit::Byte(..) | Unit::Other => Spelling::Other,
        Unit::Open => Spelling::Open,
    }
}

/// Returns whether letters of the name may be escaped: CC escapes none of them, so this costs one look at the text.
fn may_hide_a_name(text: &[u8]) -> bool {
    let is_letter =
        |at: usize| matches!(text.get(at + 1..), Some([b'u', b'0', b'0', b'6' | b'7', ..]));
    memchr_iter(b'\\', text).any(is_letter)
}

#[cfg(test)]
mod tests;
