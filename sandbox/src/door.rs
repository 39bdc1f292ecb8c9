//! A listening port: opens, closes (connections are refused) and opens again in the same place.
//! Invariant: after [`Door::close`] the port refuses and no old connection lives. Called by `lib` at start and by the levers
//! `stop` and `start`.

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

use crate::front::Front;
use crate::wire::{Line, Tapped};

/// One port of the landscape.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    front: Arc<Front>,
    tasks: Tasks,
    open: Mutex<Option<Open>>,
}

/// Where tasks live and what ends them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) ended: CancellationToken,
}

#[derive(Debug)]
struct Open {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Door {
    /// Serves what a listener accepts.
    pub(crate) fn open_on(
        listener: TcpListener,
        address: SocketAddr,
        front: Front,
        tasks: Tasks,
    ) -> Self {
        let door = Self { address, front: Arc::new(front), tasks, open: Mutex::const_new(None) };
        let open = door.spawn(listener);
        Self { open: Mutex::const_new(Some(open)), ..door }
    }

    /// Returns where the port is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the port again; does nothing while it is open.
    ///
    /// # Errors
    /// Where another process took the port meanwhile.
    pub(crate) async fn open(&self) -> io::Result<()> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            *open = Some(self.spawn(TcpListener::bind(self.address).await?));
        }
        Ok(())
    }

    /// Closes the port and every connection; returns when the port refuses.
    pub(crate) async fn close(&self) {
        let Some(open) = self.open.lock().await.take() else {
            return;
        };
        open.closing.cancel();
        drop(open.task.await);
    }

    fn spawn(&self, listener: TcpListener) -> Open {
        let closing = self.tasks.ended.child_token();
        let serving = serve(listener, Arc::clone(&self.front), closing.clone());
        Open { closing, task: self.tasks.tracker.spawn(serving) }
    }
}

/// Accepts until told to end; leaving drops the listener and every connection.
async fn serve(listener: TcpListener, front: Arc<Front>, closing: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&front)));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Speaks HTTP/1.1 on one connection.
async fn converse(stream: TcpStream, front: Arc<Front>) {
    drop(stream.set_nodelay(true));
    let line = Arc::new(Line::default());
    let socket = TokioIo::new(Tapped::new(stream, Arc::clone(&line)));
    let service = service_fn(move |request| {
        let (front, line) = (Arc::clone(&front), Arc::clone(&line));
        async move { front.answer(request, &line).await }
    });
    // A connection that was torn on purpose is an error here; nobody needs to hear of it.
    drop(http1::Builder::new().serve_connection(socket, service).await);
}
