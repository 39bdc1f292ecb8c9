//! A listening port. It can be closed (connections are refused) and opened again at the same
//! address. Invariant: after [`Listener::close`] the port refuses, and no old connection is open.
//! Called by `lib` at start and by the levers `stop` and `start`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::{ConnectionTorn, Service};
use crate::wire::{SocketControl, TappedStream};

/// One port of the landscape.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    service: Arc<Service>,
    tasks: Tasks,
    open: Mutex<Option<ListenerTask>>,
}

/// The tasks of the landscape, and the token that ends them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) ended: CancellationToken,
}

#[derive(Debug)]
struct ListenerTask {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts to serve on an open port.
    pub(crate) fn open_on(
        listener: TcpListener,
        address: SocketAddr,
        service: Service,
        tasks: Tasks,
    ) -> Self {
        let closed =
            Self { address, service: Arc::new(service), tasks, open: Mutex::const_new(None) };
        let open = closed.spawn(listener);
        Self { open: Mutex::const_new(Some(open)), ..closed }
    }

    /// Returns the address of the port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the port again. Does nothing if it is open.
    ///
    /// # Errors
    /// Another process took the port meanwhile.
    pub(crate) async fn open(&self) -> io::Result<()> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            *open = Some(self.spawn(TcpListener::bind(self.address).await?));
        }
        Ok(())
    }

    /// Closes the port and every connection. Returns when the port refuses.
    pub(crate) async fn close(&self) {
        let Some(open) = self.open.lock().await.take() else {
            return;
        };
        open.closing.cancel();
        drop(open.task.await);
    }

    fn spawn(&self, listener: TcpListener) -> ListenerTask {
        let closing = self.tasks.ended.child_token();
        let executor = (Arc::clone(&self.service), self.tasks.clone());
        let serving = accept_loop(listener, executor, closing.clone());
        ListenerTask { closing, task: self.tasks.tracker.spawn(serving) }
    }
}

/// Accepts until `closing`. The end drops the listener and every connection.
async fn accept_loop(
    listener: TcpListener,
    (service, tasks): (Arc<Service>, Tasks),
    closing: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, Arc::clone(&service), tasks.clone()));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves HTTP/1.1 on one connection. A request that was read is executed all the same when its
/// client has gone (recorded).
async fn serve_connection(stream: TcpStream, service: Arc<Service>, tasks: Tasks) {
    drop(stream.set_nodelay(true));
    let control = Arc::new(SocketControl::default());
    let socket = TokioIo::new(TappedStream::new(stream, Arc::clone(&control)));
    let service = service_fn(move |request| {
        let (service, control) = (Arc::clone(&service), Arc::clone(&control));
        let ended = tasks.ended.clone();
        let answering = tasks.tracker.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => Err(ConnectionTorn),
                answer = service.answer(request, &control) => answer,
            }
        });
        async move { answering.await.unwrap_or(Err(ConnectionTorn)) }
    });
    // A connection that was reset on purpose is an error here. It needs no report.
    drop(http1::Builder::new().serve_connection(socket, service).await);
}
