//! The only factory of HTTP clients: time-outs, connection pool, TLS. No redirects, no proxy, no
//! cookies.
//!
//! Invariant: a client made here follows no redirect, stores nothing, repeats nothing and speaks
//! plain http to loopback hosts only. Every module that calls another system takes its
//! [`HttpClient`] from here. No module reads a body past the caps of [`body`]. Deadlines, limits
//! and retries: `docs/reference/limits.md`.

pub mod body;
mod breaker;
mod client;
mod connection_pool;
mod error;
mod fair_semaphore;
pub mod gate;
mod hyper_client;
pub mod mismatch;
#[cfg(test)]
pub(crate) mod raw_server;
pub mod refresh;
pub mod retry;
mod stream;
mod target;
#[cfg(test)]
mod trust;

use client::ClientLibrary;
use hyper_client::HyperClient;
use reqwest::{Certificate, Identity, redirect::Policy, tls::Version};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{path::PathBuf, sync::Arc, time::Duration};

pub use client::{HttpClient, HttpResponse, IncomingResponse};
pub use error::{CERTIFICATE_ADVICE, ConnectFault, TransportError, UpstreamError};
pub use fair_semaphore::{FairPermit, FairSemaphore};
pub use stream::{ResponseBody, StreamedResponse};
pub use target::{COMPONENT, is_host, is_loopback, is_unambiguous_path};

/// The broker's name in outgoing requests. CF and SAP log it, so their support can find our calls.
pub const USER_AGENT: &str = concat!("cfapi-broker/", env!("CARGO_PKG_VERSION"));

/// A pooled connection stays idle at most this long. A changed address must be noticed within 60 s.
/// The routers in front of CF and UAA close idle connections later than this; their close would
/// race with our next request. Half of it would only cost a few more handshakes.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// Idle connections kept per host: as many as calls may run to the CF API at once.
const POOL_PER_HOST: usize = 64;

/// TCP keepalive: the first probe after this time, then one every [`KEEPALIVE_INTERVAL`],
/// [`KEEPALIVE_PROBES`] times: 10 s + 3 × 3 s = 19 s. A dead connection must be noticed within 20
/// s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;

/// If the peer does not acknowledge bytes for this long, the connection ends.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/2 pings start as early as TCP probes and wait half as long. Many calls share one
/// connection, so a dead one must be noticed before all of them time out.
const PING_INTERVAL: Duration = KEEPALIVE_IDLE;
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of outgoing connections.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PEM file with additional trusted certificate authorities.
    pub extra_ca_file: Option<PathBuf>,
}

/// What a client is for. It fixes the time-outs (`docs/reference/limits.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Token endpoints of UAA and XSUAA.
    Token,
    /// The Destination service.
    Destination,
    /// Key sets of token issuers.
    Keys,
    /// The CF API.
    CfApi,
}

/// How long a call may take. Each time counts from the start of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// Until the status line and the headers are there.
    pub head: Duration,
    /// Until the body is read.
    pub total: Duration,
}

impl Purpose {
    /// Returns the time-outs of this purpose.
    pub const fn timeouts(self) -> Timeouts {
        match self {
            // UAA itself may wait 10 s for the identity provider. Less than that plus the handshake
            // would turn its answers into ambiguous time-outs.
            Self::Token => Timeouts::whole(Duration::from_secs(5), Duration::from_secs(15)),
            // A caller's request may wait for a destination and a token: 10 s + 15 s is less than
            // its 55 s.
            Self::Destination => Timeouts::whole(Duration::from_secs(3), Duration::from_secs(10)),
            // Callers with an unknown key id wait for this fetch.
            Self::Keys => Timeouts::whole(Duration::from_secs(2), Duration::from_secs(5)),
            // Creating a route takes about 900 ms (recorded). Lists may take longer.
            Self::CfApi => Timeouts {
                connect: Duration::from_secs(3),
                head: Duration::from_secs(20),
                total: Duration::from_secs(30),
            },
        }
    }

    /// Returns whether [`HyperClient`] serves it. Only the CF API is called thousands of times
    /// (decision 7).
    const fn uses_hyper(self) -> bool {
        match self {
            Self::CfApi => true,
            Self::Token | Self::Destination | Self::Keys => false,
        }
    }

