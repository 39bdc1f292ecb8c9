//! Decides which source each destination comes from, once, at start.
//!
//! Invariant: the first source that has the name wins; local files and variables count only outside
//! Cloud Foundry. Used by `Destinations::new` only.

use super::{
    cache::CachedDestination,
    client::DestinationClient,
    error::{DestinationError, DestinationSetupError},
    local::{self, DestinationFile},
    model::{Destination, DestinationName, SourceKind},
    pin::HostPin,
    renewal::DestinationRenewal,
    service_token::ServiceToken,
    settings::Settings,
    source::DestinationSource,
    validate::Validator,
};
use crate::{
    binding::{Bindings, DestinationBinding, Fields, ServiceCredential, SourceText},
    oauth::{ClientAuthentication, FingerprintKey, TokenEndpoint, client_identity},
    telemetry::metrics::Metrics,
    upstream::{ClientFactory, HttpClient, Purpose, gate::Gate},
};
use http::HeaderMap;
use std::{hash::RandomState, sync::Arc};
use tokio_util::task::TaskTracker;
use url::Url;

/// Concurrent calls to the Destination service, and to its XSUAA: one for each of the 8 names.
const CALLS: usize = 8;

/// Path of XSUAA's token endpoint below the binding's `url` or `certurl`.
const TOKEN_PATH: &str = "/oauth/token";

/// Where the destinations come from.
#[derive(Debug)]
pub struct DestinationsConfig<'a> {
    /// Section `[destination]`.
    pub settings: &'a Settings,
    /// All bindings: user-provided destinations, and `VCAP_APPLICATION` for the pin.
    pub bindings: &'a Bindings,
    /// The bound Destination service, if there is one.
    pub service: Option<DestinationBinding>,
    /// The variable `destinations`; used only without `VCAP_APPLICATION`.
    pub variable: Option<SourceText>,
}

/// What the destinations need to work.
#[derive(Clone, Debug)]
pub struct DestinationDependencies {
    /// Makes the HTTP clients.
    pub clients: ClientFactory,
    /// The process's key, shared with `token`.
    pub key: FingerprintKey,
    /// Runs the calls to the service.
    pub tasks: TaskTracker,
    /// Counts them.
    pub metrics: Metrics,
}

/// Where one destination comes from; decided at start.
#[derive(Debug)]
pub(super) enum ConfiguredDestination {
    /// Read once, from the environment of the process; `None`: no source holds it.
    Fixed(Option<SourceKind>, Result<Arc<Destination>, DestinationError>),
    /// Read from a file, again when it has changed.
    File(CachedDestination<DestinationFile>),
    /// Read from the Destination service.
    Service(CachedDestination<DestinationClient>),
}

/// Decides the source of each name.
pub(super) fn resolve_all(
    names: &[DestinationName],
    config: &DestinationsConfig<'_>,
    deps: &DestinationDependencies,
) -> Result<Vec<ConfiguredDestination>, DestinationSetupError> {
    let cf_api = config.bindings.application().and_then(|application| application.cf_api.clone());
    let pin = HostPin::new(cf_api, &config.settings.allow_token_hosts);
    let validator = Validator { pin, key: deps.key.clone() };
    let service = config.service.as_ref().map(|binding| client(binding, config, deps));
    let service = service.transpose()?;
    let file = config.settings.file.as_deref().filter(|_| is_local(config));
    let file = file.map(DestinationFile::new);
    names
        .iter()
        .map(|name| {
            if let Some(file) = &file
                && let Some(content) = file.read(name)?
            {
                tracing::warn!(
                    destination = %name,
                    source = SourceKind::File.name(),
                    "destination does not come from the Destination service; the file is read \
                     again when it has changed"
                );
                let cached = cached(name, file.clone(), &validator, deps);
                cached.prime(&content);
                return Ok(ConfiguredDestination::File(cached));
            }
            if let Some((source, fields)) = read_environment(name, config)? {
                let outcome = validate_fixed(name, source, &fields, &validator);
                return Ok(ConfiguredDestination::Fixed(Some(source), outcome));
            }
            Ok(match &service {
                Some(client) => {
                    ConfiguredDestination::Service(cached(name, client.clone(), &validator, deps))
                }
                None => ConfiguredDestination::Fixed(None, missing(name, config)),
            })
        })
        .collect()
}

fn cached<S: DestinationSource>(
    name: &DestinationName,
    source: S,
    validator: &Validator,
    deps: &DestinationDependencies,
) -> CachedDestination<S> {
    let (validator, metrics) = (validator.clone(), deps.metrics.clone());
    let renewal = DestinationRenewal::new(name.clone(), source, validator, metrics);
    CachedDestination::new(renewal, deps.tasks.clone())
}

