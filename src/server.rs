//! The listener: an accept loop of our own over hyper's HTTP/1.1, with limits that `axum::serve`
//! does not have.
//!
//! Invariant: a connection is either served within the limits or closed; no client can keep the
//! process from stopping within the drain time. Only `app` calls this. In reading order: this file
//! (accept loop), `connection` (one connection), `request_body` (what a handler leaves of a body),
//! `guard` and `head` (limits that hyper does not have). The numbers are in
//! `docs/reference/limits.md`.

mod connection;
mod guard;
mod head;
mod request_body;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::Dispatch,
    server::{
        connection::ConnectionLimits,
        guard::{HeaderBudget, LINGER},
    },
    upstream::{is_host, retry::Backoff},
};

/// Pauses after a failing `accept` (no file descriptors left): a second without new connections is
/// acceptable, a busy loop is not.
const PAUSES: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(1));
/// The platform's router keeps an idle connection this long; ours must live longer.
const ROUTER_IDLE: Duration = Duration::from_secs(90);
/// Longer is a slip: an idle connection costs memory.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);
/// Response to a connection beyond the limit; the request is not read.
const FULL_RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Listener and limits; bounds are in `config/default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address to bind.
    pub address: IpAddr,
    /// Public host names besides those of `VCAP_APPLICATION`.
    pub names: Vec<String>,
    /// Connections at once.
    pub max_connections: usize,
    /// Requests at once.
    pub max_in_flight: usize,
    /// How long an idle connection lives.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// First byte of a head to its last.
    #[serde(deserialize_with = "duration")]
    pub head_timeout: Duration,
    /// A whole request body; also how long a client may read nothing of its response.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// A whole request including its response.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// SIGTERM to exit.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// Largest request body in bytes.
    #[serde(deserialize_with = "size")]
    pub body_limit: usize,
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|_| serde::de::Error::custom("not a duration such as 100s or 5m"))
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("KiB", 1024), ("MiB", 1024 * 1024), ("", 1)];
    let parsed = units.iter().find_map(|(unit, factor)| {
        let number: usize = text.trim().strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*factor)
    });
    parsed.ok_or_else(|| serde::de::Error::custom("not a size such as 64KiB or 1MiB"))
}

impl Settings {
    /// Checks the bounds; returns key, message and hint for each error (empty hint: name the
    /// default).
    pub fn validate(&self) -> Vec<(&'static str, String, String)> {
        let mut found = Vec::new();
        let mut wrong = |key, message: &str| found.push((key, message.to_owned(), String::new()));
        if self.idle_timeout <= ROUTER_IDLE {
            wrong("idle_timeout", "must be above 90s, or the router sometimes answers 502");
        }
        if self.idle_timeout > LONGEST_IDLE {
            wrong("idle_timeout", "must be at most 1h");
        }
        let seconds = |duration: Duration, from: u64, to: u64| {
            duration >= Duration::from_secs(from) && duration <= Duration::from_secs(to)
        };
        if !seconds(self.head_timeout, 1, 60) {
            wrong("head_timeout", "must be 1s to 60s");
        }
        if !seconds(self.body_timeout, 1, 60) {
            wrong("body_timeout", "must be 1s to 60s");
        }
        if !seconds(self.request_timeout, 5, 600) {
            wrong("request_timeout", "must be 5s to 10m");
        }
        if !seconds(self.drain_timeout, 1, 50) {
            wrong("drain_timeout", "must be 1s to 50s");
        }
        if !(1024..=1024 * 1024).contains(&self.body_limit) {
            wrong("body_limit", "must be 1KiB to 1MiB");
        }
        if !(16..=65_536).contains(&self.max_connections) {
            wrong("max_connections", "must be 16 to 65536");
        }
        if !(1..=4096).contains(&self.max_in_flight) {
            wrong("max_in_flight", "must be 1 to 4096");
        }
        if let Some(name) = self.names.iter().find(|name| !is_public_name(name)) {
            let hint = "write host, host:port or host/path, without https:// and without wildcard";
            found.push(("names", format!("{name:?} is not a public name"), hint.to_owned()));
        } else if let Some(name) = self.names.iter().find(|name| !has_plain_path(name)) {
            let hint = "write the path as callers see it, without //, . and ..";
            let message = format!("{name:?} has a path that clients and proxies change");
            found.push(("names", message, hint.to_owned()));
        }
        found
    }
}

/// Returns whether a text is a host, with or without port and path, on which links can be built.
fn is_public_name(text: &str) -> bool {
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let is_name = !authority.starts_with('[') && is_host(authority);
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    is_name && !authority.contains('_') && path.bytes().all(is_usual)
}

/// Returns whether the path of a name has no empty segment, `.` or `..`, also none with escapes.
/// Links below such a path do not lead back to the broker.
fn has_plain_path(name: &str) -> bool {
    let path = name.split_once('/').map_or("", |(_, path)| path);
    let path = path.strip_suffix('/').unwrap_or(path).to_ascii_lowercase().replace("%2e", ".");
    let mut segments = path.split('/');
    path.is_empty() && !name.ends_with("//")
        || segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Serves until `stop` is cancelled, then waits for requests in flight within the drain time;
/// returns the end of the drain time.
///
/// Idle and half-open connections are dropped at the stop; later responses close their connection.
pub async fn serve(
    listener: TcpListener,
    dispatch: Dispatch,
    settings: &Settings,
    stop: CancellationToken,
) -> Instant {
    let limits = ConnectionLimits {
        idle: settings.idle_timeout,
        head: settings.head_timeout,
        write: settings.body_timeout,
        request: settings.request_timeout,
        drain: settings.body_limit,
    };
    let header_budget = HeaderBudget::default();
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let connections = TaskTracker::new();
    let mut failures = 0_u32;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failures = 0;
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                    connections.spawn(reject_connection(stream));
                    continue;
                };
                let (dispatch, header_budget, stop) =
                    (dispatch.clone(), header_budget.clone(), stop.clone());
                connections.spawn(async move {
                    connection::serve(stream, dispatch, limits, header_budget, stop).await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let pause = PAUSES.wait(failures);
                tracing::warn!(%error, pause_ms = pause.as_millis(), "accept failed");
                sleep(pause).await;
                failures = failures.saturating_add(1);
            }
        }
    }
    let drained = Instant::now() + settings.drain_timeout;
    drop(listener);
    connections.close();
    if timeout_at(drained, connections.wait()).await.is_err() {
        tracing::warn!("requests were still running at the end of the drain time");
    }
    drained
}

/// Answers without looking at the request. What the client sends is discarded for a moment: closing
/// with unread bytes would be a reset, which may destroy the response.
async fn reject_connection(mut stream: TcpStream) {
    let farewell = async {
        stream.write_all(FULL_RESPONSE).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // The peer may be gone already; then the error does not matter.
    drop(timeout(LINGER, farewell).await);
}

/// Errors of `accept` that concern one peer only.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
