//! Tests: which certificates the clients trust, with a real TLS handshake.
//!
//! Invariant: both libraries trust the same. The certificate is for `localhost`, valid for a
//! hundred years, from an authority that only this test knows. A second one with the same key
//! expired in 2025. They were made with openssl; the authority's key no longer exists.

use crate::upstream::{
    ClientFactory, ConnectFault, HttpResponse,
    Purpose::{self, CfApi, Token},
    Settings, TransportError,
};
use bytes::Bytes;
use http::Request;
use rstest::rstest;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{io::Write, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/localhost.pem");
const EXPIRED: &[u8] = include_bytes!("certificates/expired.pem");
const KEY: &[u8] = include_bytes!("certificates/localhost.key");

/// Answers TLS connections with the negotiated protocol; returns the port.
async fn server(certificate: &[u8]) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    TaskTracker::new().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    });
    port
}

async fn answer(mut stream: TlsStream<TcpStream>) {
    let agreed = stream.get_ref().1.alpn_protocol().unwrap_or(b"none").to_vec();
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await.unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", agreed.len());
    stream.write_all(&[head.as_bytes(), &agreed].concat()).await.unwrap();
}

async fn asked(
    purpose: Purpose,
    host: &str,
    authority: Option<&[u8]>,
    certificate: &[u8],
) -> Result<HttpResponse, TransportError> {
    let url = format!("https://{host}:{}/", server(certificate).await);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.unwrap_or_default()).unwrap();
    let extra_ca_file = authority.map(|_| file.path().into());
    let factory = ClientFactory::new(&Settings { extra_ca_file }).unwrap();
    let request = Request::get(url).body(Bytes::new()).unwrap();
    factory.client(purpose).unwrap().fetch(request, 1024).await
}

#[rstest]
#[tokio::test]
async fn an_authority_of_the_settings_is_trusted(#[values(Token, CfApi)] purpose: Purpose) {
    let answer = asked(purpose, "localhost", Some(AUTHORITY), CERTIFICATE).await.unwrap();
    assert_eq!(answer.body.as_slice(), b"http/1.1");
}

#[rstest]
#[case::unknown_authority("localhost", None, CERTIFICATE)]
#[case::another_name("127.0.0.1", Some(AUTHORITY), CERTIFICATE)]
#[case::expired("localhost", Some(AUTHORITY), EXPIRED)]
#[tokio::test]
async fn an_unacceptable_certificate_ends_the_connection(
    #[values(Token, CfApi)] purpose: Purpose,
    #[case] host: &str,
    #[case] authority: Option<&[u8]>,
    #[case] certificate: &[u8],
) {
    let error = asked(purpose, host, authority, certificate).await.unwrap_err();
    let TransportError::Connect { kind, .. } = error else { panic!("{error:?}") };
    assert_eq!(kind, ConnectFault::TlsCertificate);
}
