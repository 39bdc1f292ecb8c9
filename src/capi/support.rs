//! For tests of this module and of `routes` and `proxy`: a scripted CF API on a real socket, and
//! what it received.
//!
//! Invariant: replies have the form that was recorded on real systems. Callers: tests.

use super::{
    CapiClient, CfRequestClient, DestinationName,
    tokens::{LeaseFuture, TokenLender},
};
pub(crate) use crate::upstream::raw_server::Reply;
use crate::{
    telemetry::{metrics::Metrics, trace::CorrelationId},
    token::{Lease, LeaseRefusal, Reason, Revoked, lease_for_tests},
    upstream::{ClientFactory, Purpose, Settings, Timeouts, raw_server::RawServer},
};
use http::HeaderValue;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

/// A scripted CF API and a client for it.
pub(crate) struct ScriptedCf {
    pub(crate) client: CapiClient,
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Metrics,
    server: RawServer,
}

impl ScriptedCf {
    /// Replies to the requests in order.
    pub(crate) async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with_head_timeout(Purpose::CfApi.timeouts().head, replies).await
    }

    /// The same with a limit on the time until the response head.
    pub(crate) async fn with_head_timeout(
        head: Duration,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let server = RawServer::answering(replies).await;
        let tokens = Arc::new(ScriptedTokens::new(server.url("").parse().unwrap()));
        let factory = ClientFactory::new(&Settings::default()).unwrap();
        let timeouts = Timeouts { head, ..Purpose::CfApi.timeouts() };
        let http = factory.client_with_timeouts(Purpose::CfApi, timeouts).unwrap();
        let tasks = TaskTracker::new();
        let metrics = Metrics::default();
        let client = CapiClient::with_tokens(tokens, http, metrics.clone(), tasks.clone());
        Self { client, tasks, metrics, server }
    }

    /// The CF API for one request.
    pub(crate) fn request_client(&self) -> CfRequestClient {
        let deadline = Instant::now() + Duration::from_secs(30);
        self.client.for_request(&destination(), &CorrelationId::random(), deadline)
    }

    /// Method and target of each request, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        let line = |request: &String| request.lines().next().unwrap_or_default().to_owned();
        self.server.seen().iter().map(line).map(|line| line.replace(" HTTP/1.1", "")).collect()
    }

    /// Each request as it was sent.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.server.seen()
    }
}

/// The only destination of these tests.
pub(crate) fn destination() -> DestinationName {
    DestinationName::parse("CFAPI").unwrap()
}

/// An error of the Cloud Controller.
pub(crate) fn cf_error(status: &str, code: u32, detail: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"detail":"{detail}","title":"CF-X","code":{code}}}]}}"#);
    Reply::json(status, &body)
}

/// A list of one page.
pub(crate) fn list(resources: &[&str]) -> Reply {
    let (count, resources) = (resources.len(), resources.join(","));
    let pagination = format!(r#"{{"total_results":{count},"total_pages":1,"next":null}}"#);
    Reply::json("200 OK", &format!(r#"{{"pagination":{pagination},"resources":[{resources}]}}"#))
}

/// CF's response to a delete.
pub(crate) fn accepted(job: &str) -> Reply {
    let headers = format!(
        "Location: http://api.cf.example.test/v3/jobs/{job}\r\nContent-Type: text/html\r\n"
    );
    Reply::with_headers("202 Accepted", &headers, b"")
}

/// A job.
pub(crate) fn job(state: &str) -> Reply {
    let body =
        format!(r#"{{"guid":"j1","operation":"route.delete","state":"{state}","errors":[]}}"#);
    Reply::json("200 OK", &body)
}

/// A technical user whose token is `t1`, and after each renewal the next one.
#[derive(Debug)]
struct ScriptedTokens {
    api: Url,
    state: Mutex<ScriptState>,
}

#[derive(Debug, Default)]
struct ScriptState {
    renewals: u32,
    renewed: Option<Instant>,
}

impl ScriptedTokens {
    fn new(api: Url) -> Self {
        Self { api, state: Mutex::default() }
    }

    fn current(&self) -> Arc<Lease> {
        let number = self.state.lock().unwrap().renewals + 1;
        let authorization = HeaderValue::from_str(&format!("bearer t{number}")).unwrap();
        Arc::new(lease_for_tests(self.api.clone(), authorization))
    }
}

impl TokenLender for ScriptedTokens {
    fn fresh(&self, _destination: &DestinationName) -> Option<Arc<Lease>> {
        Some(self.current())
    }

    fn lease<'a>(&'a self, _destination: &'a DestinationName) -> LeaseFuture<'a> {
        Box::pin(async { Ok(self.current()) })
    }

    fn late(&self, destination: &DestinationName) -> LeaseRefusal {
        LeaseRefusal {
            destination: destination.to_string(),
            reason: Reason::UaaSlow,
            retry_at: None,
            read_from: None,
        }
    }

    /// One renewal in 30 s, as in the vault.
    fn revoke(&self, _destination: &DestinationName, _used: &Arc<Lease>) -> Revoked {
        let mut state = self.state.lock().unwrap();
        if state.renewed.is_some_and(|at| at.elapsed() < Duration::from_secs(30)) {
            return Revoked::Cooldown;
        }
        state.renewed = Some(Instant::now());
        state.renewals += 1;
        Revoked::Renewing
    }
}
