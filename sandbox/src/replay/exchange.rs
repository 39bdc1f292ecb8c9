//! The lines of a recording: exchanges, with the request that repeats one, and levers that were
//! pulled in between. The names of an exchange decide about user, `Authorization`, content type and
//! special headers; the README of the recordings explains them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::replay::guids::Guids;
use crate::token::{CfTokenKey, CfTokenSpec, CfTokens};

const READ: &str = "cloud_controller.read";
const WRITE: &str = "cloud_controller.write";
/// The user whose requests carry the special tokens.
const TECH: (&str, &str) = ("tech", "11111111-1111-4111-8111-111111111111");

/// One line of a recording.
#[derive(Clone, Debug)]
pub(crate) enum RecordedLine {
    Exchange(Exchange),
    Lever(RecordedLever),
}

/// A change of the real system between two requests, as a lever of the sandbox.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedLever {
    pub(crate) lever: String,
    #[serde(default)]
    pub(crate) args: Value,
    /// The number of the line in its file.
    #[serde(skip)]
    pub(crate) line: usize,
}

/// A request and its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) path: String,
    user: String,
    req: Value,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// The values of `Authorization`, by user, and by the name of an exchange that uses a special one.
#[derive(Clone, Debug)]
pub(crate) struct Bearers(BTreeMap<&'static str, String>);

/// Reads a recording.
pub(crate) fn read(text: &str) -> Result<Vec<RecordedLine>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let number = index + 1;
            read_line(line, number).map_err(|error| format!("line {number}: {error}"))
        })
        .collect()
}

fn read_line(line: &str, number: usize) -> Result<RecordedLine, serde_json::Error> {
    let value: Value = serde_json::from_str(line)?;
    if value.get("lever").is_none() {
        return Ok(RecordedLine::Exchange(serde_json::from_value(value)?));
    }
    let lever: RecordedLever = serde_json::from_value(value)?;
    Ok(RecordedLine::Lever(RecordedLever { line: number, ..lever }))
}

impl Bearers {
    /// Issues the tokens that the recordings used.
    pub(crate) fn mint(tokens: &CfTokens) -> Self {
        let spec = |name: &str, guid: &str, scopes: &[&str]| CfTokenSpec {
            user_name: name.to_owned(),
            user_guid: guid.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            lifetime: 3600,
            ..CfTokenSpec::default()
        };
        let tech = || spec(TECH.0, TECH.1, &[READ, WRITE]);
        let aud = spec("aud", "22222222-2222-4222-8222-222222222222", &[READ, WRITE]);
        let ro = spec("ro", "33333333-3333-4333-8333-333333333333", &[READ]);
        let bearer = |spec: &CfTokenSpec| format!("bearer {}", tokens.mint(spec));
        let expired = CfTokenSpec { lifetime: -60, ..tech() };
        let audience = vec!["elsewhere".to_owned()];
        let wrong_audience = CfTokenSpec { audience, ..tech() };
        let wrong_key = CfTokenSpec { key: CfTokenKey::Foreign, ..tech() };
        let jti = "3f1d5a2c0b9e4d7f8a6b-r".to_owned();
        let refresh = CfTokenSpec { jti, ..tech() };
        Self(BTreeMap::from([
            ("tech", bearer(&tech())),
            ("aud", bearer(&aud)),
            ("ro", bearer(&ro)),
            ("bogus", "bearer bogus".to_owned()),
            ("basic", "Basic Zm9vOmJhcg==".to_owned()),
            ("expired", bearer(&expired)),
            ("wrong-aud", bearer(&wrong_audience)),
            ("wrong-key", bearer(&wrong_key)),
            ("refresh-as-access", bearer(&refresh)),
            ("upper-bearer", format!("BEARER {}", tokens.mint(&tech()))),
            ("bearer-empty", "bearer ".to_owned()),
        ]))
    }

    fn of(&self, exchange: &Exchange) -> Option<&str> {
        let name = exchange.name.as_str();
        if name.starts_with("noauth") || name.ends_with("-noauth") {
            return None;
        }
        let bearer = self.0.get(name).or_else(|| self.0.get(exchange.user.as_str()));
        bearer.map(String::as_str)
    }
}

impl Exchange {
    /// Returns the request as bytes, with our guids in place of the recorded ones.
    pub(crate) fn request(&self, address: &str, bearers: &Bearers, guids: &Guids) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n",
            self.method,
            guids.ours(&self.path)
        );
        let mut line = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if let Some(bearer) = bearers.of(self) {
            line("authorization", bearer);
        }
        match self.name.as_str() {
            "reqid" => line("x-vcap-request-id", "abc-123"),
            "xreqid" => line("x-request-id", "xyz"),
            _ => {}
        }
        let raw = self.req.as_str().map(str::to_owned);
        let body = raw.unwrap_or_else(|| guids.ours(&self.req.to_string()));
        if !self.req.is_null() {
            line("content-type", self.content_type());
            line("content-length", &body.len().to_string());
        }
        let body = if self.req.is_null() { "" } else { &body };
        format!("{head}\r\n{body}").into_bytes()
    }

    /// Tells whether the recorded answer shows a finished job.
    pub(crate) fn shows_a_finished_job(&self) -> bool {
        self.path.starts_with("/v3/jobs/") && self.body.contains("\"state\":\"COMPLETE\"")
    }

    fn content_type(&self) -> &'static str {
        match self.name.as_str() {
            "form" => "application/x-www-form-urlencoded",
            "text" => "text/plain",
            _ => "application/json",
        }
    }
}
