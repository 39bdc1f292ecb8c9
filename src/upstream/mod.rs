//! The only factory of HTTP clients: time-outs, pool, TLS; no redirects, no proxy, no cookies.
//!
//! Invariant: a client made here follows nothing, stores nothing, repeats nothing and speaks plain
//! text to loopback hosts only (`proxy.md` P7 and K6). Every room that calls another system takes
//! its [`HttpClient`] from here; no room reads a status or a body past the caps of [`body`].

pub mod body;
mod breaker;
mod client;
mod connection_pool;
mod error;
pub mod gate;
mod hyper_client;
#[cfg(test)]
pub(crate) mod raw_server;
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
pub use error::{ConnectFault, TransportError, UpstreamError};
pub use stream::{ResponseBody, StreamedResponse};
pub use target::{COMPONENT, is_loopback, is_unambiguous_path};

/// How we name ourselves upstream: CF and SAP log it, so their support can find our calls.
pub const USER_AGENT: &str = concat!("cfapi-broker/", env!("CARGO_PKG_VERSION"));

/// A pooled connection idles at most this long. R25 gives 60 s for a changed address to be noticed;
/// below it we also stay under the idle limits of the routers in front of CF and UAA, whose close
/// would otherwise race with our next request. Half would only cost a few more handshakes.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// Idle connections kept per host: what `reliability.md` U5 lets run to the CF API at once.
const POOL_PER_HOST: usize = 64;

/// A silent peer is asked after this long, then every [`KEEPALIVE_INTERVAL`], [`KEEPALIVE_PROBES`]
/// times: 10 s + 3 × 3 s = 19 s, inside the 20 s of R24.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;

/// Bytes that the peer does not acknowledge for this long end the connection (R24: 20 s).
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/2 connections ask their peer as often as TCP does and wait half as long: many calls share
/// one connection, so a dead one must be noticed before all of them run into their time-outs.
const PING_INTERVAL: Duration = KEEPALIVE_IDLE;
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What the operator may say about outgoing connections.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PEM file with further trusted certificate authorities.
    pub extra_ca_file: Option<PathBuf>,
}

/// What a client is for; fixes its time-outs (`reliability.md` U1, `callers.md` A5).
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

/// How long a call may take, each span from its start.
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
    /// Returns the spans that the contracts fix for this purpose.
    pub const fn timeouts(self) -> Timeouts {
        match self {
            // UAA may itself wait 10 s for the identity provider (U1): less than that plus the
            // handshake would turn its answers into ambiguous time-outs.
            Self::Token => Timeouts::whole(Duration::from_secs(5), Duration::from_secs(15)),
            // A request of a caller may wait for a destination and a token: 10 + 15 < 55 s (U1).
            Self::Destination => Timeouts::whole(Duration::from_secs(3), Duration::from_secs(10)),
            // Callers with an unknown key id wait for this fetch (A5).
            Self::Keys => Timeouts::whole(Duration::from_secs(2), Duration::from_secs(5)),
            // Creating a route takes about 900 ms (recorded); lists may stream for longer (U1).
            Self::CfApi => Timeouts {
                connect: Duration::from_secs(3),
                head: Duration::from_secs(20),
                total: Duration::from_secs(30),
            },
        }
    }

    /// Returns whether the lean client serves it: the CF API's answers are passed on by the thousand,
    /// all others are rare (decision 7).
    const fn is_pooled(self) -> bool {
        match self {
            Self::CfApi => true,
            Self::Token | Self::Destination | Self::Keys => false,
        }
    }

    /// Returns how many idle connections are kept. Grants are minutes apart, and a pooled
    /// connection that the peer has just closed would make a password post ambiguous (`uaa.md` 9):
    /// each grant gets a connection of its own.
    const fn idle_connections(self) -> usize {
        match self {
            Self::Token => 0,
            Self::Destination | Self::Keys | Self::CfApi => POOL_PER_HOST,
        }
    }
}

impl Timeouts {
    /// One span for the whole call, without a limit of its own for the head.
    pub const fn whole(connect: Duration, total: Duration) -> Self {
        Self { connect, head: total, total }
    }
}

/// Makes clients; holds the further certificate authorities. A clone is cheap.
#[derive(Clone, Debug)]
pub struct ClientFactory {
    extra_roots: Vec<CertificateDer<'static>>,
}

impl ClientFactory {
    /// Reads the settings; meant for the start of the process, as it reads a file.
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
        let extra_roots = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|roots| !roots.is_empty())
            .ok_or_else(|| UpstreamError::CaContent { path: path.clone() })?;
        Ok(Self { extra_roots })
    }

    /// Makes a client for a purpose.
    ///
    /// # Errors
    /// [`UpstreamError::Build`] when TLS cannot be set up: no usable root, or an extra one is broken.
    pub fn client(&self, purpose: Purpose) -> Result<HttpClient, UpstreamError> {
        self.client_with_timeouts(purpose, purpose.timeouts())
    }

    /// Makes a client that shows a certificate when the server asks for one (x509 bindings).
    ///
    /// # Errors
    /// As [`ClientFactory::client`]; [`UpstreamError::Identity`] when certificate and key do not fit.
    pub fn client_with_identity(
        &self,
        purpose: Purpose,
        identity: Identity,
    ) -> Result<HttpClient, UpstreamError> {
        // Without the identity first: what fails then is not the identity's fault.
        self.client(purpose)?;
        let timeouts = purpose.timeouts();
        let builder = self.builder(purpose, timeouts).map_err(build)?.identity(identity);
        let client =
            builder.build().map_err(|error| UpstreamError::Identity { source: error.into() })?;
        Ok(HttpClient::new(ClientLibrary::Reqwest(client), timeouts))
    }

    /// Makes a client with time-outs of the caller's choice instead of the purpose's.
    ///
    /// # Errors
    /// As [`ClientFactory::client`].
    pub fn client_with_timeouts(
        &self,
        purpose: Purpose,
        timeouts: Timeouts,
    ) -> Result<HttpClient, UpstreamError> {
        let library = if purpose.is_pooled() {
            ClientLibrary::Hyper(Arc::new(
                HyperClient::new(&self.extra_roots, timeouts.connect).map_err(build)?,
            ))
        } else {
            let builder = self.builder(purpose, timeouts).map_err(build)?;
            ClientLibrary::Reqwest(builder.build().map_err(build)?)
        };
        Ok(HttpClient::new(library, timeouts))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place where clients are built")]
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
            // The library would repeat requests that an HTTP/2 peer turned down. Whether a grant
            // or a mutation goes out again is decided in our rooms, where it is counted.
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
