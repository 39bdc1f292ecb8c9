//! The origin of the technical user: four spellings, one login hint or a conflict. The spellings
//! are in `docs/reference/destination.md`.
//!
//! Invariant: a hint that cannot be read is a finding and never treated as absent: UAA would ask
//! its default identity provider and use up logon attempts there. Used by `validate`.

use super::report::ValidationReport;
use crate::{
    binding::Fields,
    oauth::{LoginHint, OriginKey},
};

/// Name of the parameter, in the query and in the body.
pub(super) const LOGIN_HINT: &str = "login_hint";

/// Origin keys of application trust: platform users do not exist there.
const APPLICATION_TRUST: [&str; 2] = ["sap.default", "sap.custom"];

const QUERY_PROPERTY: &str = "tokenServiceURL.queries.login_hint";
const BODY_PROPERTY: &str = "tokenService.body.login_hint";
const ORIGIN_PROPERTY: &str = "origin";

/// Returns the hint that all spellings agree on. `query` has the values from the token URL.
pub(super) fn resolve<'a>(
    query: impl Iterator<Item = &'a str>,
    fields: &Fields,
    report: &mut ValidationReport,
) -> Option<LoginHint> {
    let in_url = query.map(|text| ("the query of tokenServiceURL", text));
    let in_properties = [QUERY_PROPERTY, BODY_PROPERTY]
        .into_iter()
        .filter_map(|property| Some((property, fields.text(property)?)));
    let mut hints = Vec::new();
    for (location, text) in in_url.chain(in_properties) {
        match LoginHint::parse(text) {
            Ok(hint) => hints.push(hint),
            Err(error) => {
                report.finding(format!("login_hint in {location} cannot be used: {error}"));
            }
        }
    }
    if let Some(text) = fields.text(ORIGIN_PROPERTY) {
        match OriginKey::parse(text) {
            Ok(key) => hints.push(LoginHint::new(key)),
            Err(error) => report.finding(format!("property origin cannot be used: {error}")),
        }
    }
    agree(hints, report)
}

