//! Service bindings from every kind of delivery: read once at start, then chosen by setting, label
//! or tag.
//!
//! Invariant: nothing here waits or reads the process environment, and every secret is a
//! `SecretString` as soon as it is parsed. Called by `destination`, `auth` and `app`.

mod address;
mod certificate;
mod credential;
mod error;
mod field;
mod lenient;
mod model;
mod placeholder;
mod root;
mod sealed;
mod settings;
mod vcap;

pub use error::BindingError;
pub use field::{FieldValue, Fields, JsonKind};
pub use model::{
    Application, BindingSummary, Delivery, DestinationBinding, IdentityBinding, LoginKeys,
    ServiceCredential, XsuaaBinding,
};
pub(crate) use placeholder::{is_template, is_unfilled};
pub use sealed::{Sealed, SecretForm};
pub use settings::{SettingFinding, Settings};

use std::{fmt, path::PathBuf};
use zeroize::Zeroizing;

/// Label of entries that `cf create-user-provided-service` made.
const USER_PROVIDED: &str = "user-provided";
/// Tag of the user-provided service with the keys of the login.
const LOGIN_TAG: &str = "cfapi-login";

/// Where bindings may come from: a snapshot of the environment, made by the module that reads it.
#[derive(Debug, Default)]
pub struct BindingSources {
    /// `VCAP_SERVICES`, inline.
    pub vcap_services: Option<SourceText>,
    /// `VCAP_SERVICES_FILE_PATH`: the path; this module reads the file.
    pub vcap_services_file: Option<PathBuf>,
    /// `SERVICE_BINDING_ROOT`.
    pub binding_root: Option<PathBuf>,
    /// `VCAP_APPLICATION`.
    pub vcap_application: Option<String>,
}

/// The text of a variable with secrets before parsing: zeroised on drop, unreadable outside the
/// crate, never shown by `Debug`. The parsed secrets are `SecretString`s; the text itself must stay
/// readable for parsers.
#[derive(Clone)]
pub struct SourceText(Zeroizing<String>);

/// All bindings that were found, with their delivery.
#[derive(Debug, Default)]
pub struct Bindings {
    bindings: Vec<ServiceBinding>,
    application: Option<Application>,
}

/// One entry of `VCAP_SERVICES`, or one directory of `SERVICE_BINDING_ROOT`.
#[derive(Debug)]
pub(crate) struct ServiceBinding {
    name: String,
    /// Further names: binding name and instance name.
    aliases: Vec<String>,
    label: String,
    plan: Option<String>,
    tags: Vec<String>,
    delivery: Delivery,
    credentials: Fields,
}

impl Bindings {
    /// Reads all sources.
    ///
    /// # Errors
    /// A path that cannot be read, a text that is not a JSON object, variable and file that differ,
    /// an unusable `cf_api`. No source at all is not an error.
    pub fn read(sources: &BindingSources) -> Result<Self, BindingError> {
        let mut bindings = vcap::read(sources)?;
        if let Some(root) = &sources.binding_root {
            bindings.extend(root::read(root)?);
        }
        let application = sources.vcap_application.as_deref();
        let application = application.map(Application::parse).transpose()?;
        Ok(Self { bindings, application })
    }

    /// Returns the usable binding of the Destination service, or `None` without one.
    ///
    /// # Errors
    /// The binding named by the settings does not exist, several match, or the one found cannot be
    /// used.
    pub fn destination(
        &self,
        settings: &Settings,
    ) -> Result<Option<DestinationBinding>, BindingError> {
        let chosen = self.choose("destination", settings.destination.as_deref())?;
        chosen.map(|binding| credential::destination(binding, settings)).transpose()
    }

    /// Returns the usable binding of XSUAA, or `None` without one.
    ///
    /// # Errors
    /// As for [`Self::destination`].
    pub fn xsuaa(&self, settings: &Settings) -> Result<Option<XsuaaBinding>, BindingError> {
        let chosen = self.choose("xsuaa", settings.xsuaa.as_deref())?;
        chosen.map(|binding| credential::xsuaa(binding, settings)).transpose()
    }

