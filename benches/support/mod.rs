//! The token vault of a complete broker, with a sandbox on loopback.
//!
//! Invariant: the benches use only the public API. A bench that cannot run panics and gives no
//! figure.

use std::{collections::BTreeMap, fmt};

use cfapi_broker::{
    app::Broker,
    config::{self, Flags, env::EnvSnapshot},
    destination::DestinationName,
    token::TokenVault,
};
use cfapi_sandbox::{Options, Sandbox};
use tokio::runtime::{Builder, Runtime};

/// The number of cores of a small instance. It is fixed, so that runs on different machines can be
/// compared.
const WORKERS: usize = 2;

/// A vault, and the name of its default destination as the vault holds it.
#[derive(Clone, Debug)]
pub(crate) struct Lender {
    pub(crate) vault: TokenVault,
    pub(crate) name: DestinationName,
}

impl Lender {
    /// Builds the whole broker for this landscape, as `main` does, and returns its vault.
    pub(crate) async fn of(sandbox: &Sandbox) -> Self {
        let variables: BTreeMap<String, String> = [
            ("PORT", "0".to_owned()),
            ("CFAPI_SERVER__ADDRESS", "127.0.0.1".to_owned()),
            ("VCAP_SERVICES", sandbox.vcap_services()),
            ("VCAP_APPLICATION", sandbox.vcap_application("127.0.0.1")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let snapshot = EnvSnapshot::from_vars(variables);
        let loaded = must(config::load(&snapshot, &Flags::default()));
        let vault = must(Broker::build(loaded.settings, &snapshot).await).vault();
        let name = vault.statuses().into_iter().next().map(|status| status.name);
        Self { vault, name: must(name.ok_or("no destination is configured")) }
    }
}

/// Starts the threads that run broker and landscape.
pub(crate) fn runtime() -> Runtime {
    must(Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build())
}

/// Starts a landscape on free ports.
pub(crate) async fn sandbox() -> Sandbox {
    must(Sandbox::start(Options::default()).await)
}

/// Returns the value, or ends the bench.
#[expect(clippy::panic, reason = "a bench that cannot run must not yield a figure")]
pub(crate) fn must<T, E: fmt::Debug>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}
