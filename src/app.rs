//! The composition root: the one file that knows every module.
//!
//! Invariant: building never waits for the network and fails only for an invalid configuration;
//! background tasks are spawned on the tracker of `lifecycle`.

mod bound;
mod components;
mod login;

pub use bound::{BoundServices, bindings, log_identity};

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    app::components::Components,
    config::{
        Settings,
        env::EnvSnapshot,
        problem::{ConfigProblem, ConfigProblems},
    },
    destination::{DestinationName, Destinations},
    http::{
        self, AdmissionLimits, AppState, AppStateParts, BodyLimits, Deadline, Defaults,
        LoopbackHosts, PublicBase, Readiness, RequestValidator, ServedHosts,
    },
    lifecycle::Lifecycle,
    overview::Overview,
    policy::{self, Policy},
    proxy::Proxy,
    routes::TenantRoutes,
    server,
    telemetry::writer::LogWriter,
    token::TokenVault,
    upstream::is_loopback,
};

/// Port without the variable PORT.
const DEFAULT_PORT: u16 = 8080;
/// Part of a request's time that is reserved for writing its response after the last upstream call.
const RESERVE: Duration = Duration::from_secs(2);
/// Delay between the first logons of two instances, so that they are not simultaneous.
const STAGGER: Duration = Duration::from_millis(500);
/// Longest delay of the first logon, for any instance index.
const LONGEST_STAGGER: Duration = Duration::from_secs(5);

/// A broker that listens; [`Broker::run`] serves.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    address: SocketAddr,
    state: AppState,
    server: server::Settings,
    lifecycle: Lifecycle,
    vault: TokenVault,
    destinations: Destinations,
    delay: Duration,
    log: LogWriter,
}

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The configuration is not valid.
    #[error(transparent)]
    Configuration(#[from] ConfigProblems),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Broker {
    /// Builds the broker and binds its port.
    ///
    /// # Errors
    /// An invalid configuration, with all its problems, or a port that is in use.
    pub async fn build(settings: Settings, snapshot: &EnvSnapshot) -> Result<Self, StartupError> {
        let bound = bindings(&settings, snapshot)?;
        let address = SocketAddr::new(settings.server.address, port(snapshot)?);
        let lifecycle = Lifecycle::default();
        let components = Components::build(&settings, snapshot, &bound, &lifecycle)?;
        let routes = components.tenant_routes(&settings, &bound)?;
        let listen = |error| StartupError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (destinations, vault) = (components.destinations.clone(), components.vault.clone());
        let names =
            (hosts(&settings.server, &bound), public_base(&settings.server, &bound, address));
        let policy = policy(&settings.proxy)?;
        let state = state(&settings.server, components, (routes, policy), names);
        let delay = stagger(snapshot);
        let broker = Self {
            listener,
            address,
            state,
            server: settings.server,
            lifecycle,
            vault,
            destinations,
            delay,
            log: LogWriter::default(),
        };
        broker.introduce(&bound, settings.providers.len());
        Ok(broker)
    }

    /// Sets the log writer: mutations begin only while it has room for their audit lines.
    #[must_use]
    pub fn with_log(mut self, log: LogWriter) -> Self {
        self.state = self.state.with_log(log.clone());
        self.log = log;
        self
    }

    /// Returns the log writer.
    pub fn log(&self) -> LogWriter {
        self.log.clone()
    }

    /// Returns the address that the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the token that stops the broker when cancelled.
    pub fn stopper(&self) -> CancellationToken {
        self.lifecycle.draining.clone()
    }

    /// Returns the vault; SIGHUP makes it read its destinations again.
    pub fn vault(&self) -> TokenVault {
        self.vault.clone()
    }

    /// Serves until stopped, then waits for running work within the drain time.
    pub async fn run(self) {
        for name in self.destinations.names() {
            self.vault.warm(name, self.delay);
        }
        // At the same time as the first logon, so that both share one lease.
        self.state.routes.check_providers(self.delay, self.lifecycle.draining.clone());
        self.state.readiness.set_listening();
        let router = http::router(&self.state);
        let draining = self.lifecycle.draining.clone();
        let deadline = server::serve(self.listener, router, &self.server, draining).await;
        self.lifecycle.wait_for_tasks(deadline).await;
        tracing::info!("drained");
    }

    /// Writes the first log line: what was found and what is disabled.
    fn introduce(&self, bound: &BoundServices, providers: usize) {
        let names: Vec<_> = self.destinations.names().iter().map(DestinationName::as_str).collect();
        let bindings: Vec<_> = bound
            .all
            .inventory()
            .into_iter()
            .map(|b| format!("{} ({})", b.name, b.delivery.name()))
            .collect();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            address = %self.address,
            destinations = names.join(","),
            bindings = bindings.join(","),
            providers,
            "cfapi-broker listens"
        );
        match (&bound.xsuaa, &bound.identity) {
            (Some(_), _) => {}
            (None, Some(_)) => tracing::info!("no xsuaa binding: only IAS tokens are accepted"),
            (None, None) => tracing::warn!(
                hint = "bind a service instance of xsuaa and restart",
                "no xsuaa binding: every caller is refused"
            ),
        }
    }
}