/// Looks into the sources of the process's environment, in order. They are read once.
fn read_environment(
    name: &DestinationName,
    config: &DestinationsConfig<'_>,
) -> Result<Option<(SourceKind, Fields)>, DestinationSetupError> {
    if is_local(config)
        && let Some(text) = &config.variable
        && let Some(fields) = local::from_variable(text, name)?
    {
        return Ok(Some((SourceKind::Variable, fields)));
    }
    let provided = config.bindings.destination_properties(name.as_str())?;
    Ok(provided.map(|fields| (SourceKind::UserProvided, local::cockpit_spelling(fields))))
}

/// Outside Cloud Foundry `VCAP_APPLICATION` is not set.
fn is_local(config: &DestinationsConfig<'_>) -> bool {
    config.bindings.application().is_none()
}

fn validate_fixed(
    name: &DestinationName,
    source: SourceKind,
    fields: &Fields,
    validator: &Validator,
) -> Result<Arc<Destination>, DestinationError> {
    tracing::warn!(
        destination = %name,
        source = source.name(),
        "destination does not come from the Destination service; changes need a restart"
    );
    let (destination, report) = validator.validate(name, source, fields);
    for warning in report.warnings() {
        tracing::warn!(destination = %name, warning, "destination has a questionable setting");
    }
    destination.ok_or_else(|| {
        let findings = report.findings().to_vec();
        let shown = findings.join("; ");
        tracing::error!(destination = %name, findings = shown, "destination is invalid");
        DestinationError::Invalid { name: name.to_string(), findings }
    })
}

/// No source has the name: the broker starts nevertheless.
fn missing(
    name: &DestinationName,
    config: &DestinationsConfig<'_>,
) -> Result<Arc<Destination>, DestinationError> {
    let local = match (is_local(config), &config.settings.file, &config.variable) {
        (false, _, _) => "",
        (true, None, None) => "destination.file (not set), variable destinations (not set), ",
        (true, Some(_), None) => {
            "destination.file (holds others), variable destinations (not set), "
        }
        (true, None, Some(_)) => {
            "destination.file (not set), variable destinations (holds others), "
        }
        (true, Some(_), Some(_)) => "destination.file and variable destinations (hold others), ",
    };
    let provided = if config.bindings.has_user_provided(name.as_str()) {
        "one of that name, without properties of a destination"
    } else {
        "none of that name"
    };
    let tried =
        format!("{local}user-provided service ({provided}), Destination service (not bound)");
    tracing::warn!(destination = %name, tried, "destination not found in any source");
    Err(DestinationError::Missing { name: name.to_string(), tried })
}

fn client(
    binding: &DestinationBinding,
    config: &DestinationsConfig<'_>,
    deps: &DestinationDependencies,
) -> Result<DestinationClient, DestinationSetupError> {
    let metrics = &deps.metrics;
    let http = deps.clients.client(Purpose::Destination)?;
    let endpoint = endpoint(binding, &http, deps)?;
    let token = ServiceToken::new(
        endpoint,
        Gate::new("xsuaa", CALLS, metrics.clone()),
        deps.tasks.clone(),
        metrics.clone(),
    );
    Ok(DestinationClient {
        http,
        service: binding.service.clone(),
        level: config.settings.level,
        token,
        gate: Gate::new("destination", CALLS, metrics.clone()),
        metrics: metrics.clone(),
        digest: RandomState::new(),
    })
}

/// Credentials are sent in the body: a secret with `+` in Basic authentication would need a special
/// header.
fn endpoint(
    binding: &DestinationBinding,
    http: &HttpClient,
    deps: &DestinationDependencies,
) -> Result<TokenEndpoint, DestinationSetupError> {
    let id = binding.client_id.clone();
    let (client, base, authentication) = match &binding.credential {
        ServiceCredential::Secret(secret) => {
            let secret = secret.clone();
            (http.clone(), &binding.token_base, ClientAuthentication::Body { id, secret })
        }
        ServiceCredential::Certificate { chain, key, token_base } => {
            let name = || binding.name.clone();
            let identity = client_identity(chain, key)
                .map_err(|source| DestinationSetupError::Identity { binding: name(), source })?;
            let client = deps
                .clients
                .client_with_identity(Purpose::Destination, identity)
                .map_err(|source| DestinationSetupError::Mismatch { binding: name(), source })?;
            (client, token_base, ClientAuthentication::Certificate { id })
        }
    };
    Ok(TokenEndpoint::new(client, token_url(base), authentication, HeaderMap::new()))
}

fn token_url(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{TOKEN_PATH}", base.path().trim_end_matches('/')));
    url
}
