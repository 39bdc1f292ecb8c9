//! Finds the end of a request head in the received bytes, and keeps its request line.
//!
//! Invariant: lines and the end of a head are the same as for hyper's parser; nothing else of the
//! head is interpreted here. Only `server::guard` uses this.

/// Bytes kept of a request line. Path and query may have 2048 and 4096 bytes, so a longer line is
/// refused anyway.
pub(super) const LONGEST_LINE: usize = 8 * 1024;

/// Scans a head while it is received.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    /// The request line without its line end, up to the limit.
    line: Vec<u8>,
    /// Whether the request line has ended.
    past_line: bool,
    /// Bytes of the current line.
    length: usize,
    /// Whether that line is a single carriage return so far.
    only_return: bool,
    /// All bytes received.
    taken: usize,
}

impl HeadScanner {
    /// Scans the next bytes; returns how many of them belong to the head if it ends here.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        self.taken = self.taken.saturating_add(bytes.len());
        for end in memchr::memchr_iter(b'\n', bytes) {
            let piece = bytes.get(from..end).unwrap_or_default();
            self.take(piece);
            from = end + 1;
            let blank = self.length == 0 || (self.length == 1 && self.only_return);
            self.length = 0;
            if blank && self.past_line {
                return Some(from);
            }
            // Empty lines before the request line are skipped (RFC 9112, 2.2).
            self.past_line |= !blank;
            if blank {
                self.line.clear();
            }
        }
        self.take(bytes.get(from..).unwrap_or_default());
        None
    }

    /// Returns the request line without its line end, cut at [`LONGEST_LINE`]; incomplete until the
    /// line has ended.
    pub(super) fn line(&self) -> &[u8] {
        self.line.strip_suffix(b"\r").unwrap_or(&self.line)
    }

    /// Returns whether this is the preface of HTTP/2, which is not supported.
    pub(super) fn is_preface(&self) -> bool {
        self.past_line && self.line() == b"PRI * HTTP/2.0"
    }

    /// Returns how many bytes were received.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Resets the scanner and keeps its buffer for the next head.
    pub(super) fn reset(&mut self) {
        self.line.clear();
        *self = Self { line: std::mem::take(&mut self.line), ..Self::default() };
    }

    fn take(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        if self.length == 0 {
            self.only_return = piece.first() == Some(&b'\r');
        }
        self.length = self.length.saturating_add(piece.len());
        if !self.past_line {
            let free = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..free).unwrap_or(piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use rstest::rstest;

    use super::{HeadScanner, LONGEST_LINE};

    #[rstest]
    #[case(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", Some(27))]
    #[case(b"GET / HTTP/1.1\nHost: a\n\nrest", Some(24))]
    #[case(b"\r\n\nGET / HTTP/1.1\r\n\r\n", Some(21))]
    #[case(b"GET / HTTP/1.1\r\nA: 1\r\n \r\n", None)]
    #[case(b"GET / HTTP/1.1\r\nA: 1\r\n", None)]
    #[case(b"\r\n\r\n\r\n", None)]
    fn a_head_ends_with_the_first_blank_line_after_the_request_line(
        #[case] bytes: &[u8],
        #[case] end: Option<usize>,
    ) {
        assert_eq!(HeadScanner::default().feed(bytes), end);
    }

    #[test]
    fn the_line_is_kept_as_received_up_to_its_limit() {
        let mut head = HeadScanner::default();
        head.feed(b"\r\nGET /v3/apps#x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head.line(), b"GET /v3/apps#x HTTP/1.1");
        head.reset();
        head.feed(&vec![b'a'; 3 * LONGEST_LINE]);
        assert_eq!(head.line().len(), LONGEST_LINE);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn pieces_give_the_same_result_as_the_whole(text in "[\r\nab ]{0,24}", cut in 0_usize..24) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let (mut whole, mut pieces) = (HeadScanner::default(), HeadScanner::default());
            let expected = whole.feed(bytes);
            let found = match pieces.feed(first) {
                Some(end) => Some(end),
                None => pieces.feed(second).map(|end| end + first.len()),
            };
            prop_assert_eq!(found, expected);
            prop_assert_eq!(pieces.line(), whole.line());
        }
    }
}
