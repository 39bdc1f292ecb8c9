//! A landscape on loopback: Destination service, XSUAA, UAA, CF API v3 and an IAS tenant. Each has
//! its own port. All share one world in memory.
//!
//! [`Sandbox::start`] opens six ports: one for each part, and one for the levers with which a test
//! makes the parts fail. The parts are as strict as the real ones, and their texts are those of the
//! real systems: "recorded" means seen on a real system, "source" means read in its source code.
//! Nothing here uses the broker's code, so a wrong field name cannot be right on both sides.
//!
//! In reading order: `part` and `landscape` (what there is), `listener`, `wire` and `service` (how
//! a request comes in), `oauth`, `identity`, [`token`] (users and tokens), `destination`, `xsuaa`,
//! `uaa`, `ias`, `capi` over [`world`] (the parts), `levers` and `journal` (how a test changes and
//! observes them), `bindings` (what a broker reads about them), [`replay`] (the proof that the CF
//! API answers as the real one).

mod bindings;
mod capi;
pub mod clock;
mod destination;
mod ias;
mod identity;
mod journal;
mod landscape;
mod levers;
mod listener;
mod oauth;
mod part;
mod ports;
pub mod replay;
mod service;
pub mod token;
mod uaa;
mod wire;
pub mod world;
mod xsuaa;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

pub use crate::ias::{
    IAS_BROKER_CLIENT, IAS_BROKER_SECRET, IAS_PROVIDER_CLIENT, IAS_SECOND_CLIENT,
    IAS_SECOND_TENANT, IAS_TENANT,
};
pub use crate::identity::{
    DEV_USER, TECHNICAL_GUID, TECHNICAL_ORIGIN, TECHNICAL_PASSWORD, TECHNICAL_USER,
};
pub use crate::journal::JournalEntry;
pub use crate::levers::LeverResult;
pub use crate::part::Part;
pub use crate::xsuaa::{
    ADMIN_CLIENT, ADMIN_SECRET, BROKER_CLIENT, BROKER_SECRET, DESTINATION_CLIENT,
    DESTINATION_SECRET, DEVELOPER_PASSWORD, DEVELOPER_USER, PROVIDER_CLIENT, PROVIDER_SECRET,
    SECOND_PROVIDER_CLIENT, SECOND_PROVIDER_SECRET, people,
};

use crate::landscape::Landscape;
use crate::levers::LeverContext;
use crate::listener::{Listener, Tasks};
use crate::part::PerPart;
use crate::ports::BoundPorts;
use crate::service::Service;
use crate::world::CfWorld;

/// How a landscape starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The broker's own port. The parts take the six ports after it. `None` or 0 takes free ports.
    pub port_base: Option<u16>,
}

/// A running landscape. All its tasks end when it is dropped. [`Sandbox::stop`] waits for their
/// end.
#[derive(Debug)]
pub struct Sandbox {
    landscape: Arc<Landscape>,
    lever_context: Arc<LeverContext>,
    levers: Listener,
    tasks: Tasks,
    _stop_on_drop: DropGuard,
}

impl Sandbox {
    /// Opens the ports and answers on them.
    ///
    /// # Errors
    /// A port is taken. The message names it.
    pub async fn start(options: Options) -> io::Result<Self> {
        let base = options.port_base.filter(|base| *base != 0);
        let ports = BoundPorts::bind(base).await?;
        let addresses = ports.addresses()?;
        let landscape = Arc::new(Landscape::new(addresses));
        let tasks = Tasks::default();
        let open = |part: Part, listener: TcpListener, address: SocketAddr, router: Router| {
            let service = Service::new(router, Some(landscape.instruments(part)));
            Arc::new(Listener::open_on(listener, address, service, tasks.clone()))
        };
        let PerPart { destination, xsuaa, uaa, cf, ias } = ports.parts;
        let destinations = destination::router(Arc::clone(&landscape.destinations));
        let logins = xsuaa::router(Arc::clone(&landscape.xsuaa));
        let listeners = PerPart {
            destination: open(Part::Destination, destination, addresses.destination, destinations),
            xsuaa: open(Part::Xsuaa, xsuaa, addresses.xsuaa, logins),
            uaa: open(Part::Uaa, uaa, addresses.uaa, uaa::router(Arc::clone(&landscape.uaa))),
            cf: open(Part::Cf, cf, addresses.cf, capi::router(Arc::clone(&landscape.cf))),
            ias: open(Part::Ias, ias, addresses.ias, ias::router(Arc::clone(&landscape.ias))),
        };
        let lever_context = Arc::new(LeverContext { landscape: Arc::clone(&landscape), listeners });
        let service = Service::new(levers::router(Arc::clone(&lever_context)), None);
        let levers = Listener::open_on(ports.levers, addresses.levers, service, tasks.clone());
        let guard = tasks.ended.clone().drop_guard();
        Ok(Self { landscape, lever_context, levers, tasks, _stop_on_drop: guard })
    }

