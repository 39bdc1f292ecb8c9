//! Decides what may pass to the CF API, and in which form: [`Policy`], [`Permit`]; pure, without
//! I/O.
//!
//! Invariant: what is checked is what is sent. Only this module makes a [`Permit`], only a permit
//! can be forwarded, and a request that matches no row of the allow list is denied. Called by
//! `proxy`, `routes` (for the [`Bounds`]), `http` and `app`.

mod body;
mod bounds;
mod facts;
mod json_object;
pub mod path;
mod rule;
mod template;
#[cfg(test)]
mod tests;
mod verdict;

pub use body::Malformed;
pub use bounds::{AppBounds, Bounds, HostPiece, HostShape, Legacy, Outline, OwnerMarks};
pub use facts::{AppFacts, RouteFacts};
pub use json_object::JsonObject;
pub use rule::{PolicyFault, RuleId};
pub use verdict::{Breach, Denial, Draft, Permit, Question, RuleOutcome, Verdict, WriteRequest};

use crate::auth::Caller;
use http::Method;
use path::{UpstreamPath, UpstreamQuery};
use rule::Rule;
use std::{fmt, sync::Arc};

/// The allow list that is part of the broker.
const SHIPPED: &str = include_str!("../../config/policy.toml");

/// Settings of the section `[proxy]`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// File with an allow list that replaces the built-in one; empty: none.
    pub policy_file: String,
}

/// The allow list, compiled; a clone is shallow.
#[derive(Clone)]
pub struct Policy(Arc<[Vec<Rule>]>);

/// A request before its body is read.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// The method; `HEAD` uses the rows of `GET`.
    pub method: Method,
    /// The path as received.
    pub path: UpstreamPath,
    /// The query as received.
    pub query: UpstreamQuery,
}

impl Policy {
    /// Compiles the built-in allow list.
    ///
    /// # Errors
    /// As [`Policy::parse`]; a test guarantees that there is none.
    pub fn shipped() -> Result<Self, Vec<PolicyFault>> {
        Self::parse(SHIPPED)
    }

    /// Compiles an allow list.
    ///
    /// # Errors
    /// All faults of all rows; a row that an earlier one hides is a fault too.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyFault>> {
        let rules = rule::read(text)?;
        let longest = rules.iter().map(Rule::depth).max().unwrap_or_default();
        let mut by_depth: Vec<Vec<Rule>> = vec![Vec::new(); longest + 1];
        for rule in rules {
            let depth = rule.depth();
            by_depth.extend((by_depth.len()..=depth).map(|_| Vec::new()));
            if let Some(rules) = by_depth.get_mut(depth) {
                rules.push(rule);
            }
        }
        Ok(Self(by_depth.into()))
    }

    /// Finds the row of a request and checks the caller's scopes against it.
    ///
    /// # Errors
    /// [`Denial::NoRule`] and [`Denial::Scope`].
    pub fn admit(&self, caller: &Caller, line: RequestLine) -> Result<RuleOutcome, Denial> {
        let rule = self.rule(&line).ok_or(Denial::NoRule)?;
        match rule.lacking(caller) {
            Some(scope) => Err(Denial::Scope(scope)),
            None => Ok(RuleOutcome::of(rule, line)),
        }
    }

    /// Returns every row, for the complete matrix of tests and for documents.
    pub fn rows(&self) -> impl Iterator<Item = RuleId> + '_ {
        self.0.iter().flatten().map(Rule::id)
    }

    fn rule(&self, line: &RequestLine) -> Option<&Rule> {
        let method = if line.method == Method::HEAD { &Method::GET } else { &line.method };
        let below = line.path.below();
        let depth = below.bytes().filter(|byte| *byte == b'/').count();
        self.0.get(depth)?.iter().find(|rule| rule.matches(method, below))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}
