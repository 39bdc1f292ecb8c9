//! JSON fields, formatted from the fields of events and spans.
//!
//! Invariant: the output is valid JSON for every value; a name occurs once. Used by
//! `telemetry::logs` only.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use tracing::field::{Field, Visit};

/// Largest buffer of a line or span that is kept for reuse: most need a few hundred bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Fields of a JSON object, each followed by a comma.
#[derive(Debug, Default)]
pub(super) struct JsonFields {
    text: Vec<u8>,
    /// Names in the text, and the range of their field.
    ranges: Vec<(&'static str, Range<usize>)>,
}

impl JsonFields {
    /// Returns the text so far.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Clears the content and keeps the buffer.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        if self.text.capacity() > KEPT_CAPACITY {
            self.text = Vec::new();
        }
        self.text.clear();
    }

    /// Appends text that is JSON already.
    pub(super) fn put(&mut self, json: &[u8]) {
        self.text.extend_from_slice(json);
    }

    /// Appends a quoted text.
    pub(super) fn put_text(&mut self, value: &str) {
        self.text.push(b'"');
        escape(&mut self.text, value);
        self.text.push(b'"');
    }

    /// Appends a number with at least `least` digits.
    pub(super) fn put_digits(&mut self, value: u64, least: usize) {
        digits(&mut self.text, value, least);
    }

    /// Replaces the last comma with an end.
    pub(super) fn close(&mut self, end: &[u8]) {
        self.text.pop();
        self.text.extend_from_slice(end);
    }

    /// Appends the fields of a span, except those that exist already.
    pub(super) fn append_missing(&mut self, span: &Self) {
        for (name, range) in &span.ranges {
            let known = self.ranges.iter().any(|(known, _)| known == name);
            if let Some(field) = span.text.get(range.clone()).filter(|_| !known) {
                let begin = self.text.len();
                self.text.extend_from_slice(field);
                self.ranges.push((name, begin..self.text.len()));
            }
        }
    }

    /// Appends a field; `message` becomes SAP's `msg`.
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Vec<u8>)) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let begin = self.text.len();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        value(&mut self.text);
        self.text.push(b',');
        self.ranges.push((name, begin..self.text.len()));
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |text| fraction(text, value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |text| {
            if value < 0 {
                text.push(b'-');
            }
            digits(text, value.unsigned_abs(), 1);
        });
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |text| digits(text, value, 1));
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record_u64(field, u64::try_from(value).unwrap_or(u64::MAX));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |text| text.extend_from_slice(if value { b"true" } else { b"false" }));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // An empty field is omitted.
        if !value.is_empty() {
            self.field(field, |text| {
                text.push(b'"');
                escape(text, value);
                text.push(b'"');
            });
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |text| {
            text.push(b'"');
            // If formatting a value fails, the part so far is kept.
            _ = write!(Escaping(text), "{value:?}");
            text.push(b'"');
        });
    }
}

/// Escapes what is written to it.
struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        escape(self.0, piece);
        Ok(())
    }
}

/// Appends a text as the content of a JSON string, so that no value can forge a field or a line.
fn escape(text: &mut Vec<u8>, value: &str) {
    if is_plain(value.as_bytes()) {
        text.extend_from_slice(value.as_bytes());
        return;
    }
    let mut buffer = [0; 4];
    for character in value.chars() {
        match character {
            '"' => text.extend_from_slice(b"\\\""),
            '\\' => text.extend_from_slice(b"\\\\"),
            '\n' => text.extend_from_slice(b"\\n"),
            '\r' => text.extend_from_slice(b"\\r"),
            '\t' => text.extend_from_slice(b"\\t"),
            '\0'..' ' => {
                text.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            }
            _ => text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes()),
        }
    }
}

