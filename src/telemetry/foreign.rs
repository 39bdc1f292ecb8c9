//! Texts of other systems: what was sent to them, and what looks like a token, is struck before a
//! text is cut to length and shown.
//!
//! Invariant: a struck text tells nothing about the secret, not even where a short one stood. Pure.
//! `oauth` and `capi` pass every text of an answer through [`strike`]; `writer` passes every log
//! line through `without_tokens`.

use std::{borrow::Cow, ops::Range};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use memchr::memmem;
use serde_json::{Map, Value};

/// Stands where something was struck.
pub const STRUCK: &str = "(struck)";

/// A shorter secret could be guessed from the rest of the text, so the whole text is struck.
const SHORTEST_SECRET: usize = 4;

/// The usual beginning of a JWT, also of one that was cut: `{"` in base64url.
const JWT: &str = "eyJ";

/// A shorter run is no token. The header of every JWT is longer.
const SHORTEST_JWT: usize = 16;

/// Characters of base64url in which the object must have begun.
const LONGEST_BEGINNING: usize = 256;

/// A longer header is not parsed: its beginning suffices.
const LONGEST_HEADER: usize = 8 * 1024;

/// Longest name of an entity, with leading zeros.
const LONGEST_ENTITY: usize = 16;

/// Returns a foreign text for one log line: without control characters, without what was `sent`,
/// without what looks like a JWT, and then at most `longest` characters of it.
///
/// A secret is found in plain, URL-encoded, HTML-escaped and JSON-escaped form, and in any mixture
/// of these.
pub fn strike(text: &str, sent: &[&str], longest: usize) -> String {
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    let (short, long): (Vec<&str>, Vec<&str>) = sent
        .iter()
        .filter(|secret| !secret.is_empty())
        .partition(|secret| secret.chars().count() < SHORTEST_SECRET);
    let holds = |secret: &&str| {
        text.char_indices().any(|(at, _)| length_of(secret, text.get(at..).unwrap_or("")).is_some())
    };
    if short.iter().any(holds) {
        return STRUCK.to_owned();
    }
    let tokens = tokens(text.as_bytes());
    let (mut shown, mut count, mut at) = (String::new(), 0, 0);
    while let Some(rest) = text.get(at..)
        && let Some(character) = rest.chars().next().filter(|_| count < longest)
    {
        let secret = long.iter().filter_map(|secret| length_of(secret, rest)).max();
        let token = tokens.iter().find(|token| token.contains(&at)).map(|token| token.end - at);
        at += if let Some(length) = secret.max(token) {
            shown.push_str(STRUCK);
            count += STRUCK.len();
            length
        } else {
            shown.push(character);
            count += 1;
            character.len_utf8()
        };
    }
    shown
}

/// Returns log lines without what looks like a JWT.
pub(super) fn without_tokens(lines: &[u8]) -> Cow<'_, [u8]> {
    let tokens = tokens(lines);
    if tokens.is_empty() {
        return Cow::Borrowed(lines);
    }
    let (mut shown, mut end) = (Vec::with_capacity(lines.len()), 0);
    for token in tokens {
        shown.extend_from_slice(lines.get(end..token.start).unwrap_or_default());
        shown.extend_from_slice(STRUCK.as_bytes());
        end = token.end;
    }
    shown.extend_from_slice(lines.get(end..).unwrap_or_default());
    Cow::Owned(shown)
}

/// Returns what looks like a JWT, in order and without overlaps: a long run that begins with `eyJ`,
/// or whatever follows a header (a JSON object in base64url and a dot).
fn tokens(text: &[u8]) -> Vec<Range<usize>> {
    let usual = memmem::find_iter(text, JWT);
    let mut found: Vec<_> = usual
        .chain(headers(text))
        .map(|start| start..start + run_length(text.get(start..).unwrap_or_default()))
        .filter(|token| token.len() >= SHORTEST_JWT)
        .collect();
    found.sort_unstable_by_key(|token| token.start);
    found.dedup_by(|next, token| {
        let overlaps = next.start < token.end;
        token.end = if overlaps { token.end.max(next.end) } else { token.end };
        overlaps
    });
    found
}

/// Returns where the headers of JWTs begin, whatever blanks their objects have.
fn headers(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut after_last = 0;
    memchr::memchr_iter(b'.', text).filter_map(move |dot| {
        let segment = text.get(after_last..dot).unwrap_or_default();
        after_last = dot + 1;
        let length = segment.iter().rev().take_while(|byte| is_base64url(**byte)).count();
        let start = dot - length;
        let last = dot.checked_sub(SHORTEST_JWT)?;
        (start..=last).find(|at| is_header(text.get(*at..dot).unwrap_or_default()))
    })
}

