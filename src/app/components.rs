//! The components below `http`: clients, destinations, tokens, the CF API, callers, tenant routes.
//!
//! Invariant: nothing here makes a call; every error is a configuration problem.

use std::sync::Arc;

use crate::{
    app::BoundServices,
    auth::{IssuerBindings, Verifier},
    binding::ServiceCredential,
    capi::{CapiClient, Guid},
    config::{
        Settings,
        env::EnvSnapshot,
        problem::{ConfigProblem, ConfigProblems},
    },
    destination::{Destination, DestinationDependencies, Destinations, DestinationsConfig},
    lifecycle::Lifecycle,
    login::Login,
    oauth::{FingerprintKey, TokenEndpoint, random_key, sealing_key},
    routes::{BrokerIdentity, OperationKey, ProviderTable, TenantRoutes},
    telemetry::metrics::Metrics,
    token::{self, TokenVault},
    upstream::{ClientFactory, Purpose, UpstreamError},
};

/// Purpose of the derived key.
const OPERATIONS: &str = "routes operations";

/// The components below `http`.
pub(super) struct Components {
    pub(super) destinations: Destinations,
    pub(super) vault: TokenVault,
    pub(super) capi: CapiClient,
    pub(super) verifier: Verifier,
    pub(super) login: Login,
    pub(super) metrics: Metrics,
    pub(super) lifecycle: Lifecycle,
}

impl Components {
    pub(super) fn build(
        settings: &Settings,
        snapshot: &EnvSnapshot,
        bound: &BoundServices,
        lifecycle: &Lifecycle,
    ) -> Result<Self, ConfigProblems> {
        let (tasks, metrics) = (lifecycle.tasks.clone(), Metrics::default());
        let clients =
            ClientFactory::new(&settings.upstream).map_err(|error| unusable("upstream", &error))?;
        let client =
            |purpose| clients.client(purpose).map_err(|error| unusable("upstream", &error));
        let (token, cf_api, keys) =
            (client(Purpose::Token)?, client(Purpose::CfApi)?, client(Purpose::Keys)?);
        let key = FingerprintKey::random();
        let destination_dependencies = DestinationDependencies {
            clients: clients.clone(),
            key,
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        };
        let destinations = destinations(settings, snapshot, bound, &destination_dependencies)?;
        let shared = token.clone();
        let endpoint = move |destination: &Destination, authentication| {
            let url = destination.token_url.clone();
            TokenEndpoint::new(shared.clone(), url, authentication, destination.headers.clone())
        };
        let vault_deps = token::VaultDeps {
            endpoint_factory: Arc::new(endpoint),
            tasks: tasks.clone(),
            stop: lifecycle.draining.clone(),
            metrics: metrics.clone(),
            instance_index: super::instance_index(snapshot),
        };
        let vault = TokenVault::new(&settings.token, destinations.clone(), vault_deps);
        let capi = CapiClient::new(vault.clone(), cf_api, metrics.clone(), tasks.clone());
        let callers =
            IssuerBindings { xsuaa: bound.xsuaa.clone(), identity: bound.identity.clone() };
        let verifier = Verifier::new(&settings.auth, &callers, &keys, &tasks, metrics.clone());
        let login = super::login::login(settings, bound, (&clients, &token), &verifier);
        Ok(Self {
            destinations,
            vault,
            capi,
            verifier,
            login,
            metrics,
            lifecycle: lifecycle.clone(),
        })
    }

    /// Creates the tenant routes for the configured providers.
    pub(super) fn tenant_routes(
        &self,
        settings: &Settings,
        bound: &BoundServices,
    ) -> Result<TenantRoutes, ConfigProblems> {
        let providers = providers(settings, bound, &self.destinations)?;
        let (capi, tasks) = (self.capi.clone(), self.lifecycle.tasks.clone());
        Ok(TenantRoutes::new(providers, operation_key(bound)?, capi, tasks, self.metrics.clone()))
    }
}

fn destinations(
    settings: &Settings,
    snapshot: &EnvSnapshot,
    bound: &BoundServices,
    dependencies: &DestinationDependencies,
) -> Result<Destinations, ConfigProblems> {
    let config = DestinationsConfig {
        settings: &settings.destination,
        bindings: &bound.all,
        service: bound.destination.clone(),
        variable: snapshot.get("destinations").map(|text| text.to_owned().into()),
    };
    Destinations::new(&config, dependencies).map_err(|error| {
        ConfigProblem::from_source("destination", "start", error.to_string(), error.hint()).into()
    })
}

/// The provider entry of each provider; without entries, one for the broker's own space.
fn providers(
    settings: &Settings,
    bound: &BoundServices,
    destinations: &Destinations,
) -> Result<ProviderTable, ConfigProblems> {
    let application = bound.all.application().cloned().unwrap_or_default();
    let Some(destination) = destinations.names().first().cloned() else {
        return Err(ConfigProblem::from_source(
            "destination.name",
            "settings",
            "is not a destination name",
            "use CFAPI",
        )
        .into());
    };
    let broker = BrokerIdentity {
        destination,
        space: application.space_id.as_deref().and_then(Guid::parse),
        space_name: application.space_name,
        organization: application.organization_id.as_deref().and_then(Guid::parse),
        organization_name: application.organization_name,
        app: application.name,
        app_guid: application.application_id.as_deref().and_then(Guid::parse),
        uris: application.uris.iter().chain(&settings.server.names).cloned().collect(),
    };
    ProviderTable::validate(&settings.routes, &settings.providers, broker, destinations.names())
        .map_err(|findings| {
            let mut problems = ConfigProblems::default();
            for finding in findings {
                problems.push(ConfigProblem::from_source(
                    finding.key,
                    settings.provider_source.to_string(),
                    finding.problem,
                    finding.hint,
                ));
            }
            problems
        })
}

/// The key that seals ids of operations. All instances have the same xsuaa binding (or identity
/// binding in its place), so they have the same key.
fn operation_key(bound: &BoundServices) -> Result<OperationKey, ConfigProblems> {
    let xsuaa = bound.xsuaa.as_ref().map(|xsuaa| match &xsuaa.credential {
        ServiceCredential::Secret(secret) | ServiceCredential::Certificate { key: secret, .. } => {
            sealing_key(secret, OPERATIONS)
        }
    });
    let identity = || bound.identity.as_ref().and_then(|identity| identity.secret.as_ref());
    let shared = xsuaa.or_else(|| identity().map(|secret| sealing_key(secret, OPERATIONS)));
    let key = shared.unwrap_or_else(|| {
        tracing::warn!(
            hint = "bind a service instance of xsuaa and restart",
            "ids of operations are valid only on this instance, until it ends"
        );
        random_key()
    });
    OperationKey::new(&key).ok_or_else(|| {
        ConfigProblem::from_source("operation key", "start", "cannot be made", "a bug: report it")
            .into()
    })
}

fn unusable(subject: &str, error: &UpstreamError) -> ConfigProblems {
    ConfigProblem::from_source(
        subject,
        "settings [upstream]",
        error.to_string(),
        "check upstream.extra_ca_file",
    )
    .into()
}
