//! Host names of tenant routes: templates, rules, reserved words.
//!
//! Invariant: a [`Host`] is a lower-case RFC 1123 label that is not reserved. It is never
//! shortened: two tenants must not get the same host. Callers: this module.

use crate::policy::{HostPiece, HostShape};
use std::fmt;

/// Longest label of a host name (RFC 1035, 2.3.4). CF takes no more either.
pub(super) const MAX_LABEL: usize = 63;
/// Longest host name (RFC 1035, 2.3.4, as CF counts it).
pub(super) const MAX_NAME: usize = 253;

/// Names that look like the platform's own. A tenant with such a host could phish for passwords.
pub(super) const RESERVED: [&str; 15] = [
    "api",
    "apps",
    "login",
    "uaa",
    "ssh",
    "doppler",
    "log-cache",
    "log-stream",
    "credhub",
    "cf",
    "cockpit",
    "www",
    "mail",
    "admin",
    "*",
];

/// How a provider's tenant hosts are built, for example `{subdomain}-{app}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    text: String,
    pieces: Vec<TemplatePiece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    Variable(Variable),
}

/// A variable of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The tenant's subdomain.
    Subdomain,
    /// The app's name.
    App,
    /// The organization's name.
    Org,
    /// The space's name.
    Space,
    /// The tenant id.
    Tenant,
}

/// Values for the variables of a template; `None` if only CF knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostNames<'a> {
    /// The tenant's subdomain.
    pub subdomain: &'a str,
    /// The tenant id.
    pub tenant: &'a str,
    /// The app's name.
    pub app: &'a str,
    /// The organization's name.
    pub org: Option<&'a str>,
    /// The space's name.
    pub space: Option<&'a str>,
}

/// A valid host: one DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

/// Why a template gives no valid host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// Not `[a-z0-9]([a-z0-9-]*[a-z0-9])?`.
    Form,
    /// More than 63 characters.
    Length(usize),
    /// A reserved word, or a host of the broker.
    Reserved,
}

/// Why a text is not a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Braces do not match, or contain an unknown name.
    #[error("it may hold {{subdomain}}, {{app}}, {{org}}, {{space}} and {{tenant}} only")]
    Variable,
    /// Two tenants would get the same host.
    #[error("it must hold {{subdomain}} or {{tenant}}")]
    SameForAll,
    /// Its fixed text cannot be part of a host.
    #[error("its fixed text may hold a-z, 0-9 and - only")]
    Text,
}

