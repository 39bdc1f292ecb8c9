//! Idle connections for each origin, and how they come back to the pool.
//!
//! Invariant: a connection is in the pool only after the whole response to its last request was
//! read, when it is ready for the next one, and only for a limited time. Used by
//! [`HyperClient`](super::hyper_client::HyperClient); [`PooledBody`] gives connections back.

use crate::upstream::{
    POOL_PER_HOST,
    target::{is_allowed_origin, is_unambiguous_path},
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
    rt::Executor as _,
};
use hyper_util::rt::TokioExecutor;
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout};

/// One connection. hyper's connection future runs as a task of its own and ends with the
/// connection.
pub(super) type Connection = SendRequest<Full<Bytes>>;

/// All origins that were called. There are not more of them than configured destinations.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    /// The origin of the last call: nearly all calls of one client go to one origin.
    last: ArcSwapOption<OriginPool>,
    all: Mutex<Vec<Arc<OriginPool>>>,
    idle: Duration,
}

impl ConnectionPool {
    /// Makes an empty pool that keeps idle connections for at most `idle`.
    pub(super) fn new(idle: Duration) -> Self {
        Self { last: ArcSwapOption::empty(), all: Mutex::default(), idle }
    }

    /// Returns the pool of the target's origin, if the target may be called.
    pub(super) fn for_target(&self, target: &Uri) -> Option<Arc<OriginPool>> {
        let (scheme, authority) = target.scheme().zip(target.authority())?;
        if !is_unambiguous_path(target.path()) {
            return None;
        }
        let last = self.last.load_full().filter(|last| last.is_for(scheme, authority));
        last.or_else(|| self.find_or_add(scheme, authority))
    }

    fn find_or_add(&self, scheme: &Scheme, authority: &Authority) -> Option<Arc<OriginPool>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match all.iter().find(|pool| pool.is_for(scheme, authority)) {
            Some(pool) => Arc::clone(pool),
            None if !is_allowed_origin(scheme, authority) => return None,
            None => {
                let pool = Arc::new(OriginPool::new(scheme, authority, self.idle)?);
                all.push(Arc::clone(&pool));
                pool
            }
        };
        self.last.store(Some(Arc::clone(&pool)));
        Some(pool)
    }
}

/// An origin that may be called, and its idle connections.
pub(super) struct OriginPool {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    idle: Duration,
    idle_connections: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    /// The most recently used connection is at the end.
    connections: VecDeque<(Instant, Connection)>,
    /// Whether a task will close the connections that are idle for too long.
    is_swept: bool,
}

impl OriginPool {
    fn new(scheme: &Scheme, authority: &Authority, idle: Duration) -> Option<Self> {
        let host = HeaderValue::try_from(authority.as_str()).ok()?;
        let (scheme, authority) = (scheme.clone(), authority.clone());
        Some(Self { scheme, authority, host, idle, idle_connections: Mutex::default() })
    }

    /// Compares byte for byte. `Authority` itself compares without regard to case.
    fn is_for(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority.as_str() == authority.as_str()
    }

    /// Returns the value of the `Host` header.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Returns the root of the origin, for the connector.
    pub(super) fn root(&self) -> Option<Uri> {
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()
    }

    /// Takes the most recently used connection that is ready. The others may get old and be closed.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some((since, connection)) = idle.connections.pop_back() {
            if since.elapsed() >= self.idle {
                // All others are idle for longer.
                idle.connections.clear();
            } else if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection back after its response was read. It may still send: a response can come
    /// before the whole request was sent. Then a task waits until it is ready.
    fn give_back(self: Arc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            self.put(connection);
        } else if !connection.is_closed() {
            TokioExecutor::new().execute(async move {
                if let Ok(Ok(())) = timeout(self.idle, connection.ready()).await {
                    self.put(connection);
                }
            });
        }
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.lock();
        if idle.connections.len() >= POOL_PER_HOST {
            return;
        }
        idle.connections.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_swept, true) {
            TokioExecutor::new().execute(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes connections that are idle for too long. Returns when to check again, if any are left.
    fn close_old(&self) -> Option<Instant> {
        let mut idle = self.lock();
        loop {
            let oldest = idle.connections.front().map(|(since, _)| *since + self.idle);
            if oldest.is_none_or(|until| until > Instant::now()) {
                idle.is_swept = oldest.is_some();
                return oldest;
            }
            idle.connections.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle_connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs while there are idle connections.
async fn sweep(pool: Weak<OriginPool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_old()) {
        sleep_until(next).await;
    }
}

impl fmt::Debug for OriginPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginPool").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// A response body. It gives its connection back when it was read to the end. If it is dropped
/// before, the connection closes.
pub(super) struct PooledBody {
    body: Incoming,
    connection: Option<(Connection, Arc<OriginPool>)>,
}

impl PooledBody {
    /// Takes a body and its connection. hyper ends a connection after a 101 that was not requested.
    pub(super) fn new(body: Incoming, connection: Connection, pool: Arc<OriginPool>) -> Self {
        let mut pooled = Self { body, connection: Some((connection, pool)) };
        pooled.give_back_at_end();
        pooled
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some((connection, pool)) = self.connection.take()
        {
            pool.give_back(connection);
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(_)) => self.give_back_at_end(),
            // A body without a length shows its end only here.
            None => {
                if let Some((connection, pool)) = self.connection.take() {
                    pool.give_back(connection);
                }
            }
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
