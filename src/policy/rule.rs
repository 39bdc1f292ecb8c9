//! The rows of the allow list: methods × path template × scope × body rule.
//!
//! Invariant: a row that lets a write pass unchecked cannot be expressed: each body rule belongs to
//! one method and one template, and `none` is for `GET` only. Used inside this module.

use super::{
    path::{UpstreamPath, UpstreamQuery},
    template::Template,
};
use crate::auth::{Caller, Scope};
use http::Method;
use serde::Deserialize;
use std::{fmt, sync::Arc};

/// The row that matched a request, for log lines: method and template.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RuleId(Arc<str>);

impl RuleId {
    /// Returns it as text, such as `GET /v3/apps/{guid}/routes`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with an allow list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyFault {
    /// The row, such as `rules[3] GET /v3/apps`, or the file.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// What a request's body must be, and what is read from CF before it may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BodyRule {
    /// No body.
    None,
    /// A new route within the caller's bounds.
    RouteCreate,
    /// Apps of the caller, mapped to a route of the caller.
    DestinationsAdd,
    /// No body; the route in the path is the caller's.
    OwnRoute,
    /// No body; the route in the path is the caller's, and the app of its destination too.
    OwnDestination,
}

/// One method and template of a row.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    id: RuleId,
    method: Method,
    template: Template,
    /// Required besides `Api.Proxy`, which every row requires.
    scope: Option<Scope>,
    body: BodyRule,
    /// Parameters that are not sent.
    without: Vec<String>,
}

impl Rule {
    pub(super) fn id(&self) -> RuleId {
        self.id.clone()
    }

    pub(super) fn body(&self) -> BodyRule {
        self.body
    }

    pub(super) fn depth(&self) -> usize {
        self.template.depth()
    }

    /// Returns whether it matches this method and what follows `/v3`.
    pub(super) fn matches(&self, method: &Method, below: &str) -> bool {
        self.method == *method && self.template.matches(below)
    }

    /// Returns the guids in a path that this row matches.
    pub(super) fn guids<'a>(&self, path: &'a UpstreamPath) -> impl Iterator<Item = &'a str> {
        self.template.guids(path.below())
    }

    /// Returns the query to send: as received, without the parameters that the row leaves out.
    pub(super) fn narrow(&self, query: &UpstreamQuery) -> UpstreamQuery {
        query.without(&self.without)
    }

    /// Returns the scope that a caller lacks for this row.
    pub(super) fn lacking(&self, caller: &Caller) -> Option<Scope> {
        [Some(Scope::ApiProxy), self.scope].into_iter().flatten().find(|scope| !caller.has(*scope))
    }

    fn hides(&self, later: &Self) -> bool {
        self.method == later.method && self.template.hides(&later.template)
    }
}

/// The file's format.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowListFile {
    #[serde(default)]
    rules: Vec<RuleRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    methods: Vec<String>,
    paths: Vec<String>,
    scope: Option<String>,
    body: BodyRule,
    #[serde(default)]
    without: Vec<String>,
}

/// Reads all rows.
pub(super) fn read(text: &str) -> Result<Vec<Rule>, Vec<PolicyFault>> {
    let file: AllowListFile = toml::from_str(text).map_err(|error| {
        let problem = error.message().to_owned();
        vec![PolicyFault { place: "the allow list".to_owned(), problem }]
    })?;
    let (mut rules, mut faults) = (Vec::<Rule>::new(), Vec::new());
    if file.rules.is_empty() {
        let problem = "it has no rules, so everything would be denied".to_owned();
        faults.push(PolicyFault { place: "the allow list".to_owned(), problem });
    }
    for (index, row) in file.rules.iter().enumerate() {
        for (method, path) in pairs(row) {
            let place = format!("rules[{index}] {method} {path}");
            match row.rule(method, path) {
                Ok(rule) if rules.iter().any(|earlier| earlier.hides(&rule)) => {
                    let problem = "an earlier row covers all of it".to_owned();
                    faults.push(PolicyFault { place, problem });
                }
                Ok(rule) => rules.push(rule),
                Err(problem) => faults.push(PolicyFault { place, problem: problem.to_owned() }),
            }
        }
        if row.methods.is_empty() || row.paths.is_empty() {
            let problem = "it names no method or no path".to_owned();
            faults.push(PolicyFault { place: format!("rules[{index}]"), problem });
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn pairs(row: &RuleRow) -> impl Iterator<Item = (&str, &str)> {
    let paths = || row.paths.iter().map(String::as_str);
    row.methods.iter().flat_map(move |method| paths().map(move |path| (method.as_str(), path)))
}

impl RuleRow {
    fn rule(&self, method: &str, path: &str) -> Result<Rule, &'static str> {
        let known = match method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            "HEAD" => return Err("HEAD uses the rows of GET; remove it"),
            "PUT" | "PATCH" => return Err("there is no body rule for this method"),
            _ => return Err("the method is not GET, POST or DELETE"),
        };
        let template = Template::parse(path)
            .ok_or("the path is not /v3 with literal segments of a-z 0-9 _ and {guid}")?;
        let fits = match self.body {
            BodyRule::None => known == Method::GET,
            BodyRule::RouteCreate => (method, path) == ("POST", "/v3/routes"),
            BodyRule::DestinationsAdd => {
                (method, path) == ("POST", "/v3/routes/{guid}/destinations")
            }
            BodyRule::OwnRoute => (method, path) == ("DELETE", "/v3/routes/{guid}"),
            BodyRule::OwnDestination => {
                (method, path) == ("DELETE", "/v3/routes/{guid}/destinations/{guid}")
            }
        };
        if !fits {
            return Err("its body rule does not belong to this method and path");
        }
        let is_word = |text: &String| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if !self.without.iter().all(is_word) {
            return Err("a name in without is not of a-z and _");
        }
        if !self.without.is_empty() && self.body != BodyRule::None {
            return Err("without is for reads only");
        }
        let id = RuleId(format!("{method} {path}").into());
        let (scope, without) = (self.scope()?, self.without.clone());
        Ok(Rule { id, method: known, template, scope, body: self.body, without })
    }

    fn scope(&self) -> Result<Option<Scope>, &'static str> {
        let Some(name) = &self.scope else {
            return if self.body == BodyRule::None {
                Ok(None)
            } else {
                Err("a write needs a scope")
            };
        };
        let found = Scope::ALL.into_iter().find(|scope| scope.name() == name);
        found.map(Some).ok_or("its scope is not a scope of the broker")
    }
}