impl HostTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError`], for the first mistake.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, opened)) = rest.split_once('{') {
            let (name, after) = opened.split_once('}').ok_or(TemplateError::Variable)?;
            pieces.extend(fixed(before)?);
            pieces.push(TemplatePiece::Variable(
                Variable::named(name).ok_or(TemplateError::Variable)?,
            ));
            rest = after;
        }
        pieces.extend(fixed(rest)?);
        let template = Self { text: text.to_owned(), pieces };
        let distinct = template.names(Variable::Subdomain) || template.names(Variable::Tenant);
        if distinct { Ok(template) } else { Err(TemplateError::SameForAll) }
    }

    /// Returns whether a variable occurs.
    pub fn names(&self, variable: Variable) -> bool {
        self.pieces.contains(&TemplatePiece::Variable(variable))
    }

    /// Returns the shape of all hosts that it can build for one app, or for any app. An unknown
    /// name matches any text.
    pub(super) fn shape(
        &self,
        app: Option<&str>,
        org: Option<&str>,
        space: Option<&str>,
    ) -> HostShape {
        let names = HostNames { app: app.unwrap_or_default(), org, space, ..HostNames::default() };
        let pieces = self.pieces.iter().map(|piece| match piece {
            TemplatePiece::Text(fixed) => HostPiece::Text(fixed.clone()),
            TemplatePiece::Variable(Variable::Subdomain | Variable::Tenant) => HostPiece::Any,
            TemplatePiece::Variable(Variable::App) if app.is_none() => HostPiece::Any,
            TemplatePiece::Variable(known) => {
                names.value(*known).map_or(HostPiece::Any, HostPiece::Text)
            }
        });
        HostShape::new(pieces.collect())
    }

    /// Builds the host; `None` if a name that the template needs is not known.
    ///
    /// # Errors
    /// [`HostFault`], for the first rule that is broken.
    pub fn render(
        &self,
        names: &HostNames<'_>,
        own_hosts: &[String],
    ) -> Option<Result<Host, HostFault>> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Text(fixed) => text.push_str(fixed),
                TemplatePiece::Variable(variable) => text.push_str(&names.value(*variable)?),
            }
        }
        Some(Host::validate(text, own_hosts))
    }
}

impl Variable {
    fn named(name: &str) -> Option<Self> {
        match name {
            "subdomain" => Some(Self::Subdomain),
            "app" => Some(Self::App),
            "org" => Some(Self::Org),
            "space" => Some(Self::Space),
            "tenant" => Some(Self::Tenant),
            _ => None,
        }
    }
}

impl HostNames<'_> {
    /// Returns a value in lower case. Only ASCII: other letters could turn two names into one. `_`
    /// becomes `-` in names of apps, spaces and organizations, but not in what identifies a tenant.
    fn value(&self, variable: Variable) -> Option<String> {
        let dashed = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        match variable {
            Variable::Subdomain => Some(self.subdomain.to_ascii_lowercase()),
            Variable::Tenant => Some(self.tenant.to_ascii_lowercase()),
            Variable::App => Some(dashed(self.app)),
            Variable::Org => self.org.map(dashed),
            Variable::Space => self.space.map(dashed),
        }
    }
}

impl Host {
    /// Returns the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn validate(text: String, own_hosts: &[String]) -> Result<Self, HostFault> {
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let reserved = RESERVED.contains(&text.as_str()) || own_hosts.contains(&text);
        if reserved {
            return Err(HostFault::Reserved);
        }
        let dash_at_end = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || dash_at_end || !text.bytes().all(valid) {
            return Err(HostFault::Form);
        }
        if text.len() > MAX_LABEL {
            return Err(HostFault::Length(text.len()));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn fixed(text: &str) -> Result<Option<TemplatePiece>, TemplateError> {
    let text = text.to_ascii_lowercase();
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    match text.bytes().all(valid) {
        true if text.is_empty() => Ok(None),
        true => Ok(Some(TemplatePiece::Text(text))),
        false if text.contains('}') => Err(TemplateError::Variable),
        false => Err(TemplateError::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::{HostFault, HostNames, HostTemplate, TemplateError};
    use proptest::prelude::{prop_assert, prop_assert_ne, proptest};
    use rstest::rstest;

    fn names(subdomain: &str) -> HostNames<'_> {
        HostNames {
            subdomain,
            tenant: "7f1c-e2",
            app: "My_Router",
            org: Some("Provider_Org"),
            space: Some("dev"),
        }
    }

    fn render(template: &str, subdomain: &str) -> Result<String, HostFault> {
        let template = HostTemplate::parse(template).unwrap();
        let own = vec!["broker".to_owned()];
        template.render(&names(subdomain), &own).unwrap().map(|host| host.to_string())
    }

    #[rstest]
    #[case::default("{subdomain}-{app}", "acme-my-router")]
    #[case::space("{subdomain}-{space}-{app}", "acme-dev-my-router")]
    #[case::org("{subdomain}-{org}-{space}-{app}", "acme-provider-org-dev-my-router")]
    #[case::prefix("route-prefix-{subdomain}", "route-prefix-acme")]
    #[case::own_domain("{subdomain}", "acme")]
    #[case::tenant("t-{tenant}", "t-7f1c-e2")]
    fn known_templates_are_rendered_in_lower_case(#[case] template: &str, #[case] host: &str) {
        assert_eq!(render(template, "ACME").as_deref(), Ok(host));
    }

    #[rstest]
    #[case::underscore("ac_me")]
    #[case::dot("ac.me")]
    #[case::blank("ac me")]
    #[case::newline("acme\n")]
    #[case::umlaut("äcme")]
    #[case::kelvin_sign("\u{212a}acme")]
    #[case::leading_dash("-acme")]
    #[case::star("*-x")]
    fn a_subdomain_that_is_not_a_label_is_refused(#[case] subdomain: &str) {
        assert_eq!(render("{subdomain}-{app}", subdomain), Err(HostFault::Form));
    }

    #[rstest]
    #[case::star("*")]
    #[case::login("login")]
    #[case::upper_case("LOGIN")]
    #[case::broker("broker")]
    fn reserved_words_are_refused_as_the_whole_host(#[case] subdomain: &str) {
        assert_eq!(render("{subdomain}", subdomain), Err(HostFault::Reserved));
    }

    #[test]
    fn a_reserved_word_inside_a_host_is_valid() {
        assert_eq!(render("{subdomain}-{app}", "login").as_deref(), Ok("login-my-router"));
    }

    #[rstest]
    #[case::fits(53, Ok(63))]
    #[case::too_long(54, Err(HostFault::Length(64)))]
    fn hosts_are_measured_and_never_cut(
        #[case] length: usize,
        #[case] expected: Result<usize, HostFault>,
    ) {
        let host = render("{subdomain}-{app}", &"a".repeat(length));
        assert_eq!(host.map(|host| host.len()), expected);
    }

    #[rstest]
    #[case::unknown("{subdomain}-{zone}", TemplateError::Variable)]
    #[case::unclosed("{subdomain}-{app", TemplateError::Variable)]
    #[case::unopened("{subdomain}-app}", TemplateError::Variable)]
    #[case::same_for_all("{app}", TemplateError::SameForAll)]
    #[case::dot("{subdomain}.{app}", TemplateError::Text)]
    fn a_bad_template_is_reported(#[case] text: &str, #[case] expected: TemplateError) {
        assert_eq!(HostTemplate::parse(text), Err(expected));
    }

    #[test]
    fn a_template_gives_no_host_while_a_name_is_unknown() {
        let template = HostTemplate::parse("{subdomain}-{space}").unwrap();
        assert!(template.render(&HostNames { space: None, ..names("a") }, &[]).is_none());
    }

    proptest! {
        #[test]
        fn every_host_is_a_dns_label(subdomain in "\\PC{0,70}") {
            if let Ok(host) = render("{subdomain}-{app}", &subdomain) {
                prop_assert!(host.len() <= 63);
                prop_assert!(host.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
                prop_assert!(!host.starts_with('-') && !host.ends_with('-'));
            }
        }

        #[test]
        fn different_subdomains_never_give_one_host(one in "[a-z0-9_]{1,12}", other in "[a-z0-9_]{1,12}") {
            if one != other
                && let (Ok(one), Ok(other)) = (render("{subdomain}-{app}", &one), render("{subdomain}-{app}", &other))
            {
                prop_assert_ne!(one, other);
            }
        }
    }
}
