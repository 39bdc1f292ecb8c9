//! Operation the answers of a history say, and whether the routes agree.
//!
//! An answer is definite or not. After an indefinite answer a tenant is in doubt until all work of
//! CF has ended. Answers in this time are recorded, but hold only for that moment.

use std::collections::BTreeSet;

use cfapi_sandbox::world::RouteView;

use super::{Mutation, Operation, TENANTS, host_of, owner_of};
use crate::support::{APP, Answer};

/// The label of a route that is being deleted.
const STATE: &str = "cfapi-broker.internal/state";

/// Operation is known of a tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ExpectedRoute {
    Unsure,
    Nothing,
    /// Marked, and the delete was sent to CF.
    Deleting,
    /// The route with this guid, mapped.
    Route(String),
}

/// Operation an answer says about the tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AnsweredRoute {
    Route(String),
    Nothing,
    Deleting,
    /// Someone else has the host; nothing changed.
    Refused,
    /// No definite answer.
    Lost,
}

/// The last definite answer for each tenant, and all foreign routes.
#[derive(Debug)]
pub(super) struct Expectations {
    known: Vec<ExpectedRoute>,
    doubt: Vec<bool>,
    foreign: Vec<RouteView>,
    requested: BTreeSet<(usize, bool)>,
    /// How many answers were compared with the routes.
    pub(super) kept: usize,
}

impl Expectations {
    /// Starts without routes of the tenants.
    pub(super) fn new(routes: Vec<RouteView>) -> Self {
        Self {
            known: vec![ExpectedRoute::Nothing; TENANTS.len()],
            doubt: vec![false; TENANTS.len()],
            foreign: routes,
            requested: BTreeSet::new(),
            kept: 0,
        }
    }

    /// A route that the broker did not create.
    pub(super) fn add_foreign(&mut self, route: RouteView) {
        self.foreign.push(route);
    }

    /// From now on the mutation may have effects.
    pub(super) fn begin(&mut self, mutation: Mutation) {
        self.requested.insert((mutation.tenant, mutation.what == Operation::Put));
    }

    /// The answer to an mutation was lost.
    pub(super) fn lost(&mut self, mutation: Mutation) {
        self.set_known(mutation.tenant, ExpectedRoute::Unsure);
        self.doubt[mutation.tenant] = true;
    }

    /// Records the answer to an mutation that ran alone. `calm`: there are no faults.
    pub(super) fn record(
        &mut self,
        mutation: Mutation,
        answer: &Answer,
        calm: bool,
        [before, after]: [&[RouteView]; 2],
    ) -> Result<(), String> {
        let answered = AnsweredRoute::of(mutation, answer);
        if answered == AnsweredRoute::Refused && !self.doubt[mutation.tenant] {
            let host = host_of(mutation.tenant);
            let other =
                |route: &&RouteView| route.host == host && owner_of(route) != Some(mutation.tenant);
            let held = before.iter().chain(after).any(|route| other(&route));
            if !held || matches!(self.known[mutation.tenant], ExpectedRoute::Route(_)) {
                return Err(format!("{mutation:?} was refused without a reason: {}", answer.text));
            }
        }
        if answered == AnsweredRoute::Deleting {
            return self.record_deleting(mutation, calm, after);
        }
        self.apply(mutation, answered);
        self.check(mutation.tenant, after)
    }

    /// Records the answers to two mutations that ran together, in either order.
    pub(super) fn record_both(
        &mut self,
        [(one, first), (two, second)]: [(Mutation, &Answer); 2],
        calm: bool,
        after: &[RouteView],
    ) -> Result<(), String> {
        let (first, second) = (AnsweredRoute::of(one, first), AnsweredRoute::of(two, second));
        let pair = [first.clone(), second.clone()];
        if one.tenant == two.tenant {
            match pair {
                [AnsweredRoute::Route(first), AnsweredRoute::Route(second)]
                    if first != second && !self.doubt[one.tenant] =>
                {
                    return Err(format!("one tenant has two routes: {first} {second}"));
                }
                [AnsweredRoute::Lost, _] | [_, AnsweredRoute::Lost] => {
                    self.lost(one);
                    return Ok(());
                }
                [AnsweredRoute::Route(_), AnsweredRoute::Deleting]
                | [AnsweredRoute::Deleting, AnsweredRoute::Route(_)] => {
                    self.set_known(one.tenant, ExpectedRoute::Unsure);
                    self.doubt[one.tenant] |= !calm;
                    return Ok(());
                }
                [AnsweredRoute::Route(_), AnsweredRoute::Nothing]
                | [AnsweredRoute::Nothing, AnsweredRoute::Route(_)] => {
                    self.set_known(one.tenant, ExpectedRoute::Unsure);
                    return Ok(());
                }
                [AnsweredRoute::Deleting, AnsweredRoute::Nothing | AnsweredRoute::Deleting]
                | [AnsweredRoute::Nothing, AnsweredRoute::Deleting] => {
                    return self.record_deleting(one, calm, after);
                }
                _ => {}
            }
        }
        for (mutation, answered) in [(one, first), (two, second)] {
            if answered == AnsweredRoute::Deleting {
                self.record_deleting(mutation, calm, after)?;
            } else {
                self.apply(mutation, answered);
                self.check(mutation.tenant, after)?;
            }
        }
        Ok(())
    }

