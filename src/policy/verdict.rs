//! From a request to a [`Permit`], in steps that cannot be skipped.
//!
//! Invariant: the fields of a permit are private and set only here; its body was serialised by
//! `body`. `http` takes the steps, `proxy` forwards the permit.

use super::{
    RequestLine,
    body::{self, DestinationsAdd, Malformed, RouteCreate},
    bounds::{Bounds, Outline},
    facts::{AppFacts, RouteAction, RouteFacts},
    path::{UpstreamPath, UpstreamQuery},
    rule::{BodyRule, Rule, RuleId},
};
use crate::auth::Scope;
use bytes::Bytes;
use http::Method;

/// Proof that the allow list permits this request.
#[derive(Clone, Debug)]
pub struct Permit {
    method: Method,
    path: UpstreamPath,
    query: UpstreamQuery,
    body: Option<Bytes>,
    rule: RuleId,
}

/// What follows when a row matches and the scopes suffice.
#[derive(Clone, Debug)]
pub enum RuleOutcome {
    /// A read: nothing more to check.
    Granted(Permit),
    /// A write, to be checked with its body.
    Write(Draft),
}

/// A write whose body has not been read.
#[derive(Clone, Debug)]
pub struct Draft {
    permit: Permit,
    kind: BodyRule,
    /// The guids in the path, in order.
    guids: Vec<String>,
}

/// A write with its parsed body, to be checked against the caller's bounds.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    permit: Permit,
    change: RouteChange,
}

#[derive(Clone, Debug)]
enum RouteChange {
    Create(RouteCreate),
    Map { route: String, targets: DestinationsAdd },
    Delete { route: String },
    Unmap { route: String, target: String },
}

/// The result of the check against the bounds.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It may pass.
    Permit(Permit),
    /// The route must be read first.
    Depends(Box<Question>),
}

/// A write whose route must be read from CF before the decision.
#[derive(Clone, Debug)]
pub struct Question {
    permit: Permit,
    bounds: Bounds,
    route: String,
    apps: Vec<String>,
    /// The destination that is taken away.
    target: Option<String>,
    action: RouteAction,
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No row matches this method and path.
    #[error("no rule")]
    NoRule,
    /// The token lacks a scope.
    #[error("scope missing")]
    Scope(Scope),
    /// The body does not have the form that the row requires.
    #[error("malformed body: {0}")]
    Malformed(#[from] Malformed),
    /// It is outside the caller's bounds.
    #[error("outside the bounds: {0}")]
    Breach(Breach),
}

/// Which bound a request broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Not the provider's space.
    #[error("space")]
    Space,
    /// None of the provider's domains.
    #[error("domain")]
    Domain,
    /// Not a valid host, or not of the provider's form.
    #[error("host")]
    Host,
    /// A host of the broker itself, or one that users take for the platform's.
    #[error("refused host")]
    RefusedHost,
    /// A path or a port.
    #[error("path or port")]
    PathOrPort,
    /// A label or annotation under the broker's prefix.
    #[error("label")]
    Label,
    /// An app that is not the provider's.
    #[error("app")]
    App,
    /// A route that is not the caller's.
    #[error("owner")]
    Owner,
    /// A destination that the route does not have.
    #[error("destination")]
    Destination,
}

impl Permit {
    /// Returns the method to send.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path to send.
    pub fn path(&self) -> &UpstreamPath {
        &self.path
    }

    /// Returns the query to send.
    pub fn query(&self) -> &UpstreamQuery {
        &self.query
    }

    /// Returns the body to send.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Returns the row that matched.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// Returns whether it is a read.
    pub fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

impl RuleOutcome {
    pub(super) fn of(rule: &Rule, line: RequestLine) -> Self {
        let RequestLine { method, path, query } = line;
        let query = rule.narrow(&query);
        let permit = Permit { method, path, query, body: None, rule: rule.id() };
        match rule.body() {
            BodyRule::None => Self::Granted(permit),
            kind @ (BodyRule::RouteCreate
            | BodyRule::DestinationsAdd
            | BodyRule::OwnRoute
            | BodyRule::OwnDestination) => {
                let guids = rule.guids(&permit.path).map(str::to_owned).collect();
                Self::Write(Draft { permit, kind, guids })
            }
        }
    }
}

impl Draft {
    /// Returns whether it has a body.
    pub fn takes_body(&self) -> bool {
        matches!(self.kind, BodyRule::RouteCreate | BodyRule::DestinationsAdd)
    }

