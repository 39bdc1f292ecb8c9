//! The approuter's `TENANT_HOST_PATTERN`: would it find the tenant in our host?
//!
//! Invariant: a pattern that cannot be checked exactly is refused at start. Callers: this module.

use regex::Regex;
use std::fmt;

/// A pattern whose first group is the tenant's subdomain.
#[derive(Clone, Debug)]
pub struct TenantPattern(Regex);

/// Why a text is not such a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is malformed, or needs backtracking: look-around, back-references.
    #[error("it cannot be checked")]
    Unreadable,
    /// It has no group for the subdomain.
    #[error("it has no group")]
    NoGroup,
}

impl TenantPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError`], for the first mistake.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = Regex::new(text).map_err(|_| PatternError::Unreadable)?;
        // The whole match counts as a group too.
        if pattern.captures_len() < 2 {
            return Err(PatternError::NoGroup);
        }
        Ok(Self(pattern))
    }

    /// Returns whether the approuter would find this subdomain in a host name. Like the approuter
    /// it searches and compares case. Our hosts are in lower case, so the subdomain is compared in
    /// lower case.
    pub fn finds(&self, name: &str, subdomain: &str) -> bool {
        let found = self.0.captures(name).and_then(|groups| groups.get(1));
        found.is_some_and(|group| group.as_str() == subdomain.to_ascii_lowercase())
    }
}

impl fmt::Display for TenantPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{PatternError, TenantPattern};
    use rstest::rstest;

    #[rstest]
    #[case::documented("^(.*)-shop.cfapps.example.test", "acme", true)]
    #[case::escaped(r"^(.*)-shop\.cfapps\.example\.test$", "acme", true)]
    #[case::capital_of_the_tenant("^(.*)-shop.cfapps.example.test", "ACME", true)]
    #[case::class(r"^([\w-]+?)-shop\.", "acme", true)]
    #[case::capital_in_the_pattern("^(.*)-Shop.cfapps.example.test", "acme", false)]
    #[case::other_domain(r"^(.*)-shop\.example\.org", "acme", false)]
    #[case::prefix_kept("^(.*)-cfapps", "acme", false)]
    #[case::group_takes_too_much("^(.*).cfapps.example.test", "acme", false)]
    #[case::group_not_taken("^(x)?acme-shop", "acme", false)]
    fn the_first_group_must_be_the_subdomain(
        #[case] pattern: &str,
        #[case] subdomain: &str,
        #[case] finds: bool,
    ) {
        let pattern = TenantPattern::parse(pattern).unwrap();
        assert_eq!(pattern.finds("acme-shop.cfapps.example.test", subdomain), finds);
    }

    #[rstest]
    #[case::look_ahead("^(?!www)(.*)-shop", PatternError::Unreadable)]
    #[case::look_behind("(?<=a)(.*)-shop", PatternError::Unreadable)]
    #[case::back_reference(r"^(.*)-\1", PatternError::Unreadable)]
    #[case::malformed("^(.*-shop", PatternError::Unreadable)]
    #[case::no_group("^.*-shop", PatternError::NoGroup)]
    #[case::no_capture("^(?:.*)-shop", PatternError::NoGroup)]
    fn a_pattern_that_cannot_be_checked_is_refused(
        #[case] pattern: &str,
        #[case] error: PatternError,
    ) {
        assert_eq!(TenantPattern::parse(pattern).unwrap_err(), error);
    }
}
