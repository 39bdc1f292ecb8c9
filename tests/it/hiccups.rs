//! One hiccup of another system, at each idempotent call of the broker: the call is repeated, and
//! the caller does not notice. The calls and their classes are in `docs/reference/limits.md`.

use std::collections::BTreeMap;

use cfapi_sandbox::{IAS_PROVIDER_CLIENT, Sandbox};
use serde_json::{Value, json};

use crate::{
    support::{TestBroker, pull, sandbox, variables, variables_of},
    token::futures_join,
};

/// The first call of the broker to a system.
#[derive(Clone, Copy, Debug)]
enum FirstCall {
    Keys,
    IasDiscovery,
    IasKeys,
    ServiceToken,
    Destination,
    CfRead,
    CfReadOfProxy,
}

impl FirstCall {
    /// The part that is called, and the call.
    fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::Keys => ("xsuaa", "GET /token_keys"),
            Self::IasDiscovery => ("ias", "GET /.well-known/openid-configuration"),
            Self::IasKeys => ("ias", "GET /oauth2/certs"),
            Self::ServiceToken => ("xsuaa", "POST /oauth/token"),
            Self::Destination => ("destination", "GET /destination-configuration/"),
            Self::CfRead => ("cf", "GET /v3/spaces"),
            Self::CfReadOfProxy => ("cf", "GET /v3/apps"),
        }
    }

    fn is_of_ias(self) -> bool {
        matches!(self, Self::IasDiscovery | Self::IasKeys)
    }

    fn variables(self, sandbox: &Sandbox) -> BTreeMap<String, String> {
        if !self.is_of_ias() {
            return variables(sandbox);
        }
        let services = sandbox.vcap_services_with_identity();
        let mut variables = variables_of(&services, &sandbox.vcap_application("127.0.0.1"));
        for (key, value) in [("ENABLED", "true"), ("APIS__SPACES_READ", "look")] {
            variables.insert(format!("CFAPI_AUTH__IAS__{key}"), value.to_owned());
        }
        variables
    }

    fn token(self, sandbox: &Sandbox) -> String {
        if self.is_of_ias() {
            return sandbox.ias_token(IAS_PROVIDER_CLIENT, &json!({"ias_apis": ["look"]}));
        }
        sandbox.caller_token("sb-caller!t7", &["Spaces.Read", "Api.Proxy"])
    }

    /// A request that needs the call.
    fn path(self) -> &'static str {
        match self {
            Self::CfReadOfProxy => "/v3/apps",
            Self::Keys
            | Self::IasDiscovery
            | Self::IasKeys
            | Self::ServiceToken
            | Self::Destination
            | Self::CfRead => "/spaces",
        }
    }
}

const ALL: [FirstCall; 7] = [
    FirstCall::Keys,
    FirstCall::IasDiscovery,
    FirstCall::IasKeys,
    FirstCall::ServiceToken,
    FirstCall::Destination,
    FirstCall::CfRead,
    FirstCall::CfReadOfProxy,
];

fn faults() -> [(&'static str, Value); 8] {
    [
        ("cut", json!({})),
        ("fail_next", json!({"status": 500})),
        (
            "fail_next",
            json!({"status": 500, "headers": {"content-type": "text/html"}, "body": "<html>"}),
        ),
        ("fail_next", json!({"status": 502})),
        ("fail_next", json!({"status": 503})),
        ("fail_next", json!({"status": 504})),
        ("fail_next", json!({"status": 429, "headers": {"retry-after": "1"}})),
        ("fail_next", json!({"status": 200})),
    ]
}

/// All at once, because each waits for the pause before its repeat.
#[tokio::test]
async fn one_hiccup_is_not_noticed() {
    let mut noticed = Vec::new();
    for calls in futures_join(ALL.map(noticed_of).into_iter().collect()).await {
        noticed.extend(calls);
    }
    assert_eq!(noticed, Vec::<String>::new());
}

/// The faults that a caller notices, each in a fresh broker whose first call meets it.
async fn noticed_of(call: FirstCall) -> Vec<String> {
    let sandbox = sandbox().await;
    let mut noticed = Vec::new();
    for (lever, fault) in faults() {
        let status = with_one(&sandbox, call, lever, &fault).await;
        if status != 200 {
            noticed.push(format!("{call:?}, {lever} {fault}: {status}"));
        }
    }
    noticed
}

/// The status for a caller of a fresh broker whose first call meets this fault; 0 without a body.
async fn with_one(sandbox: &Sandbox, call: FirstCall, lever: &str, fault: &Value) -> u16 {
    let (part, only) = call.target();
    let mut fault = fault.clone();
    fault["part"] = json!(part);
    fault["only"] = json!(only);
    pull(sandbox, lever, &fault);
    let broker = TestBroker::with(call.variables(sandbox)).await;
    let got = broker.get(call.path(), &call.token(sandbox)).await;
    broker.stop().await;
    if got.text.is_empty() { 0 } else { got.status }
}
