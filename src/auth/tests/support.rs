//! Keys, tokens and a key server for the tests of this module.

use crate::{
    auth::{AuthError, Caller, IssuerBindings, Settings, Verifier},
    binding::{ServiceCredential, XsuaaBinding},
    telemetry::metrics::Metrics,
    upstream::{self, ClientFactory, HttpClient, Purpose},
};
use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{self, EcdsaKeyPair, KeyPair as _, RsaEncoding},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use std::{
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// The time of every test, in seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ZONE: &str = "zone-of-provider";
pub(super) const CLIENT: &str = "sb-broker!t1";
pub(super) const APPLICATION: &str = "broker!t1";
pub(super) const KID: &str = "key-1";

/// The key with the `kid` [`KID`] in the served set.
pub(super) static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KeySize::Rsa2048));
/// A key that no set contains unless a test adds it.
pub(super) static OTHER_KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KeySize::Rsa2048));
/// A longer, valid key.
pub(super) static LONG_KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KeySize::Rsa3072));

pub(super) struct Key {
    pair: RsaKeyPair,
}

impl Key {
    fn generate(size: KeySize) -> Self {
        Self { pair: RsaKeyPair::generate(size).unwrap() }
    }

    /// `n` and `e` out of the `RSAPublicKey` structure of RFC 8017.
    pub(super) fn components(&self) -> (Vec<u8>, Vec<u8>) {
        let sequence = der_content(self.pair.public_key().as_ref()).0;
        let (modulus, rest) = der_content(sequence);
        let (exponent, _) = der_content(rest);
        let integer = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        (integer(modulus), integer(exponent))
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let (modulus, exponent) = self.components();
        let (n, e) = (base64url(&modulus), base64url(&exponent));
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e})
    }

    pub(super) fn sign(&self, text: &str, padding: &'static dyn RsaEncoding) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(padding, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        signature
    }

    /// The public key as an attacker would use it as an HMAC secret.
    pub(super) fn public_der(&self) -> Vec<u8> {
        self.pair.public_key().as_der().unwrap().as_ref().to_vec()
    }

    /// A token of these texts, signed with RS256.
    pub(super) fn token_of_texts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let signature = self.sign(&signed, &signature::RSA_PKCS1_SHA256);
        format!("{signed}.{}", base64url(&signature))
    }

    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }
}

/// The content of the first element, and the bytes after it (X.690 §8.1).
fn der_content(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = match bytes[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length =
                bytes[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
    };
    (&bytes[start..start + length], &bytes[start + length..])
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token whose signature is made by `sign` over the signed text.
pub(super) fn token_signed_by(
    header: &Value,
    claims: &Value,
    sign: impl Fn(&str) -> Vec<u8>,
) -> String {
    let signed = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let signature = base64url(&sign(&signed));
    format!("{signed}.{signature}")
}

pub(super) fn hmac_sha256(secret: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref().to_vec()
}

/// An elliptic key: its JWK, and a function that signs with it.
pub(super) fn elliptic_key(kid: &str) -> (Value, impl Fn(&str) -> Vec<u8>) {
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y});
    let sign = move |text: &str| {
        pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
    };
    (jwk, sign)
}

/// The header of a valid token.
pub(super) fn valid_header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": KID, "jku": "https://attacker.example/token_keys"})
}

/// The claims of a valid technical token, for an issuer at `domain`.
pub(super) fn valid_claims(domain: &str) -> Value {
    json!({
        "iss": format!("https://provider.{domain}/oauth/token"), "zid": ZONE, "cid": "sb-caller!t7",
        "client_id": "sb-caller!t7", "azp": "sb-caller!t7", "sub": "sb-caller!t7",
        "grant_type": "client_credentials",
        "aud": [APPLICATION, "sb-caller!t7"], "scope": [format!("{APPLICATION}.Routes.Read")],
        "jti": "0123456789abcdef", "iat": NOW - 100, "exp": NOW + 1000
    })
}

pub(super) fn key_set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

/// The answer of the key server, which tests can change, and the received requests.
#[derive(Default)]
pub(super) struct ServerState {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) requests: Vec<String>,
}

/// `/token_keys` on loopback.
pub(super) struct KeyServer {
    pub(super) domain: String,
    state: Arc<Mutex<ServerState>>,
}

impl KeyServer {
    pub(super) async fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let domain = listener.local_addr().unwrap().to_string();
        let state =
            Arc::new(Mutex::new(ServerState { status: 200, body, ..ServerState::default() }));
        let server = Self { domain, state: Arc::clone(&state) };
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &state).await;
            }
        });
        server
    }

    pub(super) fn edit(&self, edit: impl FnOnce(&mut ServerState)) {
        edit(&mut self.state.lock().unwrap());
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<ServerState>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let text = {
        let mut state = state.lock().unwrap();
        state.requests.push(String::from_utf8(head).unwrap().to_ascii_lowercase());
        let headers = state
            .headers
            .iter()
            .fold(String::new(), |all, (name, value)| all + name + ": " + value + "\r\n");
        let length = state.body.len();
        format!(
            "HTTP/1.1 {} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{}",
            state.status, state.body
        )
    };
    stream.write_all(text.as_bytes()).await.unwrap_or_default();
}

pub(super) fn binding(uaa_domain: &str) -> XsuaaBinding {
    XsuaaBinding {
        name: "broker-xsuaa".to_owned(),
        client_id: CLIENT.to_owned(),
        credential: ServiceCredential::Secret("unused".into()),
        url: "https://provider.authentication.example.test".parse().unwrap(),
        uaa_domain: uaa_domain.to_owned(),
        xsappname: APPLICATION.to_owned(),
        zones: vec![ZONE.to_owned()],
    }
}

pub(super) fn client() -> HttpClient {
    ClientFactory::new(&upstream::Settings::default()).unwrap().client(Purpose::Keys).unwrap()
}

pub(super) fn verifier(binding: XsuaaBinding, client: &HttpClient) -> Verifier {
    verifier_with(&Settings::default(), &bound(binding), client)
}

/// The bindings of a broker without IAS.
pub(super) fn bound(binding: XsuaaBinding) -> IssuerBindings {
    IssuerBindings { xsuaa: Some(binding), identity: None }
}

pub(super) fn verifier_with(
    settings: &Settings,
    bound: &IssuerBindings,
    client: &HttpClient,
) -> Verifier {
    Verifier::new(settings, bound, client, &TaskTracker::new(), Metrics::default())
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

pub(super) async fn verify(verifier: &Verifier, token: &str) -> Result<Caller, AuthError> {
    verifier.verify(&bearer(token), now()).await
}
