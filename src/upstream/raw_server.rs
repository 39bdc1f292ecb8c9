//! A server for tests: takes one raw request per connection, keeps its bytes, replies with given
//! bytes.
//!
//! Invariant: it sends exactly the scripted bytes, however wrong. For tests that need replies which
//! a proper server would not send.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// What the server does with one connection.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Reads the request, writes these bytes, closes.
    Bytes(Vec<u8>),
    /// Reads the request and sends nothing.
    Silence,
    /// Reads the request, writes these bytes, then sends nothing more.
    Stall(Vec<u8>),
    /// Reads the request and closes.
    Hangup,
}

impl Reply {
    /// A complete response with length and content type.
    pub(crate) fn json(status: &str, body: &str) -> Self {
        Self::with_headers(status, "Content-Type: application/json\r\n", body.as_bytes())
    }

    /// A complete response with more headers; each line ends with CR LF.
    pub(crate) fn with_headers(status: &str, headers: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }
}

/// A running server. It ends with the runtime of the test.
#[derive(Debug)]
pub(crate) struct RawServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl RawServer {
    /// Replies to connections in order; closes those beyond the list.
    pub(crate) async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::default();
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        let shared = Arc::clone(&requests);
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = replies.pop_front().unwrap_or(Reply::Hangup);
                serve(stream, reply, &shared).await;
            }
        });
        Self { address, requests }
    }

    /// An address where no server listens.
    pub(crate) async fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    /// `http://127.0.0.1:<port>` + path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The raw requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, requests: &Mutex<Vec<Vec<u8>>>) {
    let request = read_request(&mut stream).await;
    requests.lock().unwrap().push(request);
    match reply {
        Reply::Bytes(bytes) => {
            // The client may have closed the connection; some tests are about that.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Silence => wait_for_end(&mut stream).await,
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            wait_for_end(&mut stream).await;
        }
        Reply::Hangup => {}
    }
}

async fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

/// Reads until the head and the announced body are complete, or the client stops.
async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    request
}

fn is_whole(request: &[u8]) -> bool {
    // A TLS handshake record: type, version, length in two bytes. No HTTP head follows.
    if let [0x16, _, _, high, low, record @ ..] = request {
        return record.len() >= usize::from(u16::from_be_bytes([*high, *low]));
    }
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let announced = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse().unwrap());
    request.len() >= head.len() + 4 + announced
}
