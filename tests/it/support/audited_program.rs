//! The real program and the log lines of each request.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{answer, client, parse, process::Program};

/// The program and the log lines of each request.
pub(crate) struct AuditedProgram {
    pub(crate) program: Program,
    pub(crate) base: String,
    count: usize,
}

impl AuditedProgram {
    pub(crate) async fn start(variables: &BTreeMap<String, String>) -> Self {
        let mut program = Program::start(&["--log", "json"], variables);
        let base = program.base().await;
        Self { program, base, count: 0 }
    }

    /// Sends a request; returns its status and its audit lines.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        token: &str,
        body: &str,
    ) -> (u16, Vec<Value>) {
        let request = client().request(method, format!("{}{path}", self.base)).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        self.send(request).await
    }

    /// Sends a delete with `Prefer: respond-async`.
    pub(crate) async fn ask_async(&mut self, path: &str, token: &str) -> (u16, Vec<Value>) {
        let request = client().delete(format!("{}{path}", self.base)).bearer_auth(token);
        self.send(request.header("prefer", "respond-async")).await
    }

    /// Sends any request.
    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> (u16, Vec<Value>) {
        self.count += 1;
        let id = format!("request-{}", self.count);
        let request = request.header("x-correlationid", &id);
        let status = answer(request).await.status;
        // The request's access log line is its last line.
        let is_last = |line: &Value| line["type"] == "request" && line["correlation_id"] == *id;
        self.program.wait_for(|line| Some(parse(line)).filter(&is_last)).await;
        (status, self.audited(&id))
    }

    /// The audit lines of a request so far.
    pub(crate) fn audited(&self, id: &str) -> Vec<Value> {
        let lines = self.program.output();
        let own = lines
            .lines()
            .map(parse)
            .filter(|line| line["correlation_id"] == *id && line["categories"] == json!(["audit"]));
        own.collect()
    }
}