/// Returns whether nothing needs escaping. Compares eight bytes at a time: each line has about 300
/// bytes to check.
fn is_plain(bytes: &[u8]) -> bool {
    let odd = |odd: u64, word: &[u8; 8]| odd | needs_escape(u64::from_ne_bytes(*word));
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\');
    };
    bytes.as_chunks().0.iter().fold(odd(0, last), odd) == 0
}

/// Is not zero if one of the eight bytes is below a space, a quote or a backslash. A byte borrows
/// from its highest bit only if it is less than the subtrahend (or if a lower byte borrowed, which
/// is a match as well).
fn needs_escape(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let same = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | same(b'"') | same(b'\\')) & HIGHEST
}

/// Appends a number with at least `least` digits.
fn digits(text: &mut Vec<u8>, value: u64, least: usize) {
    let mut written = [b'0'; 20];
    let (mut rest, mut count) = (value, 0);
    for digit in written.iter_mut().rev() {
        if rest == 0 && count >= least {
            break;
        }
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        count += 1;
    }
    text.extend_from_slice(written.get(written.len() - count..).unwrap_or_default());
}

/// Appends a number with up to six decimal places, without trailing zeros: a time in milliseconds
/// to the nanosecond. A number that needs more is written in full; infinite ones, unknown to JSON,
/// become 0.
fn fraction(text: &mut Vec<u8>, value: f64) {
    /// Units of the sixth decimal place.
    const PARTS: f64 = 1e6;
    const LEAST: f64 = 1e-3;
    const MOST: f64 = 1e9;
    if !(value == 0.0 || (LEAST..MOST).contains(&value)) {
        let value = Some(value).filter(|value| value.is_finite()).unwrap_or_default();
        text.extend_from_slice(value.to_string().as_bytes());
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below 1e15 and above zero, as checked above"
    )]
    let parts = (value * PARTS).round() as u64;
    digits(text, parts / 1_000_000, 1);
    let (mut behind, mut places) = (parts % 1_000_000, 6);
    if behind == 0 {
        return;
    }
    while behind % 10 == 0 {
        behind /= 10;
        places -= 1;
    }
    text.push(b'.');
    digits(text, behind, places);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use rstest::rstest;

    use super::{digits, escape, fraction, is_plain};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[rstest]
    #[case(0.0, "0")]
    #[case(1.0, "1")]
    #[case(0.25, "0.25")]
    #[case(1.234_567 * 1.0, "1.234567")]
    #[case(0.001_234_567_f64 * 1000.0, "1.234567")]
    #[case(12.000_001, "12.000001")]
    #[case(0.000_012_5, "0.0000125")]
    #[case(-1.5, "-1.5")]
    #[case(f64::NAN, "0")]
    #[case(f64::INFINITY, "0")]
    #[case(1e12, "1000000000000")]
    fn a_time_is_written_to_the_nanosecond(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(written(|text| fraction(text, value)), expected);
    }

    #[rstest]
    #[case(0, 1, "0")]
    #[case(7, 3, "007")]
    #[case(200, 1, "200")]
    #[case(u64::MAX, 1, "18446744073709551615")]
    fn a_number_has_its_digits(#[case] value: u64, #[case] least: usize, #[case] expected: &str) {
        assert_eq!(written(|text| digits(text, value, least)), expected);
    }

    proptest! {
        #[test]
        fn an_escaped_text_parses_to_the_original(value in "(?s).{0,40}", odd in "[\"\\\\\u{0}-\u{1f}a\u{7f}]{0,20}") {
            let value = value + &odd;
            let json = written(|text| escape(text, &value));
            prop_assert!(!json.bytes().any(|byte| byte < b' '));
            #[expect(clippy::disallowed_methods, reason = "reads back the text under test")]
            let back: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
            prop_assert_eq!(back, value);
        }

        #[test]
        fn plain_is_what_needs_no_escaping(value in "[ -~äß\u{80}-\u{ff}\u{0}-\u{1f}]{0,24}") {
            let plain = !value.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(is_plain(value.as_bytes()), plain);
        }
    }
}