/// Builds the state of the handlers.
fn state(
    server: &server::Settings,
    components: Components,
    (routes, policy): (TenantRoutes, Policy),
    (hosts, base): (ServedHosts, PublicBase),
) -> AppState {
    let own = Arc::clone(&base.0);
    let proxy = Proxy::new(own, components.lifecycle.tasks.clone(), components.metrics.clone());
    let draining = components.lifecycle.draining;
    AppState::new(AppStateParts {
        defaults: Defaults {
            destination: routes.providers().broker().destination.clone(),
            call_timeout: server.request_timeout.saturating_sub(RESERVE),
        },
        readiness: Readiness::new(
            components.vault.clone(),
            components.verifier.clone(),
            routes.clone(),
            draining.clone(),
        ),
        admission: AdmissionLimits {
            permits: Arc::new(Semaphore::new(server.max_in_flight)),
            draining,
            log: LogWriter::default(),
        },
        validator: RequestValidator { hosts, body: server.body_limit },
        body: BodyLimits { bytes: server.body_limit, time: server.body_timeout },
        deadline: Deadline(server.request_timeout),
        vault: components.vault,
        capi: components.capi,
        verifier: components.verifier,
        login: components.login,
        metrics: components.metrics,
        overview: Overview::new(routes.clone()),
        routes,
        policy,
        proxy,
        base,
    })
}

/// Compiles the allow list: the shipped one, or the operator's file.
fn policy(settings: &policy::Settings) -> Result<Policy, ConfigProblems> {
    let file = settings.policy_file.as_str();
    let source = || format!("allow list, file {file}");
    let compiled = if file.is_empty() {
        Policy::shipped()
    } else {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let problem = format!("cannot be read: {}", error.kind());
            let hint = "name a readable file, or leave it empty for the built-in list";
            ConfigProblem::from_source("proxy.policy_file", source(), problem, hint)
        })?;
        Policy::parse(&text)
    };
    compiled.map_err(|faults| {
        let mut problems = ConfigProblems::default();
        for fault in faults {
            let hint = "config/policy.toml of the source shows the form";
            problems.push(ConfigProblem::from_source(fault.place, source(), fault.problem, hint));
        }
        problems
    })
}

/// The hosts of the app's routes (also internal ones) and the configured names; outside a
/// foundation also any loopback host.
fn hosts(server: &server::Settings, bound: &BoundServices) -> ServedHosts {
    let application = bound.all.application();
    let uris = application.map(|application| application.uris.as_slice()).unwrap_or_default();
    let api = application.and_then(|application| application.cf_api.as_ref());
    let loopback = match api {
        Some(api) if !is_loopback(api) => LoopbackHosts::Refused,
        Some(_) | None => LoopbackHosts::Served,
    };
    ServedHosts::new(server.names.iter().chain(uris).map(String::as_str), loopback)
}

/// The configured name, else the first of `application_uris` that is not on an internal domain,
/// else the first; plain HTTP with the listening port for a loopback host.
fn public_base(
    server: &server::Settings,
    bound: &BoundServices,
    address: SocketAddr,
) -> PublicBase {
    let uris =
        bound.all.application().map(|application| application.uris.as_slice()).unwrap_or_default();
    let is_public = |uri: &&String| !host_of(uri).ends_with(".internal");
    let name = server.names.first().or(uris.iter().find(is_public)).or(uris.first());
    let name = name.map_or("localhost", String::as_str);
    PublicBase(http::public_base(name, address.port()).into())
}

fn host_of(uri: &str) -> &str {
    uri.split(['/', ':']).next().unwrap_or_default()
}

fn port(snapshot: &EnvSnapshot) -> Result<u16, ConfigProblems> {
    let Some(text) = snapshot.get("PORT") else {
        return Ok(DEFAULT_PORT);
    };
    let problem = |_| {
        ConfigProblem::from_source(
            "PORT",
            "variable PORT",
            "is not a port number",
            "remove it or set 0 to 65535",
        )
    };
    text.parse().map_err(|error| ConfigProblems::from(problem(error)))
}

fn stagger(snapshot: &EnvSnapshot) -> Duration {
    STAGGER.saturating_mul(instance_index(snapshot).unwrap_or(0)).min(LONGEST_STAGGER)
}

/// Returns the number of this instance of the app; `None` away from the platform.
fn instance_index(snapshot: &EnvSnapshot) -> Option<u32> {
    snapshot.get("CF_INSTANCE_INDEX")?.parse().ok()
}

#[cfg(test)]
mod tests;