    /// Returns how many idle connections are kept. Token requests are minutes apart. A pooled
    /// connection that the peer has just closed would leave it unknown whether a password was sent,
    /// so each token request gets a new connection.
    const fn idle_connections(self) -> usize {
        match self {
            Self::Token => 0,
            Self::Destination | Self::Keys | Self::CfApi => POOL_PER_HOST,
        }
    }
}

impl Timeouts {
    /// One limit for the whole call; the head has no limit of its own.
    pub const fn whole(connect: Duration, total: Duration) -> Self {
        Self { connect, head: total, total }
    }
}

/// Makes clients. Holds the additional certificate authorities. A clone is cheap.
#[derive(Clone, Debug)]
pub struct ClientFactory {
    extra_roots: Vec<CertificateDer<'static>>,
}

impl ClientFactory {
    /// Reads the settings and the file that they name. Call it at the start of the process.
    ///
    /// # Errors
    /// [`UpstreamError::CaFile`] when the file cannot be read, [`UpstreamError::CaContent`] when it
    /// is not PEM or holds no certificate.
    pub fn new(settings: &Settings) -> Result<Self, UpstreamError> {
        let Some(path) = &settings.extra_ca_file else {
            return Ok(Self { extra_roots: Vec::new() });
        };
        let pem = std::fs::read(path)
            .map_err(|source| UpstreamError::CaFile { path: path.clone(), source })?;
        let extra_roots = CertificateDer::pem_slice_iter(body::without_mark(&pem))
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|roots| !roots.is_empty())
            .ok_or_else(|| UpstreamError::CaContent { path: path.clone() })?;
        Ok(Self { extra_roots })
    }

    /// Makes a client for a purpose.
    ///
    /// # Errors
    /// [`UpstreamError::Build`] when TLS cannot be set up: no usable root certificate, or an
    /// additional one is broken.
    pub fn client(&self, purpose: Purpose) -> Result<HttpClient, UpstreamError> {
        self.client_with_timeouts(purpose, purpose.timeouts())
    }

    /// Makes a client that presents a certificate when the server asks for one (x509 bindings).
    ///
    /// # Errors
    /// As [`ClientFactory::client`]; [`UpstreamError::Identity`] when certificate and key do not
    /// fit.
    pub fn client_with_identity(
        &self,
        purpose: Purpose,
        identity: Identity,
    ) -> Result<HttpClient, UpstreamError> {
        // First without the identity: a failure here is not the identity's fault.
        self.client(purpose)?;
        let timeouts = purpose.timeouts();
        let builder = self.builder(purpose, timeouts).map_err(build)?.identity(identity);
        let client =
            builder.build().map_err(|error| UpstreamError::Identity { source: error.into() })?;
        Ok(HttpClient::new(ClientLibrary::Reqwest(client), timeouts))
    }

    /// Makes a client with the given time-outs instead of the purpose's.
    ///
    /// # Errors
    /// As [`ClientFactory::client`].
    pub fn client_with_timeouts(
        &self,
        purpose: Purpose,
        timeouts: Timeouts,
    ) -> Result<HttpClient, UpstreamError> {
        let library = if purpose.uses_hyper() {
            ClientLibrary::Hyper(Arc::new(
                HyperClient::new(&self.extra_roots, timeouts.connect).map_err(build)?,
            ))
        } else {
            let builder = self.builder(purpose, timeouts).map_err(build)?;
            ClientLibrary::Reqwest(builder.build().map_err(build)?)
        };
        Ok(HttpClient::new(library, timeouts))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the only place where clients are built")]
    fn builder(
        &self,
        purpose: Purpose,
        timeouts: Timeouts,
    ) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        let roots = self.extra_roots.iter().map(|root| Certificate::from_der(root));
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            // The library would repeat requests that an HTTP/2 peer refused. Whether a token
            // request or a mutation is sent again is decided and counted in our own modules.
            .retry(reqwest::retry::never())
            .tls_version_min(Version::TLS_1_2)
            .connect_timeout(timeouts.connect)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(purpose.idle_connections())
            .tcp_keepalive(KEEPALIVE_IDLE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_PROBES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .tls_certs_merge(roots.collect::<Result<Vec<_>, _>>()?);
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout(USER_TIMEOUT);
        Ok(builder)
    }
}

fn build(source: impl Into<error::BoxError>) -> UpstreamError {
    UpstreamError::Build { source: source.into() }
}

#[cfg(test)]
mod tests;