    /// Returns the usable binding of Identity Authentication, or `None` without one.
    ///
    /// # Errors
    /// As for [`Self::destination`].
    pub fn identity(&self, settings: &Settings) -> Result<Option<IdentityBinding>, BindingError> {
        let chosen = self.choose("identity", settings.identity.as_deref())?;
        chosen.map(credential::identity).transpose()
    }

    /// Returns the keys of the login, or `None` without a service that has some.
    ///
    /// # Errors
    /// As for [`Self::destination`].
    pub fn login_keys(&self, settings: &Settings) -> Result<Option<LoginKeys>, BindingError> {
        let wanted = settings.login.as_deref();
        let tag = if wanted.is_some() { "login" } else { LOGIN_TAG };
        self.choose(tag, wanted)?.map(credential::login_keys).transpose()
    }

    /// Returns the credentials of the user-provided service that is itself the destination called
    /// `name`: its own name, or without one the instance's name, is equal, and it has properties of
    /// a destination. What is missing there is for the destination's validation to say.
    ///
    /// # Errors
    /// Several match.
    pub fn destination_properties(&self, name: &str) -> Result<Option<Fields>, BindingError> {
        let mut found: Vec<_> = self
            .user_provided(name)
            .filter(|binding| binding.credentials.is_destination())
            .collect();
        if found.iter().any(|binding| binding.credentials.has_authentication()) {
            found.retain(|binding| binding.credentials.has_authentication());
        }
        Ok(only("user-provided destination", &found)?.map(|binding| binding.credentials.clone()))
    }

    /// Returns whether a user-provided service has this name, whatever its credentials are.
    pub fn has_user_provided(&self, name: &str) -> bool {
        self.user_provided(name).next().is_some()
    }

    fn user_provided<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ServiceBinding> {
        self.bindings.iter().filter(move |binding| {
            let fields = &binding.credentials;
            let own = fields.text("Name").or_else(|| fields.text("name"));
            binding.label == USER_PROVIDED
                && own.map_or_else(|| binding.is_called(name), |own| own == name)
        })
    }

    /// Returns `VCAP_APPLICATION`, which exists only on Cloud Foundry.
    pub fn application(&self) -> Option<&Application> {
        self.application.as_ref()
    }

    /// Returns the summary for the start log line and the command `config`.
    pub fn inventory(&self) -> Vec<BindingSummary> {
        self.bindings.iter().map(ServiceBinding::summary).collect()
    }

    /// Chooses by setting, else by label or tag.
    fn choose(
        &self,
        kind: &'static str,
        wanted: Option<&str>,
    ) -> Result<Option<&ServiceBinding>, BindingError> {
        let Some(wanted) = wanted else {
            let found: Vec<_> = self.bindings.iter().filter(|binding| binding.is(kind)).collect();
            return only(kind, &found);
        };
        let found: Vec<_> =
            self.bindings.iter().filter(|binding| binding.is_called(wanted)).collect();
        if found.is_empty() {
            let found = self.bindings.iter().map(|binding| binding.name.clone()).collect();
            return Err(BindingError::NotFound { kind, found });
        }
        only(kind, &found)
    }
}

impl ServiceBinding {
    /// A user-provided service with the tag holds a service key; one with the properties of a
    /// destination is a destination itself.
    fn is(&self, kind: &str) -> bool {
        let is_tagged = self.tags.iter().any(|tag| tag == kind);
        if self.label == USER_PROVIDED {
            return is_tagged && !self.credentials.is_destination();
        }
        self.label == kind || is_tagged
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    fn summary(&self) -> BindingSummary {
        BindingSummary {
            name: self.name.clone(),
            label: self.label.clone(),
            plan: self.plan.clone(),
            delivery: self.delivery,
            fields: self.credentials.names().map(str::to_owned).collect(),
            certificate_not_after: self
                .credentials
                .text("certificate")
                .and_then(certificate::not_after),
        }
    }
}

fn only<'a>(
    kind: &'static str,
    found: &[&'a ServiceBinding],
) -> Result<Option<&'a ServiceBinding>, BindingError> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(BindingError::Ambiguous {
            kind,
            found: several
                .iter()
                .map(|binding| format!("{} ({})", binding.name, binding.delivery.name()))
                .collect(),
        }),
    }
}

impl SourceText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SourceText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for SourceText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SourceText(..)")
    }
}

#[cfg(test)]
mod tests;
