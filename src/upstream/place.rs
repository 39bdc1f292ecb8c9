//! Idle connections to one origin, and the way in which they come back.
//!
//! Invariant: a connection is here only after the whole answer to its last request was read, ready for the next one, and
//! not for long.
//! Made and asked by [`Pooled`](super::pooled::Pooled); [`Hearing`] brings connections back.

use crate::upstream::{
    POOL_PER_HOST,
    target::{is_lawful, is_plain},
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

/// One connection; hyper's other half runs as a task of its own and ends with the connection.
pub(super) type Connection = SendRequest<Full<Bytes>>;

/// All origins that were called. They are as few as the configured destinations.
#[derive(Debug)]
pub(super) struct Places {
    /// The one that was called last: nearly all calls of one client go to one.
    last: ArcSwapOption<Place>,
    all: Mutex<Vec<Arc<Place>>>,
    idle: Duration,
}

impl Places {
    /// Begins without any; connections are kept for at most `idle`.
    pub(super) fn new(idle: Duration) -> Self {
        Self { last: ArcSwapOption::empty(), all: Mutex::default(), idle }
    }

    /// Returns the place that a target leads to, if it may be called at all.
    pub(super) fn of(&self, target: &Uri) -> Option<Arc<Place>> {
        let (scheme, authority) = target.scheme().zip(target.authority())?;
        if !is_plain(target.path()) {
            return None;
        }
        let last = self.last.load_full().filter(|last| last.is_at(scheme, authority));
        last.or_else(|| self.looked_up(scheme, authority))
    }

    fn looked_up(&self, scheme: &Scheme, authority: &Authority) -> Option<Arc<Place>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match all.iter().find(|place| place.is_at(scheme, authority)) {
            Some(place) => Arc::clone(place),
            None if !is_lawful(scheme, authority) => return None,
            None => {
                let place = Arc::new(Place::new(scheme, authority, self.idle)?);
                all.push(Arc::clone(&place));
                place
            }
        };
        self.last.store(Some(Arc::clone(&place)));
        Some(place)
    }
}

/// An origin that may be called, and the connections that wait there.
pub(super) struct Place {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    idle: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The one that came back last is at the end.
    connections: VecDeque<(Instant, Connection)>,
    /// Whether a task will close those that have waited too long.
    is_swept: bool,
}

impl Place {
    fn new(scheme: &Scheme, authority: &Authority, idle: Duration) -> Option<Self> {
        let host = HeaderValue::try_from(authority.as_str()).ok()?;
        let (scheme, authority) = (scheme.clone(), authority.clone());
        Some(Self { scheme, authority, host, idle, waiting: Mutex::default() })
    }

    /// Compares byte for byte: the library's own comparison takes no notice of case.
    fn is_at(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority.as_str() == authority.as_str()
    }

    /// Returns what `Host` is to say.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Returns the root of the origin, for the connector.
    pub(super) fn root(&self) -> Option<Uri> {
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()
    }

    /// Takes the connection that came back last, if one is ready: the others may become old and be closed.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut waiting = self.lock();
        while let Some((since, connection)) = waiting.connections.pop_back() {
            if since.elapsed() >= self.idle {
                // All others have waited longer.
                waiting.connections.clear();
            } else if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to the end. It may still be sending: an answer can come before its
    /// request is out. Whoever took it then would wait for that, so it waits beside.
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
        let mut waiting = self.lock();
        if waiting.connections.len() >= POOL_PER_HOST {
            return;
        }
        waiting.connections.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut waiting.is_swept, true) {
            TokioExecutor::new().execute(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has waited too long; returns when to look again, if anything waits.
    fn close_old(&self) -> Option<Instant> {
        let mut waiting = self.lock();
        loop {
            let oldest = waiting.connections.front().map(|(since, _)| *since + self.idle);
            if oldest.is_none_or(|until| until > Instant::now()) {
                waiting.is_swept = oldest.is_some();
                return oldest;
            }
            waiting.connections.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs while connections wait.
async fn sweep(place: Weak<Place>) {
    while let Some(next) = place.upgrade().and_then(|place| place.close_old()) {
        sleep_until(next).await;
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// An answer's body that gives its connection back once it was read to the end; dropped before, it closes it.
pub(super) struct Hearing {
    body: Incoming,
    loan: Option<(Connection, Arc<Place>)>,
}

impl Hearing {
    /// Takes a body, and the connection that it gives back. After a 101, which nobody has asked for, hyper ends it.
    pub(super) fn new(body: Incoming, connection: Connection, place: Arc<Place>) -> Self {
        let mut hearing = Self { body, loan: Some((connection, place)) };
        hearing.give_back_at_the_end();
        hearing
    }

    fn give_back_at_the_end(&mut self) {
        if self.body.is_end_stream()
            && let Some((connection, place)) = self.loan.take()
        {
            place.give_back(connection);
        }
    }
}

impl Body for Hearing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(_)) => self.give_back_at_the_end(),
            // A body without a length has told its end only now.
            None => {
                if let Some((connection, place)) = self.loan.take() {
                    place.give_back(connection);
                }
            }
            Some(Err(_)) => self.loan = None,
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
