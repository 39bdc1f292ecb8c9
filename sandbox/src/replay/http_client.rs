//! A minimal HTTP/1.1 client: one request, one connection, paths exactly as written. A normal
//! client would correct `%ff` or `..`.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer as received.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// By name, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl HttpAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Sends the request and reads the answer until the connection ends.
pub(crate) async fn ask(address: &str, request: &[u8]) -> Result<HttpAnswer, String> {
    let fault = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(fault)?;
    stream.write_all(request).await.map_err(fault)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(fault)?;
    let text = String::from_utf8(bytes).map_err(|_| "the answer is no UTF-8")?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of head")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    Ok(HttpAnswer {
        status: status.ok_or("the answer has no status")?,
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}
