//! A client certificate with its key in both encodings, generated for each test: no key is stored
//! in the repository.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::STANDARD};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;

/// `AlgorithmIdentifier` contents: rsaEncryption and sha256WithRSAEncryption, each with NULL.
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const SHA256_WITH_RSA: &[u8] =
    &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// PEM texts as in a binding.
pub(crate) struct TestCredential {
    pub(crate) chain: String,
    pub(crate) pkcs1: String,
    pub(crate) pkcs8: String,
}

impl TestCredential {
    /// Generates a key and a certificate for it. The signature is invalid; no client checks it.
    pub(crate) fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        Self {
            chain: pem("CERTIFICATE", &certificate(pair.public_key().as_ref())),
            pkcs1: pem("RSA PRIVATE KEY", inner_key(pkcs8.as_ref())),
            pkcs8: pem("PRIVATE KEY", pkcs8.as_ref()),
        }
    }
}

fn certificate(public_key: &[u8]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[SHA256_WITH_RSA]);
    let times = [element(UTC_TIME, &[b"260101000000Z"]), element(UTC_TIME, &[b"360101000000Z"])];
    let key =
        element(SEQUENCE, &[&element(SEQUENCE, &[RSA]), &element(BIT_STRING, &[&[0], public_key])]);
    let to_be_signed = element(
        SEQUENCE,
        &[
            // Version 3, serial number 1.
            &[0xa0, 3, INTEGER, 1, 2],
            &[INTEGER, 1, 1],
            &algorithm,
            &element(SEQUENCE, &[]),
            &element(SEQUENCE, &[&times[0], &times[1]]),
            &element(SEQUENCE, &[]),
            &key,
        ],
    );
    let signature = element(BIT_STRING, &[&[0], &[1; 256]]);
    element(SEQUENCE, &[&to_be_signed, &algorithm, &signature])
}

/// Returns the PKCS#1 key, which PKCS#8 holds in its last octet string.
fn inner_key(pkcs8: &[u8]) -> &[u8] {
    let mark = [OCTET_STRING, 0x82];
    let start = pkcs8.windows(2).position(|window| window == mark).unwrap();
    &pkcs8[start + 4..]
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    // DER allows only the shortest form of the length.
    let length: &[u8] = match length {
        [0, short] if short < 0x80 => &[short],
        [0, long] => &[0x81, long],
        [high, low] => &[0x82, high, low],
    };
    [&[tag], length, content.as_slice()].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