fn agree(mut hints: Vec<LoginHint>, report: &mut ValidationReport) -> Option<LoginHint> {
    let mut keys: Vec<&str> = hints.iter().map(|hint| hint.origin().as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() > 1 {
        let finding = format!("origin conflict: {}", keys.join(" / "));
        report.finding(finding);
        return None;
    }
    let hint = hints.pop();
    match hint.as_ref().map(LoginHint::origin) {
        None => report.warning(
            "no origin is given: UAA asks its default identity provider. Add ?login_hint=… to \
             tokenServiceURL, or the property origin",
        ),
        Some(key) if APPLICATION_TRUST.contains(&key.as_str()) => report.warning(
            "the origin is a key of application trust; technical users are known to platform \
             trust, whose keys end in -platform",
        ),
        Some(key) if !key.is_of_platform() => report.warning(
            "the origin is neither sap.ids nor does it end in -platform, as keys of platform trust \
             do",
        ),
        Some(_) => {}
    }
    hint
}

#[cfg(test)]
mod tests {
    use super::{BODY_PROPERTY, ORIGIN_PROPERTY, QUERY_PROPERTY, resolve};
    use crate::{binding::Fields, destination::report::ValidationReport};
    use rstest::rstest;

    const RAW: &str = r#"{"origin":"acme-platform"}"#;
    const BLOG: &str = "%7B%22origin%22:%22acme-platform%22%7D";
    const FULL: &str = "%7B%22origin%22%3A%22acme-platform%22%7D";
    const DOUBLE: &str = "%257B%2522origin%2522%253A%2522acme-platform%2522%257D";
    const FOREIGN: &str = r#"{"origin":"other-platform"}"#;

    /// One spelling: where the origin is written.
    #[derive(Clone, Copy, Debug)]
    enum Location {
        Query,
        QueryProperty,
        BodyProperty,
        Origin,
    }

    fn resolve_spellings(spellings: &[(Location, &str)]) -> (Option<String>, ValidationReport) {
        let mut fields = Fields::default();
        let mut query = Vec::new();
        for (location, text) in spellings {
            match location {
                Location::Query => query.push(*text),
                Location::QueryProperty => fields.push(QUERY_PROPERTY.to_owned(), text),
                Location::BodyProperty => fields.push(BODY_PROPERTY.to_owned(), text),
                Location::Origin => fields.push(ORIGIN_PROPERTY.to_owned(), text),
            }
        }
        let mut report = ValidationReport::default();
        let hint = resolve(query.into_iter(), &fields, &mut report);
        (hint.map(|hint| hint.origin().as_str().to_owned()), report)
    }

    #[rstest]
    #[case(Location::Query, BLOG)]
    #[case(Location::Query, FULL)]
    #[case(Location::Query, DOUBLE)]
    #[case(Location::Query, RAW)]
    #[case(Location::QueryProperty, RAW)]
    #[case(Location::QueryProperty, FULL)]
    #[case(Location::BodyProperty, RAW)]
    #[case(Location::BodyProperty, BLOG)]
    #[case(Location::Origin, "acme-platform")]
    fn each_spelling_alone_gives_the_key(#[case] location: Location, #[case] text: &str) {
        let (key, report) = resolve_spellings(&[(location, text)]);
        assert_eq!(key.as_deref(), Some("acme-platform"));
        assert!(report.findings().is_empty() && report.warnings().is_empty());
    }

    #[rstest]
    fn each_pair_agrees_or_conflicts(
        #[values(
            (Location::Query, BLOG, FOREIGN),
            (Location::QueryProperty, RAW, FOREIGN),
            (Location::BodyProperty, FULL, FOREIGN),
            (Location::Origin, "acme-platform", "other-platform")
        )]
        one: (Location, &str, &str),
        #[values(
            (Location::Query, BLOG, FOREIGN),
            (Location::QueryProperty, RAW, FOREIGN),
            (Location::BodyProperty, FULL, FOREIGN),
            (Location::Origin, "acme-platform", "other-platform")
        )]
        other: (Location, &str, &str),
    ) {
        let same = std::mem::discriminant(&one.0) == std::mem::discriminant(&other.0);
        // A property cannot be given twice; a query pair can.
        if same && !matches!(one.0, Location::Query) {
            return;
        }
        let (key, report) = resolve_spellings(&[(one.0, one.1), (other.0, other.1)]);
        assert_eq!(key.as_deref(), Some("acme-platform"));
        assert!(report.findings().is_empty());
        let (key, report) = resolve_spellings(&[(one.0, one.1), (other.0, other.2)]);
        assert_eq!(key, None);
        assert_eq!(report.findings(), ["origin conflict: acme-platform / other-platform"]);
    }

    #[rstest]
    #[case(Location::Query, "acme-platform")]
    #[case(Location::Query, "")]
    #[case(Location::Query, "%7B%7D")]
    #[case(Location::BodyProperty, r#"{"origin":null}"#)]
    #[case(Location::BodyProperty, r#"{"origin":"a","user":"b"}"#)]
    #[case(Location::QueryProperty, "%zz")]
    #[case(Location::Origin, "")]
    #[case(Location::Origin, "a b")]
    #[case(Location::Origin, "0123456789012345678901234567890123456")]
    fn an_unreadable_hint_is_a_finding_and_never_absent(
        #[case] location: Location,
        #[case] text: &str,
    ) {
        let (key, report) = resolve_spellings(&[(location, text)]);
        assert_eq!((key, report.findings().len()), (None, 1));
    }

    #[test]
    fn no_origin_is_a_warning() {
        let (key, report) = resolve_spellings(&[]);
        assert_eq!((key, report.warnings().len(), report.findings().len()), (None, 1, 0));
    }

    #[rstest]
    #[case("sap.ids", 0)]
    #[case("sap.default", 1)]
    #[case("sap.custom", 1)]
    #[case("uaa", 0)]
    #[case("acme", 1)]
    fn keys_of_application_trust_are_noticed(#[case] key: &str, #[case] warnings: usize) {
        let (found, report) = resolve_spellings(&[(Location::Origin, key)]);
        assert_eq!((found.as_deref(), report.warnings().len()), (Some(key), warnings));
    }
}
