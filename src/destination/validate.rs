//! Validates properties and makes a `Destination`; all findings are returned at once. The rules are
//! in `docs/reference/destination.md`.
//!
//! Invariant: no finding and no warning quotes a value, except origin keys and host names that have
//! passed their own checks. Used by `setup` and `cache`.

mod credentials;

use super::{
    address::{self, TokenServiceUrl},
    model::{AuthenticationType, Destination, DestinationName, SourceKind},
    origin::{self, LOGIN_HINT},
    parameter,
    pin::HostPin,
    report::{ValidationReport, required, shown},
};
use crate::{
    binding::Fields,
    oauth::{FingerprintKey, fingerprint::Credentials},
};
use std::sync::Arc;
use url::Url;

/// Validates properties; one for all destinations.
#[derive(Clone, Debug)]
pub(super) struct Validator {
    pub(super) pin: HostPin,
    pub(super) key: FingerprintKey,
}

impl Validator {
    /// Validates the properties of `name`. The report has the warnings, and the findings if there
    /// is no destination.
    pub(super) fn validate(
        &self,
        name: &DestinationName,
        source: SourceKind,
        fields: &Fields,
    ) -> (Option<Arc<Destination>>, ValidationReport) {
        let mut report = ValidationReport::default();
        check_kind(fields, &mut report);
        check_unsupported(fields, &mut report);
        let credentials = credentials::read(fields, &mut report);
        let api = read_api(fields, &mut report);
        let token = read_token_url(fields, &mut report);
        if let (Some(api), Some(token)) = (&api, &token) {
            self.pin.check(api, &token.url).into_iter().for_each(|text| report.finding(text));
        }
        let query = token.as_ref().map(|token| token.query.as_slice()).unwrap_or_default();
        let hints = query.iter().filter(|(name, _)| name == LOGIN_HINT);
        let login_hint = origin::resolve(hints.map(|(_, text)| text.as_str()), fields, &mut report);
        let extra = parameter::body(query, fields, &mut report);
        let headers = parameter::headers(fields, &mut report);
        let (Some(credentials), Some(api), Some(token)) = (credentials, api, token) else {
            return (None, report);
        };
        if !report.findings().is_empty() {
            return (None, report);
        }
        let fingerprint = self.key.fingerprint(&Credentials {
            token_url: token.url.as_str(),
            client_id: &credentials.client_id,
            client_secret: &credentials.client_secret,
            user: &credentials.user,
            password: &credentials.password,
            login_hint: login_hint.as_ref(),
        });
        let destination = Destination {
            name: name.clone(),
            source,
            api,
            token_url: token.url,
            credentials,
            login_hint,
            scope: fields.text("scope").filter(|text| !text.is_empty()).map(str::to_owned),
            extra,
            headers,
            fingerprint,
        };
        (Some(Arc::new(destination)), report)
    }
}

/// `Type`, `Authentication`, `ProxyType` and the type of token URL.
fn check_kind(fields: &Fields, report: &mut ValidationReport) {
    for name in fields.repeated() {
        report.finding(format!("{} is given twice", shown(name)));
    }
    required(fields, "Name", report);
    if required(fields, "Type", report).is_some_and(|kind| kind != "HTTP") {
        report.finding("Type is not HTTP");
    }
    match required(fields, "Authentication", report).map(AuthenticationType::parse) {
        None | Some(AuthenticationType::OAuth2Password) => {}
        Some(AuthenticationType::Other(kind)) => {
            report.finding(format!("Authentication is {kind}; OAuth2Password is needed"));
        }
        Some(AuthenticationType::Unknown) => report.finding("Authentication is not OAuth2Password"),
    }
    for property in ["ProxyType", "tokenServiceURL.ProxyType"] {
        if fields.text(property).is_some_and(|kind| kind != "Internet") {
            report.finding(format!("{property} is not Internet"));
        }
    }
    if fields.text("tokenServiceURLType").is_some_and(|kind| kind != "Dedicated") {
        report.finding("tokenServiceURLType is not Dedicated");
    }
}

/// Properties that would weaken TLS or that this broker does not support.
fn check_unsupported(fields: &Fields, report: &mut ValidationReport) {
    if fields.text("TrustAll").is_some_and(|value| !value.eq_ignore_ascii_case("false")) {
        report.finding("TrustAll would switch off the check of certificates: remove it");
    }
    if fields.text("HostnameVerifier").is_some_and(|value| !value.eq_ignore_ascii_case("strict")) {
        report.finding("HostnameVerifier is not Strict: remove it");
    }
    for property in [
        "tokenService.KeyStoreLocation",
        "tokenService.KeyStorePassword",
        "clientAssertion.destinationName",
    ] {
        if fields.has(property) {
            report.finding(format!(
                "{property} is not supported: the client logs on with its id and secret"
            ));
        }
    }
    if fields.has("TrustStoreLocation") || fields.has("TrustStorePassword") {
        report.warning(
            "TrustStoreLocation and TrustStorePassword have no effect: use the setting for an \
             extra CA file",
        );
    }
    let is_client_side =
        |name: &str| name.starts_with("URL.headers.") || name.starts_with("URL.queries.");
    if fields.names().any(is_client_side) {
        report.warning("URL.headers.* and URL.queries.* have no effect");
    }
}

fn read_api(fields: &Fields, report: &mut ValidationReport) -> Option<Url> {
    let text = required(fields, "URL", report)?;
    address::api(text).map_err(|error| report.finding(format!("URL {error}"))).ok()
}

fn read_token_url(fields: &Fields, report: &mut ValidationReport) -> Option<TokenServiceUrl> {
    let text = required(fields, "tokenServiceURL", report)?;
    TokenServiceUrl::parse(text)
        .map_err(|error| report.finding(format!("tokenServiceURL {error}")))
        .ok()
}

#[cfg(test)]
mod tests;
