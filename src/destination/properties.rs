//! Java's `.properties` format, in which the cockpit exports destinations.
//!
//! Invariant: a text yields exactly the pairs that Java would read, or an error with line and kind.
//! It never panics and never quotes the text. Used by `local`.

use super::error::DestinationFileError;
use std::str::Chars;
use zeroize::Zeroizing;

/// Begin of the comment that a cockpit export writes in place of a secret.
const EXPORT_MARK: &str = "<<";

/// A parsed file.
#[derive(Default)]
pub(super) struct Properties {
    /// Key and value in the order of the file.
    pub(super) pairs: Vec<(String, Zeroizing<String>)>,
    /// Keys of secrets that the export removed, from comments such as `#Password=<< … >>`.
    pub(super) removed: Vec<String>,
}

/// Parses bytes as UTF-8, else as ISO-8859-1, the format's older encoding.
pub(super) fn parse(bytes: &[u8]) -> Result<Properties, DestinationFileError> {
    let text = Zeroizing::new(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    });
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut properties = Properties::default();
    for line in logical_lines(text) {
        if line.kind == LineKind::Comment {
            properties.removed.extend(removed_secret(&line.text));
            continue;
        }
        let (key, value) = split(&line)?;
        if properties.pairs.iter().any(|(earlier, _)| *earlier == key) {
            return Err(line.error_at("a key that is given twice"));
        }
        properties.pairs.push((key, value));
    }
    Ok(properties)
}

/// A logical line in Java's sense: continuation lines joined, leading blanks removed.
struct LogicalLine {
    /// Number of its first natural line, from 1.
    number: usize,
    kind: LineKind,
    text: Zeroizing<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    /// The text is stored without the comment character.
    Comment,
    Pair,
}

impl LogicalLine {
    fn new(index: usize, kind: LineKind, text: &str) -> Self {
        Self { number: index + 1, kind, text: Zeroizing::new(text.to_owned()) }
    }

    fn error_at(&self, kind: &'static str) -> DestinationFileError {
        DestinationFileError::Properties { line: self.number, kind }
    }
}

fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (index, natural) in natural_lines(text).enumerate() {
        let natural = natural.trim_start_matches(is_blank);
        let comment = natural.strip_prefix(['#', '!']);
        let mut line = match (open.take(), comment) {
            (Some(line), _) => line,
            (None, Some(comment)) => {
                // A backslash at the end of a comment does not continue it.
                lines.push(LogicalLine::new(index, LineKind::Comment, comment));
                continue;
            }
            (None, None) => LogicalLine::new(index, LineKind::Pair, ""),
        };
        let part = continued(natural);
        line.text.push_str(part.unwrap_or(natural));
        if part.is_some() {
            open = Some(line);
        } else {
            lines.push(line);
        }
    }
    // A backslash at the end of the file continues nothing.
    lines.extend(open);
    lines.retain(|line| !line.text.is_empty());
    lines
}

/// Lines end at a line feed, a carriage return, or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line).split('\r')
    })
}

/// Returns the line without its last backslash, if that backslash continues the line and is not
/// itself escaped.
fn continued(line: &str) -> Option<&str> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    if backslashes % 2 == 1 { line.strip_suffix('\\') } else { None }
}

fn split(line: &LogicalLine) -> Result<(String, Zeroizing<String>), DestinationFileError> {
    let mut chars = line.text.chars();
    let mut key = String::new();
    let mut end = None;
    while let Some(next) = chars.next() {
        if next == '\\' {
            unescape(&mut chars, &mut key).map_err(|kind| line.error_at(kind))?;
        } else if next == '=' || next == ':' || is_blank(next) {
            end = Some(next);
            break;
        } else {
            key.push(next);
        }
    }
    let mut rest = chars.as_str().trim_start_matches(is_blank);
    if end.is_some_and(is_blank) {
        // Blanks may precede the separator.
        let after = rest.strip_prefix(['=', ':']).unwrap_or(rest);
        rest = after.trim_start_matches(is_blank);
    }
    let mut value = Zeroizing::new(String::with_capacity(rest.len()));
    let mut chars = rest.chars();
    while let Some(next) = chars.next() {
        if next == '\\' {
            unescape(&mut chars, &mut value).map_err(|kind| line.error_at(kind))?;
        } else {
            value.push(next);
        }
    }
    Ok((key, value))
}

/// Reads what follows a backslash. Java drops a backslash before a character without special
/// meaning.
fn unescape(chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    match chars.next() {
        None => {}
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => out.push(unicode(chars)?),
        Some(other) => out.push(other),
    }
    Ok(())
}