    /// A route that is being deleted must be marked, so that no instance uses it. A fault may
    /// prevent the mark.
    fn record_deleting(
        &mut self,
        mutation: Mutation,
        calm: bool,
        after: &[RouteView],
    ) -> Result<(), String> {
        let mut owned = after.iter().filter(|route| owner_of(route) == Some(mutation.tenant));
        let marked = owned.all(|route| route.labels.contains_key(STATE));
        match (marked, calm) {
            (true, _) => self.apply(mutation, AnsweredRoute::Deleting),
            (false, false) => self.lost(mutation),
            (false, true) => return Err(format!("{mutation:?} left no mark: {after:#?}")),
        }
        Ok(())
    }

    /// All work of CF has ended. `jobs`: no job failed.
    pub(super) fn settled(&mut self, jobs: bool) {
        self.doubt.fill(false);
        for known in &mut self.known {
            if *known == ExpectedRoute::Deleting {
                *known = if jobs { ExpectedRoute::Nothing } else { ExpectedRoute::Unsure };
            }
        }
    }

    /// Compares all routes with what is known. Nothing may run.
    pub(super) fn compare(&mut self, routes: &[RouteView]) -> Result<(), String> {
        for tenant in 0..TENANTS.len() {
            self.check(tenant, routes)?;
        }
        let unknown = |route: &&RouteView| {
            let known = self.foreign.iter().any(|one| one.guid == route.guid);
            owner_of(route).is_none() && !known
        };
        if let Some(route) = routes.iter().find(unknown) {
            return Err(format!("an unknown route exists: {route:#?}"));
        }
        let changed = self.foreign.iter().find(|one| !self.is_unchanged(one, routes));
        changed.map_or(Ok(()), |one| {
            Err(format!("a foreign route was changed: {one:#?}\n{routes:#?}"))
        })
    }

    fn apply(&mut self, mutation: Mutation, answered: AnsweredRoute) {
        let known = match answered {
            AnsweredRoute::Refused => return,
            AnsweredRoute::Lost => return self.lost(mutation),
            AnsweredRoute::Deleting => ExpectedRoute::Deleting,
            AnsweredRoute::Nothing => ExpectedRoute::Nothing,
            AnsweredRoute::Route(guid) => ExpectedRoute::Route(guid),
        };
        let known = if self.doubt[mutation.tenant] { ExpectedRoute::Unsure } else { known };
        self.set_known(mutation.tenant, known);
    }

    fn set_known(&mut self, tenant: usize, known: ExpectedRoute) {
        self.known[tenant] = known;
    }

    /// Whether a tenant has the route of its last answer.
    fn check(&mut self, tenant: usize, routes: &[RouteView]) -> Result<(), String> {
        let owned = routes.iter().filter(|route| owner_of(route) == Some(tenant));
        let owned = owned.collect::<Vec<_>>();
        let kept = match &self.known[tenant] {
            ExpectedRoute::Unsure | ExpectedRoute::Deleting => return Ok(()),
            ExpectedRoute::Nothing => owned.is_empty(),
            ExpectedRoute::Route(guid) => match owned.as_slice() {
                [route] => route.guid == *guid && is_complete(route),
                _ => false,
            },
        };
        self.kept += 1;
        let known = &self.known[tenant];
        if kept {
            Ok(())
        } else {
            Err(format!("{:?} should have {known:?}: {owned:#?}", TENANTS[tenant]))
        }
    }

    /// An unlabelled route in the provider's space may be adopted and then deleted. All other
    /// foreign routes stay unchanged.
    fn is_unchanged(&self, one: &RouteView, routes: &[RouteView]) -> bool {
        let found = routes.iter().find(|route| route.guid == one.guid);
        if found == Some(one) {
            return true;
        }
        let requested = |tenant: usize| {
            one.space == "dev"
                && host_of(tenant) == one.host
                && self.requested.contains(&(tenant, true))
        };
        match found.map(owner_of) {
            Some(owner) => owner.is_some_and(requested),
            None => {
                (0..TENANTS.len()).any(|it| requested(it) && self.requested.contains(&(it, false)))
            }
        }
    }
}

impl AnsweredRoute {
    fn of(mutation: Mutation, answer: &Answer) -> Self {
        match (mutation.what, answer.status) {
            (Operation::Put, 200 | 201) => {
                let guid = answer.json()["route"]["guid"].as_str().unwrap_or_default().to_owned();
                Self::Route(guid)
            }
            (Operation::Delete | Operation::DeleteAsync, 204) => Self::Nothing,
            (Operation::Delete | Operation::DeleteAsync, 202) => Self::Deleting,
            (Operation::Put, 409) => Self::Refused,
            (Operation::Put | Operation::Delete | Operation::DeleteAsync, _) => Self::Lost,
        }
    }
}

/// Mapped to the app, in the provider's space, and not being deleted.
pub(super) fn is_complete(route: &RouteView) -> bool {
    route.apps == [APP]
        && route.space == "dev"
        && !route.deleting
        && !route.labels.contains_key(STATE)
}
