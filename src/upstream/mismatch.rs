//! How a body or a query of a caller differs from the type that was expected, and where.
//!
//! Invariant: nothing here holds a value that was sent. A name that was sent stays only if it is
//! short and plain, as a name that was mistyped; every other text here is our own.

use std::fmt;

use serde_path_to_error::{Path, Segment};

use super::body::DecodeError;

/// Longest name that is repeated: the longest of ours has 20 characters. A token is longer.
const LONGEST_NAME: usize = 23;

/// A difference, and the place of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// From the root to the value that is wrong, or to the object whose members are wrong.
    pub path: Vec<BodyStep>,
    /// What is wrong there.
    pub kind: MismatchKind,
}

/// One step into a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyStep {
    /// Into an entry of a list, from 0.
    Entry(usize),
    /// Into a member of an object.
    Member(String),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MismatchKind {
    /// The text is not JSON.
    Syntax(DecodeError),
    /// A value has another type.
    Type {
        /// What must be there, in words: "a list".
        expected: &'static str,
        /// What is there, in words; `None` if only text can be there.
        found: Option<&'static str>,
    },
    /// There is no such member.
    UnknownMember {
        /// Its name; `None` if it is no plain name.
        name: Option<String>,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A member is missing.
    MissingMember(String),
    /// A member is there twice.
    RepeatedMember(String),
    /// Something else.
    Form,
}

/// What the texts of serde call a type, and what we call it.
const TYPES: [(&str, &str); 9] = [
    ("string", "a string"),
    ("boolean", "true or false"),
    ("integer", "a number"),
    ("floating point", "a number"),
    ("null", "null"),
    ("sequence", "a list"),
    ("map", "an object"),
    ("struct", "an object"),
    ("object", "an object"),
];
const NUMBER: &str = "a whole number from 0";

impl Mismatch {
    /// A text that is not JSON.
    pub fn syntax(error: DecodeError) -> Self {
        Self { path: Vec::new(), kind: MismatchKind::Syntax(error) }
    }

    /// Reads the text of an error of serde; `path` is where it happened.
    ///
    /// The text quotes the input. Of it only the names that our own types have are kept, and the
    /// words of `TYPES`.
    pub fn at(path: &Path, text: &str) -> Self {
        let mut steps: Vec<BodyStep> = path.iter().map(BodyStep::of).collect();
        let kind = MismatchKind::read(text);
        let kind = match kind {
            // The path leads to the member that does not exist.
            MismatchKind::UnknownMember { known, .. } => {
                let name = match steps.pop() {
                    Some(BodyStep::Member(name)) => Some(name).filter(|name| is_plain(name)),
                    Some(BodyStep::Entry(_)) | None => None,
                };
                MismatchKind::UnknownMember { name, known }
            }
            MismatchKind::Syntax(_)
            | MismatchKind::Type { .. }
            | MismatchKind::MissingMember(_)
            | MismatchKind::RepeatedMember(_)
            | MismatchKind::Form => kind,
        };
        Self { path: steps, kind }
    }

    /// Returns the JSON pointer (RFC 6901) of what is wrong. All names in it are plain.
    pub fn pointer(&self) -> String {
        let steps = self.path.iter().map(|step| match step {
            BodyStep::Entry(index) => format!("/{index}"),
            BodyStep::Member(name) => format!("/{name}"),
        });
        let last = self.member().map(|name| format!("/{name}"));
        steps.chain(last).collect()
    }

    /// Returns what the place is called: `tenants[0].subdomain`; empty for the whole body.
    pub fn place(&self) -> String {
        let mut place = String::new();
        let steps = self.path.iter().map(|step| match step {
            BodyStep::Entry(index) => (format!("[{index}]"), ""),
            BodyStep::Member(name) => (name.clone(), "."),
        });
        for (step, dot) in steps.chain(self.member().map(|name| (name.to_owned(), "."))) {
            place.push_str(if place.is_empty() { "" } else { dot });
            place.push_str(&step);
        }
        place
    }

    /// The member that is unknown, missing or there twice.
    fn member(&self) -> Option<&str> {
        match &self.kind {
            MismatchKind::UnknownMember { name, .. } => name.as_deref(),
            MismatchKind::MissingMember(name) | MismatchKind::RepeatedMember(name) => Some(name),
            MismatchKind::Syntax(_) | MismatchKind::Type { .. } | MismatchKind::Form => None,
        }
    }
}

impl BodyStep {
    fn of(segment: &Segment) -> Self {
        match segment {
            Segment::Seq { index } => Self::Entry(*index),
            Segment::Map { key } | Segment::Enum { variant: key } => Self::Member(key.clone()),
            Segment::Unknown => Self::Member(String::new()),
        }
    }
}

impl MismatchKind {
    /// Reads a text of serde. What it does not know is [`MismatchKind::Form`].
    fn read(text: &str) -> Self {
        // The end of the text is always ours: what was sent stands before it.
        let expected = text.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
        if text.starts_with("unknown field `") {
            let known = if text.contains("`, there are no fields") { "" } else { expected };
            return Self::UnknownMember { name: None, known: quoted(known) };
        }
        if let Some(name) = text.strip_prefix("missing field `") {
            return Self::MissingMember(until_quote(name));
        }
        if let Some(name) = text.strip_prefix("duplicate field `") {
            return Self::RepeatedMember(until_quote(name));
        }
        let value = text.strip_prefix("invalid type: ").or(text.strip_prefix("invalid value: "));
        if let (Some(value), Some(expected)) = (value, type_named(expected)) {
            return Self::Type { expected, found: type_named(value) };
        }
        if text.contains("`true` or `false`") {
            return Self::Type { expected: "true or false", found: None };
        }
        let is_number = ["invalid digit", "cannot parse integer", "number too"];
        if is_number.iter().any(|start| text.starts_with(start)) {
            return Self::Type { expected: NUMBER, found: None };
        }
        Self::Form
    }
}

fn type_named(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches("a ").trim_start_matches("an ");
    TYPES.iter().find(|(theirs, _)| text.starts_with(theirs)).map(|(_, ours)| *ours)
}

fn until_quote(text: &str) -> String {
    text.split('`').next().unwrap_or_default().to_owned()
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain)
}