/// Returns whether a run of base64url is a JSON object. A very long one is not read to its end.
fn is_header(segment: &[u8]) -> bool {
    // Where `{`, blank, line feed, carriage return and tab lead.
    if !matches!(segment.first(), Some(b'e' | b'I' | b'C' | b'D')) {
        return false;
    }
    let beginning = segment.get(..LONGEST_BEGINNING).unwrap_or(segment);
    let beginning = beginning.get(..beginning.len() & !3).unwrap_or_default();
    let begins = URL_SAFE_NO_PAD.decode(beginning).is_ok_and(|bytes| is_object_start(&bytes));
    begins && (segment.len() > LONGEST_HEADER || is_object(segment))
}

#[expect(clippy::disallowed_methods, reason = "the error, which quotes the input, is dropped")]
fn is_object(segment: &[u8]) -> bool {
    URL_SAFE_NO_PAD
        .decode(segment)
        .is_ok_and(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok())
}

fn is_object_start(bytes: &[u8]) -> bool {
    let inside = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| matches!(inside.first(), Some(b'"' | b'}') | None))
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Returns the length of the token, or of its beginning, at the start of a text.
fn run_length(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_base64url(**byte) || **byte == b'.').count()
}

/// Returns the length of a secret at the start of a text, however each of its characters is
/// written.
fn length_of(secret: &str, text: &str) -> Option<usize> {
    let mut ends = vec![0];
    for character in secret.chars() {
        let mut next = Vec::new();
        for end in ends {
            let rest = text.get(end..)?;
            next.extend(
                spellings(character, rest).into_iter().flatten().map(|length| end + length),
            );
        }
        if next.is_empty() {
            return None;
        }
        next.sort_unstable();
        next.dedup();
        ends = next;
    }
    ends.pop().filter(|length| *length > 0)
}

/// Returns the lengths of the forms of a character at the start of a text.
fn spellings(character: char, text: &str) -> [Option<usize>; 6] {
    [
        // The text has no control characters any more.
        character.is_control().then_some(0),
        text.starts_with(character).then(|| character.len_utf8()),
        (character == ' ' && text.starts_with('+')).then_some(1),
        percent(character, text),
        entity(character, text),
        escape(character, text),
    ]
}

/// `%C3%A4`.
fn percent(character: char, text: &str) -> Option<usize> {
    let mut buffer = [0; 4];
    let mut rest = text;
    for byte in character.encode_utf8(&mut buffer).bytes() {
        let (digits, after) = rest.strip_prefix('%')?.split_at_checked(2)?;
        if u8::from_str_radix(digits, 16).ok()? != byte {
            return None;
        }
        rest = after;
    }
    Some(text.len() - rest.len())
}

/// `&quot;`, `&#34;` or `&#x22;`.
fn entity(character: char, text: &str) -> Option<usize> {
    let rest = text.strip_prefix('&')?;
    let end = rest.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';')?;
    let name = rest.get(..end)?;
    let numeric = name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    });
    let meant = match name {
        "quot" => Some('"'),
        "apos" => Some('\''),
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => numeric.and_then(char::from_u32),
    };
    (meant == Some(character)).then(|| name.len() + 2)
}

/// `\"`, `\n`, `\u00e4`, two of these for a character beyond the first plane; `\&quot;` too.
fn escape(character: char, text: &str) -> Option<usize> {
    let escaped = text.strip_prefix('\\')?;
    let meant = match escaped.chars().next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode_escape(character, text),
        '&' => return entity(character, escaped).map(|length| length + 1),
        same @ ('"' | '\\' | '/') => same,
        _ => return None,
    };
    (meant == character).then_some(2)
}

