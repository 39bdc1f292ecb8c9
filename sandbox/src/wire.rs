//! Below HTTP: sockets that keep what they received, and that can reset, drip or cut an answer.
//! Invariant: the kept bytes are the bytes that the client sent. Called only by `listener` and
//! `service`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::part::locked;

/// The most received bytes to keep for a request: more than any token request, and a limit for the
/// memory.
const KEPT: usize = 1024 * 1024;

/// How the bytes of one answer leave.
#[derive(Clone, Debug, Default)]
pub(crate) enum WritePlan {
    /// Unchanged.
    #[default]
    Plain,
    /// `chunk` bytes, then a pause, repeatedly.
    Drip { chunk: usize, pause: Duration },
    /// The head and `after` bytes of the body, then the connection ends.
    Truncate { after: usize },
    /// These bytes instead, then the connection ends.
    Replace(Bytes),
}

/// What the HTTP side and the socket of one connection share.
#[derive(Debug, Default)]
pub(crate) struct SocketControl(Mutex<SocketState>);

#[derive(Debug, Default)]
struct SocketState {
    received: Vec<u8>,
    plan: WritePlan,
    /// How many characters of the blank line were written; 4 = the head is complete.
    blank: usize,
    reset: bool,
}

/// An accepted socket that follows its [`SocketControl`].
#[derive(Debug)]
pub(crate) struct TappedStream {
    inner: TcpStream,
    control: Arc<SocketControl>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl SocketControl {
    /// Takes the bytes of the request whose body was just read.
    pub(crate) fn take_request(&self) -> Vec<u8> {
        let mut shared = locked(&self.0);
        let all = shared.received.len();
        let end = request_length(&shared.received).unwrap_or(all).min(all);
        let rest = shared.received.split_off(end);
        std::mem::replace(&mut shared.received, rest)
    }

    /// Sets how the next answer leaves.
    pub(crate) fn plan(&self, plan: WritePlan) {
        let mut shared = locked(&self.0);
        shared.plan = plan;
        shared.blank = 0;
    }

    /// Makes the connection end with a TCP reset instead of a normal close.
    pub(crate) fn reset(&self) {
        locked(&self.0).reset = true;
    }

    fn is_reset(&self) -> bool {
        locked(&self.0).reset
    }
}

impl TappedStream {
    pub(crate) fn new(inner: TcpStream, control: Arc<SocketControl>) -> Self {
        Self { inner, control, pause: None }
    }

    /// Waits for the pause between two chunks.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn poll_drip(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        pause: Duration,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(context));
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.pause = Some(Box::pin(sleep(pause)));
        Poll::Ready(Ok(written))
    }

    fn poll_truncated(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        after: usize,
    ) -> Poll<io::Result<usize>> {
        let blank = locked(&self.control.0).blank;
        let head = head_end(bytes, blank);
        let allowed = head.saturating_add(after).min(bytes.len());
        let Some(bytes) = bytes.get(..allowed).filter(|bytes| !bytes.is_empty()) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        let mut shared = locked(&self.control.0);
        shared.blank = blank_after(bytes.get(..written).unwrap_or(bytes), blank);
        shared.plan =
            WritePlan::Truncate { after: after.saturating_sub(written.saturating_sub(head)) };
        Poll::Ready(Ok(written))
    }

    fn poll_replaced(
        &mut self,
        context: &mut Context<'_>,
        bytes: &Bytes,
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        locked(&self.control.0).plan = WritePlan::Replace(bytes.slice(written..));
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for TappedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let mut shared = locked(&self.control.0);
        if shared.received.len() < KEPT {
            shared.received.extend(buffer.filled().iter().skip(before));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TappedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let plan = locked(&self.control.0).plan.clone();
        match plan {
            WritePlan::Plain => Pin::new(&mut self.inner).poll_write(context, bytes),
            WritePlan::Drip { chunk, pause } => {
                let piece = bytes.get(..chunk.max(1)).unwrap_or(bytes);
                self.poll_drip(context, piece, pause)
            }
            WritePlan::Truncate { after } => self.poll_truncated(context, bytes, after),
            WritePlan::Replace(instead) => self.poll_replaced(context, &instead),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.control.is_reset() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl Drop for TappedStream {
    /// With a linger time of zero the kernel sends RST instead of FIN.
    fn drop(&mut self) {
        if self.control.is_reset() {
            drop(self.inner.set_zero_linger());
        }
    }
}

/// Returns how many of these bytes belong to the head. `blank` characters of its blank line are
/// already written.
fn head_end(bytes: &[u8], blank: usize) -> usize {
    let mut seen = blank;
    bytes
        .iter()
        .take_while(|byte| {
            let inside = seen < 4;
            seen = count_blank(seen, **byte);
            inside
        })
        .count()
}

/// Returns how many characters of the blank line are written after these bytes.
fn blank_after(bytes: &[u8], blank: usize) -> usize {
    bytes.iter().fold(blank, |seen, byte| count_blank(seen, *byte))
}

/// Follows `\r\n\r\n`. Four stays four.
fn count_blank(seen: usize, byte: u8) -> usize {
    match (seen, byte) {
        (4, _) => 4,
        (0 | 2, b'\r') | (1 | 3, b'\n') => seen.saturating_add(1),
        (_, b'\r') => 1,
        _ => 0,
    }
}

/// Returns the length of the first request, by its `Content-Length`. `None` if the head is not
/// complete or the body is chunked.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let end = head_end(bytes, 0);
    if blank_after(bytes.get(..end)?, 0) != 4 {
        return None;
    }
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding:") {
        return None;
    }
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body: usize = value.map_or(Some(0), |value| value.trim().parse().ok())?;
    end.checked_add(body)
}

#[cfg(test)]
mod tests {
    use super::{head_end, request_length};

    #[test]
    fn the_head_ends_after_the_blank_line_also_across_writes() {
        assert_eq!(head_end(b"HTTP/1.1 200 OK\r\n\r\nbody", 0), 19);
        assert_eq!(head_end(b"\r\nbody", 2), 2);
        assert_eq!(head_end(b"body", 4), 0);
        assert_eq!(head_end(b"no end\r\n", 0), 8);
    }

    #[test]
    fn a_request_is_as_long_as_its_content_length_says() {
        assert_eq!(request_length(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET"), Some(41));
        assert_eq!(request_length(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
        assert_eq!(request_length(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(request_length(b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0"), None);
    }
}
