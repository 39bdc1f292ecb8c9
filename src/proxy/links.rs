//! Rewrites links of the CF API into links of the broker, while the bytes pass
//! (`docs/reference/proxy-rules.md`).
//!
//! Invariant: only the value of a member named `href` that begins with an origin of the API is
//! changed, and only that beginning. Every other byte stays as it is. Bytes held back between two
//! chunks are limited to about six times the origin. Callers: this module.

mod name;
mod origin;

use bytes::{Bytes, BytesMut};
use name::{JsonChunk, LONGEST_NAME, NameMatch};
use origin::{OriginMatch, OriginMatcher};
use std::sync::Arc;
use url::Url;

/// What is replaced by what: origins of the API by the broker's base, which has no slash at the
/// end.
#[derive(Clone, Debug)]
pub(super) struct LinkBases {
    api: Url,
    external: Option<Url>,
    upstream: OriginMatcher,
    /// The API's external name in CC's links, if it differs from the name that is called.
    alias: Option<OriginMatcher>,
    own: Arc<str>,
    /// Where the path of the broker's base begins in `own`.
    own_path: usize,
}

impl LinkBases {
    pub(super) fn new(api: &Url, external: Option<&Url>, own: &Arc<str>) -> Self {
        let alias = external.filter(|external| *external != api).map(OriginMatcher::of);
        Self {
            api: api.clone(),
            external: external.cloned(),
            upstream: OriginMatcher::of(api),
            alias,
            own_path: path_begin(own),
            own: Arc::clone(own),
        }
    }

    /// Returns whether they were made from these URLs.
    pub(super) fn are_of(&self, api: &Url, external: Option<&Url>) -> bool {
        self.api == *api && self.external.as_ref() == external
    }

    /// Returns the rest of a URL behind the API's origin, if it is one of the API's.
    pub(super) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        let mut origins = std::iter::once(&self.upstream).chain(&self.alias);
        origins.find_map(|origin| origin.below(url))
    }

    /// Returns the broker's base.
    pub(super) fn own(&self) -> &str {
        &self.own
    }

    /// Returns the path of the broker's base: empty, or `/` and more.
    pub(super) fn own_path(&self) -> &str {
        self.own.get(self.own_path..).unwrap_or_default()
    }

    /// Compares the beginning of a JSON text with both origins.
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

/// Returns where the path of a base URL begins.
fn path_begin(base: &str) -> usize {
    let authority = base.find("://").map_or(0, |at| at + 3);
    let rest = base.get(authority..).unwrap_or_default();
    rest.find('/').map_or(base.len(), |at| authority + at)
}

/// Rewrites a JSON text that arrives in chunks, or whole.
#[derive(Debug)]
pub(super) struct Rewriter {
    bases: Arc<LinkBases>,
    state: ScanState,
    /// Bytes that need the next chunk.
    held: BytesMut,
    /// Whether an odd number of backslashes is right before `held`.
    escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    /// Searching for the name.
    Outside,
    /// The name was found; blanks, a colon and a text may follow.
    Named { colon: bool },
    /// At the beginning of the value.
    Value,
}

/// Result of scanning a text.
struct ScanResult {
    /// The rewritten text up to `copied`.
    out: Vec<u8>,
    /// Position behind the last replaced origin; 0: none was replaced.
    copied: usize,
    /// Where the search ended.
    at: usize,
}

impl Rewriter {
    pub(super) fn new(bases: Arc<LinkBases>) -> Self {
        Self { bases, state: ScanState::Outside, held: BytesMut::new(), escaped: false }
    }

    /// Takes a chunk and returns the bytes that are finished.
    pub(super) fn push(&mut self, chunk: &Bytes) -> Bytes {
        if self.held.is_empty() {
            return self.scan(chunk);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(chunk);
        let joined = joined.freeze();
        self.scan(&joined)
    }

    /// Returns the held bytes after the last chunk.
    pub(super) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// Rewrites a complete text; nothing is held back.
    pub(super) fn whole(mut self, text: &Bytes) -> Bytes {
        let result = self.scan_text(text);
        result.up_to(text, text.len())
    }

    /// Rewrites one chunk and holds back the bytes that need the next one.
    fn scan(&mut self, text: &Bytes) -> Bytes {
        let result = self.scan_text(text);
        let keep = self.keep_from(text, result.at);
        self.held = BytesMut::from(text.get(keep..).unwrap_or_default());
        self.escaped = self.chunk(text).is_escaped(keep);
        result.up_to(text, keep)
    }

    /// Scans one text.
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
                // CC writes no blanks between name and value.
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
                            result.replace(text, length, &self.bases.own);
                        }
                    }
                    ScanState::Outside
                }
            };
        }
        self.state = state;
        result
    }

    /// Returns from where the text must wait for the next chunk: a name or a value that is cut in
    /// two.
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
    /// Replaces the origin at the current position by the broker's base.
    fn replace(&mut self, text: &[u8], length: usize, own: &str) {
        if self.copied == 0 {
            self.out.reserve_exact(capacity_for(text));
        }
        self.out.extend_from_slice(text.get(self.copied..self.at).unwrap_or_default());
        self.out.extend_from_slice(own.as_bytes());
        self.at += length;
        self.copied = self.at;
    }

    /// Returns the rewritten text up to a position. If nothing was replaced, the text itself
    /// without a copy.
    fn up_to(mut self, text: &Bytes, end: usize) -> Bytes {
        if self.copied == 0 {
            return text.slice(..end);
        }
        self.out.extend_from_slice(text.get(self.copied..end).unwrap_or_default());
        self.out.into()
    }
}

/// Returns the capacity for a rewritten text. A link is about 150 bytes of JSON, and the broker's
/// name about 20 bytes longer than the API's. With less capacity the text would be copied once
/// more.
fn capacity_for(text: &[u8]) -> usize {
    text.len() + text.len() / 8 + 64
}

#[cfg(test)]
mod tests;