/// What is wrong, as the end of a sentence that begins with the place.
impl fmt::Display for MismatchKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(out, "is not valid JSON: {error}"),
            Self::Type { expected, found: Some(found) } => {
                write!(out, "must be {expected}, but is {found}")
            }
            Self::Type { expected, found: None } => write!(out, "must be {expected}"),
            Self::UnknownMember { name, known } => {
                out.write_str(if name.is_some() { "is unknown" } else { "has an unknown name" })?;
                let near = name.as_deref().and_then(|name| nearest(name, known.iter()));
                match near {
                    Some(near) => write!(out, "; did you mean {near}?")?,
                    None => out.write_str(".")?,
                }
                match known.as_slice() {
                    [] => out.write_str(" None is known"),
                    known => write!(out, " Known are {}", known.join(", ")),
                }
            }
            Self::MissingMember(_) => out.write_str("is missing"),
            Self::RepeatedMember(_) => out.write_str("is there twice"),
            Self::Form => out.write_str("is not of the expected form"),
        }
    }
}

/// Returns whether one name is the other, written in another way or mistyped.
pub fn is_mistyped(name: &str, known: &str) -> bool {
    /// More is another name.
    const MOST_EDITS: usize = 2;
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    is_plain(name) && strsim::osa_distance(&plain(name), &plain(known)) <= MOST_EDITS
}

