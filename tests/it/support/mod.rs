//! A broker in this process that uses a sandbox, and a client of it.

pub(crate) mod audited_program;
pub(crate) mod browser;
pub(crate) mod process;
pub(crate) mod tenant;

use std::collections::BTreeMap;

use cfapi_broker::{
    app::Broker,
    config::{self, Flags, env::EnvSnapshot},
};
use cfapi_sandbox::{Options, Sandbox};
use http::Method;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The app of the sandbox that routes are mapped to.
pub(crate) const APP: &str = "saas-approuter";

/// A broker on a port of its own.
pub(crate) struct TestBroker {
    pub(crate) base: String,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// One response, read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    pub(crate) url: String,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        parse(&self.text)
    }

    /// The problem's code; also checks that the document is complete.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(body["status"], self.status, "{}", self.text);
        for member in ["type", "title", "detail", "instance", "correlation_id"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member}: {}",
                self.text
            );
        }
        assert!(body["retryable"].is_boolean());
        body["code"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    /// The number and title of CF's only error in a problem below `/v3`; also checks its form.
    pub(crate) fn cf_error(&self) -> (u64, String) {
        self.code();
        let body = self.json();
        let errors = body["errors"].as_array().map_or(&[] as &[_], Vec::as_slice);
        let [error] = errors else { panic!("no single error: {}", self.text) };
        assert_eq!(error.as_object().map(serde_json::Map::len), Some(3), "{}", self.text);
        assert_eq!(error["detail"], body["detail"], "{}", self.text);
        let title = error["title"].as_str().unwrap().to_owned();
        assert!(title.starts_with("CF-"), "{}", self.text);
        (error["code"].as_u64().unwrap(), title)
    }
}

/// Parses JSON; null if it is not JSON.
#[expect(clippy::disallowed_methods, reason = "tests read what the broker wrote")]
pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A sandbox on free ports.
pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

/// A path that costs one call of the CF API each time; see [`reader_token`].
pub(crate) const READ: &str = "/v3/spaces";

/// A token for [`READ`], `/spaces` and `/destinations`.
pub(crate) fn reader_token(sandbox: &Sandbox) -> String {
    sandbox.caller_token("sb-reader!t1", &["Spaces.Read", "Api.Proxy"])
}

/// Pulls a lever; it must work.
pub(crate) fn pull(sandbox: &Sandbox, lever: &str, args: &Value) -> Value {
    sandbox.pull(lever, args).unwrap_or_else(|error| panic!("{lever}: {error}"))
}

/// The variables that a platform would set for a broker in this sandbox.
pub(crate) fn variables(sandbox: &Sandbox) -> BTreeMap<String, String> {
    variables_of(&sandbox.vcap_services(), &sandbox.vcap_application("127.0.0.1"))
}

/// The same from the two JSON texts.
pub(crate) fn variables_of(services: &str, application: &str) -> BTreeMap<String, String> {
    [
        ("PORT", "0"),
        ("CFAPI_SERVER__ADDRESS", "127.0.0.1"),
        ("VCAP_SERVICES", services),
        ("VCAP_APPLICATION", application),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

impl TestBroker {
    /// Starts a broker with only the sandbox's variables.
    pub(crate) async fn start(sandbox: &Sandbox) -> Self {
        Self::with(variables(sandbox)).await
    }

    /// Starts a broker with these variables.
    pub(crate) async fn with(variables: BTreeMap<String, String>) -> Self {
        let snapshot = EnvSnapshot::from_vars(variables);
        let loaded = config::load(&snapshot, &Flags::default()).unwrap();
        let broker = Broker::build(loaded.settings, &snapshot).await.unwrap();
        let base = format!("http://{}", broker.address());
        let stop = broker.stopper();
        #[expect(clippy::disallowed_methods, reason = "the whole broker is one task of the test")]
        let running = tokio::spawn(broker.run());
        Self { base, stop, running }
    }

    /// Sends a request with an optional bearer token and JSON body. `path` may be a whole link to
    /// this broker.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let path = path.strip_prefix(&self.base).unwrap_or(path);
        let mut request = client().request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, Some(token), None).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(token), Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.send(Method::DELETE, path, Some(token), None).await
    }

    /// Stops the broker and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// A client without redirects and proxy. It has no certificates: nothing here uses TLS, and loading
/// them takes longer than most requests.
pub(crate) fn client() -> reqwest::Client {
    #[expect(clippy::disallowed_methods, reason = "the tests' own client")]
    let builder = reqwest::Client::builder();
    let builder = builder.tls_certs_only([]);
    builder.no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Sends the request and reads the whole response.
#[expect(clippy::disallowed_methods, reason = "the tests' own client")]
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let url = response.url().to_string();
    let answer = Answer { status, headers, url, text: response.text().await.unwrap() };
    crate::openapi::assert_lists_code(&method, &path, &answer);
    answer
}