fn unicode_escape(character: char, text: &str) -> Option<usize> {
    let mut buffer = [0; 2];
    let mut rest = text;
    for unit in character.encode_utf16(&mut buffer).iter() {
        let (digits, after) = rest.strip_prefix("\\u")?.split_at_checked(4)?;
        if u16::from_str_radix(digits, 16).ok()? != *unit {
            return None;
        }
        rest = after;
    }
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::{STRUCK, strike, without_tokens};
    use proptest::prelude::{prop_assert, proptest};
    use rstest::rstest;

    const SECRET: &str = "P<a>s&s \"w\"/ö😀'%41+\\";
    const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

    /// The forms in which a system may repeat what it was sent.
    fn forms(secret: &str) -> Vec<String> {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let percent: Vec<String> = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let percent = percent.concat();
        let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let html = html.replace('"', "&quot;").replace('\'', "&#39;");
        let json = serde_json::Value::from(secret).to_string();
        let json = json.trim_start_matches('"').strip_suffix('"').unwrap().to_owned();
        let units = secret.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        let both = json.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let both = both.replace('"', "&quot;").replace('\'', "&#x27;");
        vec![
            secret.to_owned(),
            form.replace('+', "%20"),
            form,
            percent,
            html,
            json,
            units.collect(),
            both,
        ]
    }

    #[test]
    fn a_secret_is_struck_in_every_form_and_its_surroundings_stay() {
        for form in forms(SECRET) {
            let text = format!("user x said {form}, twice: {form}.");
            let expected = format!("user x said {STRUCK}, twice: {STRUCK}.");
            assert_eq!(strike(&text, &["other", SECRET], 200), expected, "{form}");
        }
    }

    #[test]
    fn the_text_is_struck_before_it_is_cut() {
        for (secret, form) in [(SECRET, SECRET.to_owned()), ("", JWT.to_owned())] {
            for before in 150..220 {
                let text = format!("{}{form} and more", "-".repeat(before));
                let shown = strike(&text, &[secret], 200);
                assert!(!shown.contains("P<a") && !shown.contains("eyJ"), "{shown}");
                assert!(shown.chars().count() < 200 + STRUCK.len());
            }
        }
    }

    #[rstest]
    #[case::bearer(&format!("Bearer {JWT} is bad"), "Bearer (struck) is bad")]
    #[case::in_a_path(&format!("/v3/apps/{JWT}/env"), "/v3/apps/(struck)/env")]
    #[case::in_a_query(&format!("?t%3D{JWT}&x"), "?t%3D(struck)&x")]
    #[case::its_beginning("token eyJhbGciOiJSUzI1NiIs", "token (struck)")]
    #[case::no_token("eyJ is short", "eyJ is short")]
    #[case::two(&format!("{JWT} {JWT}"), "(struck) (struck)")]
    #[case::hosts(
        "https://login.cf-sandbox-landscape.example.com/x",
        "https://login.cf-sandbox-landscape.example.com/x"
    )]
    #[case::split_by_control("tok eyJhbGci\u{0}OiJSUzI1NiJ9.e", "tok (struck)")]
    fn what_looks_like_a_jwt_is_struck(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(strike(text, &[], 200), expected);
        if !text.contains('\u{0}') {
            assert_eq!(without_tokens(text.as_bytes()), expected.as_bytes());
        }
    }

    #[rstest]
    #[case::blank_inside("{ \"alg\": \"RS256\" }")]
    #[case::line_feed("{\n \"alg\": \"RS256\"\n}")]
    #[case::windows_lines("{\r\n\t\"alg\": \"RS256\"\r\n}")]
    #[case::tab("{\t\"alg\":\"RS256\"}")]
    #[case::blank_before(" \r\n\t {\"alg\":\"RS256\"}")]
    #[case::much_before("                                        {\"alg\":\"RS256\"}")]
    #[case::no_alg("{ \"typ\" : \"JWT\" }")]
    fn a_token_is_struck_however_its_header_is_written(
        #[case] header: &str,
        #[values("", "Bearer ", "?token=", "x%3D", "abc/")] before: &str,
        #[values("", ".c2lnbmF0dXJl")] signature: &str,
    ) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let token = format!("{}.eyJzdWIiOiIxIn0{signature}", URL_SAFE_NO_PAD.encode(header));
        let start = token.get(..8).unwrap();
        let text = format!("{before}{token} end");
        let expected = format!("{before}{STRUCK} end");
        let shown = strike(&text, &[], 400);
        assert!(shown == expected || !shown.contains(start) && shown.ends_with(" end"), "{shown}");
        let shown = String::from_utf8(without_tokens(text.as_bytes()).into_owned()).unwrap();
        assert!(!shown.contains(start), "{shown}");
    }

    #[test]
    fn a_long_text_and_a_short_secret_take_no_long_time() {
        // With a search for the end of each entity these are 10^10 steps.
        let text = "&".repeat(200_000);
        assert_eq!(strike(&text, &["a;b"], 10), "&".repeat(10));
        assert_eq!(strike(&"eIC.".repeat(50_000), &["a;b"], 4), "eIC.");
    }

    #[test]
    fn a_secret_split_by_control_characters_is_struck() {
        assert_eq!(strike("a Canary\u{7}-Pass b", &["Canary-Pass"], 200), "a (struck) b");
        assert_eq!(strike("a tab\\tbed b", &["tab\tbed"], 200), "a (struck) b");
    }

    #[test]
    fn a_short_secret_strikes_the_whole_text() {
        assert_eq!(strike("Bad credentials", &["a"], 200), STRUCK);
        assert_eq!(strike("Bad credentials", &["z", ""], 200), "Bad credentials");
    }

    #[test]
    fn lines_without_tokens_are_not_copied() {
        assert!(matches!(without_tokens(b"{\"a\":1}\n"), std::borrow::Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_survives(secret in "\\PC{6,20}", before in "\\PC{0,30}", cut in 0_usize..80) {
            for form in forms(&secret) {
                let shown = strike(&format!("{before}{form}"), &[&secret], cut);
                let is_in_front = before.contains(&secret);
                prop_assert!(is_in_front || !shown.contains(&form));
            }
        }
    }
}