    /// Closes every port and waits until all tasks have ended.
    pub async fn stop(self) {
        self.tasks.ended.cancel();
        self.tasks.tracker.close();
        self.tasks.tracker.wait().await;
    }

    /// Returns the base address of the Destination service.
    pub fn destination_url(&self) -> String {
        self.landscape.addresses.url(Part::Destination)
    }

    /// Returns the base address of the XSUAA.
    pub fn xsuaa_url(&self) -> String {
        self.landscape.addresses.url(Part::Xsuaa)
    }

    /// Returns the base address of the UAA.
    pub fn uaa_url(&self) -> String {
        self.landscape.addresses.url(Part::Uaa)
    }

    /// Returns the base address of the CF API.
    pub fn cf_url(&self) -> String {
        self.landscape.addresses.url(Part::Cf)
    }

    /// Returns the base address of the IAS tenant: the issuer of its tokens.
    pub fn ias_url(&self) -> String {
        self.landscape.addresses.url(Part::Ias)
    }

    /// Returns the base address of the levers.
    pub fn levers_url(&self) -> String {
        format!("http://{}", self.levers.address())
    }

    /// Returns the Cloud Foundry world. Tests read it without the API.
    pub fn world(&self) -> &CfWorld {
        &self.landscape.cf
    }

    /// Pulls a lever that acts at once. `sandbox/README.md` lists them.
    ///
    /// # Errors
    /// The lever or an argument is wrong. `stop` and `start` are [`Sandbox::stop_part`] and
    /// [`Sandbox::start_part`].
    pub fn pull(&self, lever: &str, args: &Value) -> LeverResult {
        levers::pull(&self.landscape, lever, args)
            .unwrap_or_else(|| Err(format!("no lever {lever} that acts at once")))
    }

    /// Closes the port of a part and ends its open connections.
    pub async fn stop_part(&self, part: Part) {
        self.lever_context.listeners.of(part).close().await;
    }

    /// Opens the port of a part again.
    ///
    /// # Errors
    /// Another process took the port meanwhile.
    pub async fn start_part(&self, part: Part) -> io::Result<()> {
        self.lever_context.listeners.of(part).open().await
    }

    /// Returns all requests since the start, oldest first.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.landscape.journal.entries()
    }

    /// Clears the journal and the kept bytes of requests.
    pub fn clear_journal(&self) {
        self.landscape.forget_requests();
    }

    /// Counts the token calls with a password at the UAA. Most token tests check it.
    pub fn password_grants(&self) -> usize {
        self.landscape.journal.grants(Part::Uaa, uaa::PASSWORD)
    }

    /// Counts the token calls with a refresh token at the UAA.
    pub fn refresh_grants(&self) -> usize {
        self.landscape.journal.grants(Part::Uaa, uaa::REFRESH)
    }

    /// Counts the passwords that arrived for a user at identity providers, right or wrong.
    pub fn logon_attempts(&self, user: &str) -> usize {
        self.landscape.uaa.directory.attempts(user)
    }

    /// Returns the last token request of the UAA, byte for byte.
    pub fn last_uaa_request(&self) -> Vec<u8> {
        self.last_request(Part::Uaa)
    }

    /// Returns the last request of a part, byte for byte. For the UAA it is the last token request.
    pub fn last_request(&self, part: Part) -> Vec<u8> {
        self.landscape.recent_requests.of(part).last()
    }

    /// Returns the last 64 requests of a part since [`Sandbox::clear_journal`], oldest first, byte
    /// for byte. For the UAA these are only token requests.
    pub fn requests(&self, part: Part) -> Vec<Vec<u8>> {
        self.landscape.recent_requests.of(part).all()
    }
}
