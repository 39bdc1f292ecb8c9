//! What is wrong or questionable in the properties of a destination, in words for an administrator.
//!
//! Invariant: as in `validate`. Used by `validate` and the readers of single properties.

use crate::binding::Fields;

/// Findings make the destination invalid; warnings do not.
#[derive(Clone, Debug, Default)]
pub(super) struct ValidationReport {
    findings: Vec<String>,
    warnings: Vec<String>,
}

impl ValidationReport {
    pub(super) fn finding(&mut self, text: impl Into<String>) {
        self.findings.push(text.into());
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    pub(super) fn findings(&self) -> &[String] {
        &self.findings
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Returns a property that must be there; otherwise reports it.
pub(super) fn required<'a>(
    fields: &'a Fields,
    property: &str,
    report: &mut ValidationReport,
) -> Option<&'a str> {
    match fields.text(property) {
        Some("") => report.finding(format!("{property} is empty")),
        Some(text) => return Some(text),
        None => report.finding(missing(fields, property)),
    }
    None
}

/// Says that a property is missing, or what stands in its place.
pub(super) fn missing(fields: &Fields, property: &str) -> String {
    match fields.unusable(property) {
        Some(kind) => {
            format!("{property} is {} and not a text: write it in quotes", kind.as_str())
        }
        None => format!("{property} is missing"),
    }
}

/// Returns a property's name if it is safe in a message.
pub(super) fn shown(name: &str) -> &str {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.len() <= 80 && name.bytes().all(is_safe) { name } else { "a property" }
}
