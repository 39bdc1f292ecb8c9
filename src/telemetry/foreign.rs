//! Texts of other systems: what was sent to them, and what looks like a token, is struck before a
//! text is cut to length and shown.
//!
//! Invariant: a struck text tells nothing about the secret, not even where a short one stood. Pure.
//! `oauth` and `capi` pass every text of an answer through [`strike`]; `writer` passes every log
//! line through `without_tokens`.

use std::borrow::Cow;

use memchr::memmem;

/// Stands where something was struck.
pub const STRUCK: &str = "(struck)";

/// A shorter secret could be guessed from the rest of the text, so the whole text is struck.
const SHORTEST_SECRET: usize = 4;

/// The beginning of every JWT: `{"` in base64url.
const JWT: &str = "eyJ";

/// A shorter run is no token.
const SHORTEST_JWT: usize = 16;

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
    let (mut shown, mut count, mut rest) = (String::new(), 0, text.as_str());
    while let Some(character) = rest.chars().next().filter(|_| count < longest) {
        let secret = long.iter().filter_map(|secret| length_of(secret, rest)).max();
        let token = Some(jwt_length(rest.as_bytes())).filter(|length| *length >= SHORTEST_JWT);
        let length = if let Some(length) = secret.max(token) {
            shown.push_str(STRUCK);
            count += STRUCK.len();
            length
        } else {
            shown.push(character);
            count += 1;
            character.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    shown
}

/// Returns log lines without what looks like a JWT.
pub(super) fn without_tokens(lines: &[u8]) -> Cow<'_, [u8]> {
    let mut tokens = memmem::find_iter(lines, JWT).peekable();
    if tokens.peek().is_none() {
        return Cow::Borrowed(lines);
    }
    let (mut shown, mut end) = (Vec::with_capacity(lines.len()), 0);
    for at in tokens {
        let length = jwt_length(lines.get(at..).unwrap_or_default());
        if at >= end && length >= SHORTEST_JWT {
            shown.extend_from_slice(lines.get(end..at).unwrap_or_default());
            shown.extend_from_slice(STRUCK.as_bytes());
            end = at + length;
        }
    }
    shown.extend_from_slice(lines.get(end..).unwrap_or_default());
    Cow::Owned(shown)
}

/// Returns the length of the JWT, or of its beginning, at the start of a text; 0 without one.
fn jwt_length(text: &[u8]) -> usize {
    if !text.starts_with(JWT.as_bytes()) {
        return 0;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'_' | b'-');
    text.iter().take_while(is_part).count()
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
    let (name, _) = text.strip_prefix('&')?.split_once(';')?;
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
    #[case::split_by_control("tok eyJhbGci\u{0}OiJSUzI1NiJ9.e", "tok (struck)")]
    fn what_looks_like_a_jwt_is_struck(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(strike(text, &[], 200), expected);
        if !text.contains('\u{0}') {
            assert_eq!(without_tokens(text.as_bytes()), expected.as_bytes());
        }
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