/// Returns the known name that is most similar to another one, if one is similar enough.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    /// Below this similarity a suggestion confuses more than it helps.
    const MIN_SIMILARITY: f64 = 0.75;
    let scored = known.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= MIN_SIMILARITY).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde::Deserialize;

    use super::{Mismatch, is_mistyped, nearest};
    use crate::upstream::body::decode_request;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Wanted {
        tenants: Vec<Entry>,
        apply: bool,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the shape is what is tested, not the values")]
    struct Entry {
        subdomain: String,
        adopt: Option<bool>,
    }

    fn refused(body: &str) -> Mismatch {
        decode_request::<Wanted>(body.as_bytes()).unwrap_err()
    }

    #[rstest]
    #[case::entry(r#"{"tenants":["t1"]}"#, "/tenants/0", "must be an object, but is a string")]
    #[case::list(r#"{"tenants":{}}"#, "/tenants", "must be a list, but is an object")]
    #[case::inner(
        r#"{"tenants":[{"subdomain":"a"},{"subdomain":7}]}"#,
        "/tenants/1/subdomain",
        "must be a string, but is a number"
    )]
    #[case::float(r#"{"apply":1.5}"#, "/apply", "must be true or false, but is a number")]
    #[case::text(r#"{"apply":"true"}"#, "/apply", "must be true or false, but is a string")]
    #[case::null(r#"{"apply":null}"#, "/apply", "must be true or false, but is null")]
    #[case::truth(r#"{"tenants":true}"#, "/tenants", "must be a list, but is true or false")]
    #[case::near(
        r#"{"tenant":[]}"#,
        "/tenant",
        "is unknown; did you mean tenants? Known are tenants, apply"
    )]
    #[case::far(r#"{"xyz":[]}"#, "/xyz", "is unknown. Known are tenants, apply")]
    #[case::missing(r#"{"tenants":[{}]}"#, "/tenants/0/subdomain", "is missing")]
    #[case::twice(r#"{"apply":true,"apply":true}"#, "/apply", "is there twice")]
    #[case::inner_twice(
        r#"{"tenants":[{"subdomain":"a","subdomain":"b"}]}"#,
        "/tenants/0/subdomain",
        "is there twice"
    )]
    #[case::syntax(
        "{\n\"apply\": tru}",
        "",
        "is not valid JSON: syntax error at line 2, column 13"
    )]
    #[case::cut(r#"{"tenants":["#, "", "is not valid JSON: unexpected end at line 1, column 12")]
    #[case::empty("", "", "is not valid JSON: unexpected end at line 1, column 0")]
    #[case::rest("{} {}", "", "is not valid JSON: syntax error at line 1, column 4")]
    fn a_mismatch_names_the_member_and_what_is_expected(
        #[case] body: &str,
        #[case] pointer: &str,
        #[case] says: &str,
    ) {
        let got = refused(body);
        assert_eq!((got.pointer().as_str(), got.kind.to_string().as_str()), (pointer, says));
        let pointed = got.place().replace(['.', '['], "/").replace(']', "");
        assert_eq!(pointed, pointer.trim_start_matches('/'));
    }

    #[rstest]
    #[case::long("a name that is much too long to be one that was mistyped")]
    #[case::token("eyJhbGciOiJIUzI1NiJ9.e30")]
    #[case::quotes("`, expected `pw-canary")]
    #[case::no_fields("`, there are no fields")]
    #[case::control("a\u{202e}b")]
    #[case::empty("")]
    fn a_name_that_is_not_plain_is_not_repeated(#[case] name: &str) {
        let got = refused(&serde_json::json!({ name: "pw-canary" }).to_string());
        assert_eq!((got.pointer(), got.place()), (String::new(), String::new()));
        let says = got.kind.to_string();
        assert!(says.starts_with("has an unknown name. "), "{says}");
        assert!(!says.contains("canary") && (name.is_empty() || !says.contains(name)), "{says}");
    }

    #[test]
    fn a_value_cannot_pretend_to_be_what_is_expected() {
        let value = "x, expected a sequence at line 1 column 1, expected `pw-canary`";
        let got = refused(&serde_json::json!({ "apply": value }).to_string());
        assert_eq!(got.kind.to_string(), "must be true or false, but is a string");
    }

    #[test]
    fn only_a_similar_name_is_near() {
        let known = ["subdomain".to_owned(), "domain".to_owned()];
        assert_eq!(nearest("subdomian", known.iter()), Some("subdomain"));
        assert_eq!(nearest("page", known.iter()), None);
    }

    #[rstest]
    #[case("subDomain", "subdomain", true)]
    #[case("sub_domain", "subdomain", true)]
    #[case("subdomian", "subdomain", true)]
    #[case("tenant", "tenantId", true)]
    #[case("TENANT-ID", "tenantId", true)]
    #[case("subscriptionAppId", "subscribedTenantId", false)]
    #[case("eventType", "tenantId", false)]
    fn another_way_to_write_a_name_is_found(
        #[case] name: &str,
        #[case] known: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(is_mistyped(name, known), expected);
    }

    proptest! {
        /// Whatever is sent, nothing of a value comes back.
        #[test]
        fn no_value_is_repeated(
            before in "[{\\[\"a-z:,]{0,12}",
            name in "tenants|apply|subdomain|x{1,30}",
            after in "[}\\],\"a-z]{0,12}",
        ) {
            let body = format!("{before}{{\"{name}\":\"pw-canary\"}}{after}");
            if let Err(got) = decode_request::<Wanted>(body.as_bytes()) {
                let all = format!("{got:?} {} {} {}", got.pointer(), got.place(), got.kind);
                prop_assert!(!all.contains("canary"), "{all}");
            }
        }
    }
}
