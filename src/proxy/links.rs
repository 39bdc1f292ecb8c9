//! Links of the CF API turned into links of the broker, while the bytes pass by (`proxy.md` 6).
//!
//! Invariant: only the value of a member named `href` that begins with an origin of the API is changed, and only that
//! beginning; every other byte stays as and where it is. What is held back between two pieces is bounded by six times
//! the origin. Callers: this room.

mod name;
mod origin;

use bytes::{Bytes, BytesMut};
use name::{JsonChunk, LONGEST_NAME, NameMatch};
use origin::{OriginMatch, OriginMatcher};
use std::sync::Arc;
use url::Url;

/// What is turned into what: origins of the API, and the broker's base without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct LinkBases {
    api: Url,
    external: Option<Url>,
    upstream: OriginMatcher,
    /// How CC names itself in its links, where that is another name than the one that it is called by.
    alias: Option<OriginMatcher>,
    own: Arc<str>,
}

impl LinkBases {
    pub(super) fn new(api: &Url, external: Option<&Url>, own: &Arc<str>) -> Self {
        let alias = external.filter(|external| *external != api).map(OriginMatcher::of);
        Self {
            api: api.clone(),
            external: external.cloned(),
            upstream: OriginMatcher::of(api),
            alias,
            own: Arc::clone(own),
        }
    }

    /// Returns whether they were made of these.
    pub(super) fn are_of(&self, api: &Url, external: Option<&Url>) -> bool {
        self.api == *api && self.external.as_ref() == external
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
    fn match_origin(&self, text: &[u8]) -> OriginMatch {
        match (self.upstream.match_prefix(text), &self.alias) {
            (OriginMatch::Mismatch, Some(alias)) => alias.match_prefix(text),
            (OriginMatch::Incomplete, Some(alias)) => match alias.match_prefix(text) {
                whole @ OriginMatch::Matched(_) => whole,
                OriginMatch::Mismatch | OriginMatch::Incomplete => OriginMatch::Incomplete,
            },
            (begin, _) => begin,
        }
    }
}

/// Rewrites a JSON text that arrives in pieces, or whole.
#[derive(Debug)]
pub(super) struct Rewriter {
    bases: Arc<LinkBases>,
    state: ScanState,
    /// Bytes that cannot be judged yet.
    held: BytesMut,
    /// Whether an odd number of backslashes stands right before `held`.
    escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    /// Looking for the name.
    Outside,
    /// The name was seen; blanks, a colon and a text may follow.
    Named { colon: bool },
    /// Inside the text, at its begin.
    Value,
}

/// How far a text was worked through.
struct ScanResult {
    /// What it became up to `copied`.
    out: Vec<u8>,
    /// Behind the last origin that was replaced; 0: there was none.
    copied: usize,
    /// Where the search ended.
    at: usize,
}

impl Rewriter {
    pub(super) fn new(bases: Arc<LinkBases>) -> Self {
        Self { bases, state: ScanState::Outside, held: BytesMut::new(), escaped: false }
    }

    /// Takes a chunk and returns what may go out.
    pub(super) fn push(&mut self, chunk: &Bytes) -> Bytes {
        if self.held.is_empty() {
            return self.scan(chunk);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(chunk);
        let joined = joined.freeze();
        self.scan(&joined)
    }

    /// Returns what was held back when the last chunk had come.
    pub(super) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// Rewrites a text that is there whole, so that nothing has to wait.
    pub(super) fn whole(mut self, text: &Bytes) -> Bytes {
        let result = self.scan_text(text);
        result.up_to(text, text.len())
    }

    /// Rewrites one chunk and holds back what the next one decides.
    fn scan(&mut self, text: &Bytes) -> Bytes {
        let result = self.scan_text(text);
        let keep = self.keep_from(text, result.at);
        self.held = BytesMut::from(text.get(keep..).unwrap_or_default());
        self.escaped = self.chunk(text).is_escaped(keep);
        result.up_to(text, keep)
    }

    /// Works through one text.
    fn scan_text(&mut self, text: &[u8]) -> ScanResult {
        let mut result = ScanResult { out: Vec::new(), copied: 0, at: 0 };
        let chunk = self.chunk(text);
        let escapes = chunk.may_hide_a_name();
        let mut state = self.state;
        loop {
            let rest = text.get(result.at..).unwrap_or_default();
            state = match state {
                ScanState::Outside => {
                    let at = result.at;
                    let found = if escapes { chunk.find_escaped(at) } else { chunk.find_plain(at) };
                    let NameMatch::Name(end) = found else { break };
                    result.at = end;
                    ScanState::Named { colon: false }
                }
                // CC writes nothing between name and text.
                ScanState::Named { colon: false } if rest.first_chunk() == Some(b":\"") => {
                    result.at += 2;
                    ScanState::Value
                }
                ScanState::Named { colon } => {
                    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    let Some(byte) = rest.get(blanks) else {
                        result.at = text.len();
                        break;
                    };
                    let (length, next) = match (byte, colon) {
                        (b':', false) => (1, ScanState::Named { colon: true }),
                        (b'"', true) => (1, ScanState::Value),
                        _ => (0, ScanState::Outside),
                    };
                    result.at += blanks + length;
                    next
                }
                ScanState::Value => {
                    match self.bases.match_origin(rest) {
                        OriginMatch::Incomplete => break,
                        OriginMatch::Mismatch => {}
                        OriginMatch::Matched(length) => {
                            result.replace(text, length, &self.bases.own)
                        }
                    }
                    ScanState::Outside
                }
            };
        }
        self.state = state;
        result
    }

    /// Returns from where the text must wait for the next chunk: a name or a value that is cut in two.
    fn keep_from(&self, text: &[u8], at: usize) -> usize {
        match self.state {
            ScanState::Value | ScanState::Named { .. } => at,
            ScanState::Outside => {
                let from = text.len().saturating_sub(LONGEST_NAME - 1).max(at);
                match self.chunk(text).find_escaped(from) {
                    NameMatch::Incomplete(begin) => begin,
                    NameMatch::Name(_) | NameMatch::None => text.len(),
                }
            }
        }
    }

    fn chunk<'a>(&self, text: &'a [u8]) -> JsonChunk<'a> {
        JsonChunk { text, escaped: self.escaped }
    }
}

impl ScanResult {
    /// Puts the broker's base in the place of the origin that begins where the search is.
    fn replace(&mut self, text: &[u8], length: usize, own: &str) {
        if self.copied == 0 {
            self.out.reserve_exact(capacity_for(text));
        }
        self.out.extend_from_slice(text.get(self.copied..self.at).unwrap_or_default());
        self.out.extend_from_slice(own.as_bytes());
        self.at += length;
        self.copied = self.at;
    }

    /// Returns what a text became up to a place. Nothing replaced: the text itself, uncopied.
    fn up_to(mut self, text: &Bytes, end: usize) -> Bytes {
        if self.copied == 0 {
            return text.slice(..end);
        }
        self.out.extend_from_slice(text.get(self.copied..end).unwrap_or_default());
        self.out.into()
    }
}

/// Returns how much to set aside for what a text becomes: a link is some 150 bytes of JSON, and the broker's name some
/// 20 longer than the API's. With less the text is copied once more on the way.
fn capacity_for(text: &[u8]) -> usize {
    text.len() + text.len() / 8 + 64
}

#[cfg(test)]
mod tests;
