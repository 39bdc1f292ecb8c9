//! Bindings and `VCAP_APPLICATION` after validation: plain data with sealed secrets.
//!
//! Invariant: addresses are secure base addresses; required values are not optional. Made by
//! `credential` and `vcap`; used by `destination`, `auth`, `cli`, `app`.

use super::{BindingError, vcap};
use secrecy::SecretString;
use std::time::SystemTime;
use url::Url;

/// How a binding was delivered to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `VCAP_SERVICES`.
    Variable,
    /// `VCAP_SERVICES_FILE_PATH`.
    File,
    /// `SERVICE_BINDING_ROOT` as Cloud Foundry writes it.
    Directory,
    /// `SERVICE_BINDING_ROOT` as SAP's service operator writes it.
    OperatorDirectory,
}

/// What may be shown of a binding: names only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSummary {
    /// Binding name, else instance name.
    pub name: String,
    /// Service offering.
    pub label: String,
    /// Service plan; user-provided entries have none.
    pub plan: Option<String>,
    /// How it was delivered.
    pub delivery: Delivery,
    /// Names of the credential fields.
    pub fields: Vec<String>,
    /// Expiry of the certificate of an X.509 credential.
    pub certificate_not_after: Option<SystemTime>,
}

/// How a bound service authenticates its client.
#[derive(Clone, Debug)]
pub enum ServiceCredential {
    /// `client_id` and `client_secret`.
    Secret(SecretString),
    /// PEM texts; the key is PKCS#1 or PKCS#8.
    Certificate {
        /// Certificate chain.
        chain: SecretString,
        /// Private key.
        key: SecretString,
        /// `certurl`: base of the token endpoint that accepts the certificate.
        token_base: Url,
    },
}

/// A usable binding of the Destination service.
#[derive(Clone, Debug)]
pub struct DestinationBinding {
    /// Name of the binding.
    pub name: String,
    /// `clientid`.
    pub client_id: String,
    /// Secret or certificate.
    pub credential: ServiceCredential,
    /// `uri`: base of the Destination service.
    pub service: Url,
    /// `url`: base of the XSUAA that issues its token (`{url}/oauth/token`).
    pub token_base: Url,
}

/// A usable binding of XSUAA.
#[derive(Clone, Debug)]
pub struct XsuaaBinding {
    /// Name of the binding.
    pub name: String,
    /// `clientid`.
    pub client_id: String,
    /// Secret or certificate.
    pub credential: ServiceCredential,
    /// `url`: base of the own subaccount's XSUAA.
    pub url: Url,
    /// `uaadomain`.
    pub uaa_domain: String,
    /// `xsappname`.
    pub xsappname: String,
    /// `zoneid`, `identityzoneid`, `tenantid`: those present.
    pub zones: Vec<String>,
}

/// A usable binding of Identity Authentication (IAS): what is needed to recognise its tokens.
#[derive(Clone, Debug)]
pub struct IdentityBinding {
    /// Name of the binding.
    pub name: String,
    /// `clientid`.
    pub client_id: String,
    /// `clientsecret`; bindings with a certificate, or with no credential at all, have none.
    pub secret: Option<SecretString>,
    /// `url`: base of the own IAS tenant.
    pub url: Option<Url>,
    /// `domains`: domains of the issuers. May be empty: then no issuer is trusted.
    pub domains: Vec<String>,
    /// `app_tid`, `zone_uuid`: those present.
    pub tenants: Vec<String>,
}

/// The keys of the login, which an operator can change without the xsuaa binding.
#[derive(Clone, Debug)]
pub struct LoginKeys {
    /// `key`: for new cookies.
    pub current: SecretString,
    /// `previous_key`: for cookies that were made before the change.
    pub previous: Option<SecretString>,
}

/// The fields of `VCAP_APPLICATION` that the broker uses.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// `application_id`.
    pub application_id: Option<String>,
    /// `application_name`, else `name`.
    pub name: Option<String>,
    /// `application_uris`, else `uris`: the hosts under which the broker is reached.
    pub uris: Vec<String>,
    /// This foundation's CF API; destinations are checked against it.
    pub cf_api: Option<Url>,
    /// `space_id`.
    pub space_id: Option<String>,
    /// `space_name`.
    pub space_name: Option<String>,
    /// `organization_id`.
    pub organization_id: Option<String>,
    /// `organization_name`.
    pub organization_name: Option<String>,
}

impl Delivery {
    /// Returns the name of the variable that delivered it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Variable => "VCAP_SERVICES",
            Self::File => "VCAP_SERVICES_FILE_PATH",
            Self::Directory => "SERVICE_BINDING_ROOT",
            Self::OperatorDirectory => "SERVICE_BINDING_ROOT with .metadata",
        }
    }
}

impl Application {
    /// Reads the variable's text; every field is optional.
    ///
    /// # Errors
    /// The text is not a JSON object, or `cf_api` is not a usable address.
    pub fn parse(text: &str) -> Result<Self, BindingError> {
        vcap::application(text)
    }
}
