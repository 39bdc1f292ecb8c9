//! Further body fields and headers of the token call: queries of the token URL,
//! `tokenServiceURL.queries.*`, `tokenService.body.*`, `tokenServiceURL.headers.*`. The rules are
//! in `docs/reference/destination.md`.
//!
//! Invariant: a destination cannot replace a field or header that the grant itself sets. Used by
//! `validate`.

use super::report::{ValidationReport, shown};
use crate::{
    binding::{FieldValue, Fields, Sealed, SecretForm},
    oauth::hint::FieldUse,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

const QUERIES: &str = "tokenServiceURL.queries.";
const BODY: &str = "tokenService.body.";
const HEADERS: &str = "tokenServiceURL.headers.";

/// Headers that the grant, the connection or the body's encoding set.
const FIXED_HEADERS: &[&str] =
    &["authorization", "host", "cookie", "accept", "transfer-encoding", "connection"];

/// Collects the further body fields: first those of the URL's query, then the properties in their
/// order.
pub(super) fn body(
    query: &[(String, String)],
    fields: &Fields,
    report: &mut ValidationReport,
) -> Vec<(String, SecretString)> {
    let in_url = query.iter().map(|(name, text)| (decoded(name), Sealed::new(&decoded(text))));
    let in_properties = fields.iter().filter_map(|(name, field)| {
        let parameter = name.strip_prefix(QUERIES).or_else(|| name.strip_prefix(BODY))?;
        match field {
            FieldValue::Sealed(sealed) => Some((parameter.to_owned(), sealed.clone())),
            // The login hint, which `origin` reads.
            FieldValue::Open(_) => None,
        }
    });
    let has_scope = fields.text("scope").is_some_and(|scope| !scope.is_empty());
    let mut extra: Vec<(String, SecretString)> = Vec::new();
    for (name, sealed) in in_url.chain(in_properties) {
        match FieldUse::of(&name) {
            FieldUse::LoginHint | FieldUse::Dropped => continue,
            FieldUse::Reserved => {
                let name = shown(&name);
                report.finding(format!("{name} may not be set by a query or body property"));
                continue;
            }
            FieldUse::Body => {}
        }
        let is_set = extra.iter().any(|(earlier, _)| *earlier == name);
        let finding = if is_set || (has_scope && name == "scope") {
            Some(format!("{} is set twice for the token call", shown(&name)))
        } else {
            check_value(&name, &sealed)
        };
        match finding {
            None => extra.push((name, sealed.text)),
            Some(finding) => report.finding(finding),
        }
    }
    extra
}

/// Collects the further headers and marks them sensitive.
pub(super) fn headers(fields: &Fields, report: &mut ValidationReport) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (property, field) in fields.iter() {
        let (Some(name), FieldValue::Open(value)) = (property.strip_prefix(HEADERS), field) else {
            continue;
        };
        let parsed =
            HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.as_str()).ok());
        let Some((name, mut value)) = parsed else {
            report.finding(format!("{} is not a valid header", shown(property)));
            continue;
        };
        if FIXED_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("content-") {
            report.finding(format!("{} may not be set", shown(property)));
            continue;
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers
}

fn check_value(name: &str, sealed: &Sealed) -> Option<String> {
    if name.is_empty() {
        return Some("a further field of the token call has no name".to_owned());
    }
    match sealed.form {
        SecretForm::HasNul => Some(format!("{} holds a NUL character", shown(name))),
        SecretForm::Empty
        | SecretForm::ExportMark
        | SecretForm::Placeholder
        | SecretForm::Usable => None,
    }
}

fn decoded(text: &str) -> String {
    let blanks = text.replace('+', " ");
    percent_encoding::percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{body, headers};
    use crate::{binding::Fields, destination::report::ValidationReport};
    use rstest::rstest;

    fn fields(properties: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, text) in properties {
            fields.push((*name).to_owned(), text);
        }
        fields
    }

    fn names(
        query: &[(&str, &str)],
        properties: &[(&str, &str)],
    ) -> (Vec<String>, ValidationReport) {
        let query: Vec<_> = query.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let mut report = ValidationReport::default();
        let extra = body(&query, &fields(properties), &mut report);
        (extra.into_iter().map(|(name, _)| name).collect(), report)
    }

    #[test]
    fn queries_and_body_properties_all_go_to_the_body_in_order() {
        let (names, report) = names(
            &[("a", "1"), ("login_hint", "x"), ("response_type", "token")],
            &[
                ("tokenService.body.b", "2"),
                ("tokenServiceURL.queries.c", "3"),
                ("tokenServiceURL.queries.login_hint", "{}"),
                ("tokenService.body.token_format", "opaque"),
            ],
        );
        assert_eq!(names, ["a", "b", "c"]);
        assert!(report.findings().is_empty());
    }

    #[rstest]
    #[case("username")]
    #[case("password")]
    #[case("passcode")]
    #[case("grant_type")]
    #[case("client_id")]
    #[case("client_secret")]
    #[case("client_assertion")]
    #[case("client_assertion_type")]
    #[case("assertion")]
    #[case("refresh_token")]
    fn reserved_names_are_findings_in_every_spelling(#[case] name: &str) {
        let (_, in_url) = names(&[(name, "x")], &[]);
        let (_, in_query) = names(&[], &[(&format!("tokenServiceURL.queries.{name}"), "x")]);
        let (_, in_body) = names(&[], &[(&format!("tokenService.body.{name}"), "x")]);
        for report in [in_url, in_query, in_body] {
            assert_eq!(report.findings().len(), 1);
        }
    }

    #[rstest]
    #[case(&[("a", "1"), ("%61", "2")], &[])]
    #[case(&[("a", "1")], &[("tokenService.body.a", "1")])]
    #[case(&[("scope", "x")], &[("scope", "y")])]
    #[case(&[("a", "%00")], &[])]
    #[case(&[("", "x")], &[])]
    fn what_would_be_ambiguous_is_a_finding(
        #[case] query: &[(&str, &str)],
        #[case] properties: &[(&str, &str)],
    ) {
        assert_eq!(names(query, properties).1.findings().len(), 1);
    }

    #[rstest]
    #[case("X-Thing", "v", 0)]
    #[case("Authorization", "v", 1)]
    #[case("HOST", "v", 1)]
    #[case("cookie", "v", 1)]
    #[case("Content-Type", "v", 1)]
    #[case("Accept", "v", 1)]
    #[case("Transfer-Encoding", "v", 1)]
    #[case("Connection", "v", 1)]
    #[case("a b", "v", 1)]
    #[case("X-Thing", "a\r\nb", 1)]
    fn only_headers_that_the_broker_does_not_set_may_be_set(
        #[case] name: &str,
        #[case] value: &str,
        #[case] findings: usize,
    ) {
        let mut report = ValidationReport::default();
        let property = format!("tokenServiceURL.headers.{name}");
        let headers = headers(&fields(&[(&property, value)]), &mut report);
        assert_eq!((report.findings().len(), headers.len()), (findings, 1 - findings));
        assert!(headers.values().all(http::HeaderValue::is_sensitive));
    }
}