/// Reads `XXXX` after `\u`, and the second half of a surrogate pair.
fn unicode(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    const BROKEN: &str = "a broken \\u escape";
    let first = code_unit(chars).ok_or(BROKEN)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or(BROKEN);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(BROKEN);
    }
    let second = code_unit(chars).filter(|unit| (0xdc00..0xe000).contains(unit)).ok_or(BROKEN)?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(BROKEN)
}

fn code_unit(chars: &mut Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}

fn removed_secret(comment: &str) -> Option<String> {
    let (key, value) = comment.split_once('=')?;
    let key = key.trim();
    let is_key = !key.is_empty() && !key.contains(is_blank);
    (is_key && value.trim_start().starts_with(EXPORT_MARK)).then(|| key.to_owned())
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::{DestinationFileError, parse};
    use proptest::{collection::vec, prelude::any, proptest};
    use rstest::rstest;
    use std::collections::BTreeMap;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        let properties = parse(text).unwrap();
        properties.pairs.into_iter().map(|(key, value)| (key, value.to_string())).collect()
    }

    fn pair(text: &str) -> (String, String) {
        let mut pairs = pairs(text.as_bytes());
        assert_eq!(pairs.len(), 1);
        pairs.remove(0)
    }

    #[rstest]
    #[case("key=value", "key", "value")]
    #[case("key:value", "key", "value")]
    #[case("key value", "key", "value")]
    #[case("  \tkey = value", "key", "value")]
    #[case("key \t:  value ", "key", "value ")]
    #[case("key==value", "key", "=value")]
    #[case("key= =value", "key", "=value")]
    #[case("key", "key", "")]
    #[case("key=", "key", "")]
    #[case(r"a\=b\:c\ d=e", "a=b:c d", "e")]
    #[case(r"k=https\://h\=\!\#\\\t|\n|\u00e4\uD83D\uDE00|\q", "k", "https://h=!#\\\t|\n|ä😀|q")]
    #[case("k=a\\\n   b\\\r\n\tc", "k", "abc")]
    #[case("k=a\\\\\n", "k", "a\\")]
    #[case("k=a\\", "k", "a")]
    #[case("\u{feff}k=v", "k", "v")]
    #[case("k=a#b!c", "k", "a#b!c")]
    fn a_pair_is_read_as_java_reads_it(#[case] text: &str, #[case] key: &str, #[case] value: &str) {
        assert_eq!(pair(text), (key.to_owned(), value.to_owned()));
    }

    #[test]
    fn comments_and_blank_lines_are_not_pairs_and_comments_do_not_continue() {
        let text = b"# a=b\\\n! c=d\r\n\r\n   # e=f\n\t\ng=h\ri=j";
        let expected = [("g", "h"), ("i", "j")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        assert_eq!(pairs(b"User=t\xe4ch"), [("User".to_owned(), "täch".to_owned())]);
    }

    #[rstest]
    #[case("a=1\nb=2\n\na=3", 4)]
    #[case("a=1\nb=\\u12", 2)]
    #[case("a=\\uD800x", 1)]
    #[case("a=\\uDC00", 1)]
    fn errors_have_a_line(#[case] text: &str, #[case] expected: usize) {
        let Err(DestinationFileError::Properties { line, .. }) = parse(text.as_bytes()) else {
            panic!("read without error");
        };
        assert_eq!(line, expected);
    }

    #[test]
    fn a_secret_that_the_export_removed_is_noticed() {
        let text = b"#Password=<< Existing password/certificate removed on export >>\n#\n#Thu Jun 16\nName=x";
        assert_eq!(parse(text).unwrap().removed, ["Password"]);
    }

    /// Writes pairs like Java, but with the fewest escapes possible.
    fn print(pairs: &BTreeMap<String, String>) -> String {
        let escaped = |text: &str, is_key: bool| {
            let mut out = String::new();
            for (index, character) in text.chars().enumerate() {
                match character {
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\u{c}' => out.push_str("\\f"),
                    '\\' | '=' | ':' | '#' | '!' => out.extend(['\\', character]),
                    ' ' if is_key || index == 0 => out.push_str("\\ "),
                    '\u{feff}' => out.push_str("\\uFEFF"),
                    _ => out.push(character),
                }
            }
            out
        };
        let lines = pairs
            .iter()
            .map(|(key, value)| format!("{}={}\n", escaped(key, true), escaped(value, false)));
        lines.collect()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_text_of_its_own_alphabet_makes_it_panic(text in r"[a=: \\\n\r\tu0d8#!<]{0,80}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn parse_undoes_print(values in vec((".{1,12}", "(?s).{0,20}"), 0..6)) {
            let expected: BTreeMap<String, String> = values.into_iter().collect();
            let read: BTreeMap<String, String> = pairs(print(&expected).as_bytes()).into_iter().collect();
            assert_eq!(read, expected);
        }
    }
}