    /// Returns the row that matched.
    pub fn rule(&self) -> &RuleId {
        self.permit.rule()
    }

    /// Parses the body; without one, pass an empty slice.
    ///
    /// # Errors
    /// [`Denial::Malformed`].
    pub fn read(self, body: &[u8]) -> Result<WriteRequest, Denial> {
        let mut guids = self.guids.into_iter();
        let route = guids.next().unwrap_or_default();
        let change = match self.kind {
            BodyRule::RouteCreate => RouteChange::Create(body::read(body)?),
            BodyRule::DestinationsAdd => {
                let targets = body::read::<DestinationsAdd>(body)?.checked()?;
                RouteChange::Map { route, targets }
            }
            BodyRule::OwnDestination => {
                RouteChange::Unmap { route, target: guids.next().unwrap_or_default() }
            }
            BodyRule::OwnRoute | BodyRule::None => RouteChange::Delete { route },
        };
        Ok(WriteRequest { permit: self.permit, change })
    }
}

impl WriteRequest {
    /// Returns the host of a new route, for the audit line.
    pub fn host(&self) -> Option<&str> {
        match &self.change {
            RouteChange::Create(create) => Some(&create.host),
            RouteChange::Map { .. } | RouteChange::Delete { .. } | RouteChange::Unmap { .. } => {
                None
            }
        }
    }

    /// Returns the guids of space and domain of a new route, for the audit line.
    pub fn place(&self) -> Option<(&str, &str)> {
        match &self.change {
            RouteChange::Create(create) => Some((create.space(), create.domain())),
            RouteChange::Map { .. } | RouteChange::Delete { .. } | RouteChange::Unmap { .. } => {
                None
            }
        }
    }

    /// Returns the guid of the route in the path.
    pub fn route(&self) -> Option<&str> {
        match &self.change {
            RouteChange::Create(_) => None,
            RouteChange::Map { route, .. }
            | RouteChange::Delete { route }
            | RouteChange::Unmap { route, .. } => Some(route),
        }
    }

    /// Checks what is known without asking CF, so that a request that must fail costs no call.
    ///
    /// # Errors
    /// [`Denial::Breach`] for a path, a port, another space, labels of the broker's and a host that
    /// does not fit.
    pub fn precheck(&self, outline: &Outline) -> Result<(), Denial> {
        let RouteChange::Create(create) = &self.change else {
            return Ok(());
        };
        let other_space = outline.space.as_deref().is_some_and(|space| space != create.space());
        let breach = if create.is_more_than_a_host() {
            Err(Breach::PathOrPort)
        } else if other_space {
            Err(Breach::Space)
        } else if create.metadata.0.has_prefix(&outline.reserved_prefix) {
            Err(Breach::Label)
        } else {
            check_host(&create.host, outline)
        };
        breach.map_err(Denial::Breach)
    }

    /// Checks it against the caller's bounds.
    ///
    /// # Errors
    /// [`Denial::Breach`].
    pub fn check_bounds(self, bounds: &Bounds) -> Result<Verdict, Denial> {
        self.precheck(&bounds.outline)?;
        match self.change {
            RouteChange::Create(create) => {
                let body = created(create, bounds).map_err(Denial::Breach)?;
                Ok(Verdict::Permit(Permit { body: body::write(&body), ..self.permit }))
            }
            RouteChange::Map { route, targets } => {
                let apps: Vec<_> = targets.apps().map(str::to_owned).collect();
                let listed = !bounds.asks_for_apps();
                if listed && !apps.iter().all(|app| bounds.has_app(app, &[])) {
                    return Err(Denial::Breach(Breach::App));
                }
                let permit = Permit { body: body::write(&targets), ..self.permit };
                let question = Question::new((permit, route), bounds, RouteAction::Map);
                Ok(Verdict::Depends(Box::new(Question { apps, ..question })))
            }
            RouteChange::Delete { route } => {
                let question = Question::new((self.permit, route), bounds, RouteAction::Delete);
                Ok(Verdict::Depends(Box::new(question)))
            }
            RouteChange::Unmap { route, target } => {
                // It can end what a route serves, so the rule is that of a delete.
                let question = Question::new((self.permit, route), bounds, RouteAction::Delete);
                Ok(Verdict::Depends(Box::new(Question { target: Some(target), ..question })))
            }
        }
    }
}

impl Verdict {
    /// Returns the method to send if it passes.
    pub fn method(&self) -> &Method {
        match self {
            Self::Permit(permit) => permit.method(),
            Self::Depends(question) => question.permit.method(),
        }
    }
}

impl Question {
    fn new((permit, route): (Permit, String), bounds: &Bounds, action: RouteAction) -> Self {
        let bounds = bounds.clone();
        Self { permit, bounds, route, apps: Vec::new(), target: None, action }
    }

    /// Returns the guid of the route that must be read.
    pub fn needs(&self) -> &str {
        &self.route
    }

    /// Returns the guids of the apps that must always be read; none where the bounds list them.
    pub fn needs_apps(&self) -> &[String] {
        if self.bounds.asks_for_apps() { &self.apps } else { &[] }
    }

    /// Returns the guids of the apps that must also be read, now that the route is known: those
    /// mapped to a route without the caller's mark, or the one that is unmapped.
    pub fn needs_apps_of<'a>(&self, route: &'a RouteFacts) -> &'a [String] {
        if !self.bounds.asks_for_apps() {
            return &[];
        }
        if !route.is_marked(&self.bounds.marks) {
            return &route.apps;
        }
        let unmapped = self.target.as_ref().and_then(|target| route.targets.get(target));
        unmapped.map_or(&[], std::slice::from_ref)
    }

    /// Decides with what the CF API returned.
    ///
    /// # Errors
    /// [`Denial::Breach`].
    pub fn settle(self, route: &RouteFacts, apps: &[AppFacts]) -> Result<Permit, Denial> {
        let bounds = &self.bounds;
        let bound_check = in_bounds(&route.space, &route.domain, &route.host, bounds);
        let breach = match bound_check {
            Err(breach) => Some(breach),
            Ok(()) if !route.path.is_empty() => Some(Breach::PathOrPort),
            Ok(()) if !route.is_owned(bounds, apps, self.action) => Some(Breach::Owner),
            Ok(()) => self.breach_of_apps(route, apps),
        };
        breach.map_or(Ok(self.permit), |breach| Err(Denial::Breach(breach)))
    }
}

impl Question {
    /// Returns the breach if an app that is mapped or unmapped is not the caller's.
    fn breach_of_apps(&self, route: &RouteFacts, seen: &[AppFacts]) -> Option<Breach> {
        let is_own = |app: &String| self.bounds.has_app(app, seen);
        let unmapped = match &self.target {
            Some(target) => match route.targets.get(target) {
                Some(app) => Some(app),
                None => return Some(Breach::Destination),
            },
            None => None,
        };
        (!self.apps.iter().chain(unmapped).all(is_own)).then_some(Breach::App)
    }
}

/// Checks a new route and marks it as the caller's.
fn created(mut create: RouteCreate, bounds: &Bounds) -> Result<RouteCreate, Breach> {
    in_bounds(create.space(), create.domain(), &create.host, bounds)?;
    let marks = &bounds.marks;
    let metadata = &mut create.metadata.0;
    if metadata.has_prefix(&marks.prefix) {
        return Err(Breach::Label);
    }
    let some = |(key, value): (&String, &String)| (key.clone(), Some(value.clone()));
    metadata.labels.extend(marks.labels.iter().map(some));
    metadata.annotations.extend(marks.annotations.iter().map(some));
    Ok(create)
}

fn in_bounds(space: &str, domain: &str, host: &str, bounds: &Bounds) -> Result<(), Breach> {
    if space != bounds.space {
        return Err(Breach::Space);
    }
    if !bounds.domains.iter().any(|own| own == domain) {
        return Err(Breach::Domain);
    }
    check_host(host, &bounds.outline)
}

impl Outline {
    /// Returns whether the caller may use a host.
    pub fn admits_host(&self, host: &str) -> bool {
        check_host(host, self).is_ok()
    }
}

fn check_host(host: &str, outline: &Outline) -> Result<(), Breach> {
    if !is_host(host) || !outline.hosts.iter().any(|shape| shape.fits(host)) {
        return Err(Breach::Host);
    }
    if outline.refused_hosts.iter().any(|refused| refused == host) {
        return Err(Breach::RefusedHost);
    }
    Ok(())
}

/// Returns whether a text is one lower-case label of RFC 1123.
fn is_host(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let dash_at_end = text.starts_with('-') || text.ends_with('-');
    (1..=63).contains(&text.len()) && !dash_at_end && text.bytes().all(is_allowed)
}
