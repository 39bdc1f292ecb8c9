//! What the answers of a history say, and whether the routes agree.
//!
//! An answer is definite or not. After an indefinite answer a tenant is in doubt until all work of
//! CF has ended. Answers in this time are recorded, but hold only for that moment.

use std::collections::BTreeSet;

use cfapi_sandbox::world::RouteView;

use super::{Act, TENANTS, What, host_of, owner_of};
use crate::support::{APP, Answer};

/// The label of a route that is being deleted.
const STATE: &str = "cfapi-broker.internal/state";

/// What is known of a tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Unsure,
    Nothing,
    /// Marked, and the delete was sent to CF.
    Deleting,
    /// The route with this guid, mapped.
    Route(String),
}

/// What an answer says about the tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answered {
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
pub(super) struct Ledger {
    known: Vec<Known>,
    doubt: Vec<bool>,
    foreign: Vec<RouteView>,
    requested: BTreeSet<(usize, bool)>,
    /// How many answers were compared with the routes.
    pub(super) kept: usize,
}

impl Ledger {
    /// Starts without routes of the tenants.
    pub(super) fn new(routes: Vec<RouteView>) -> Self {
        Self {
            known: vec![Known::Nothing; TENANTS.len()],
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

    /// From now on the act may have effects.
    pub(super) fn begin(&mut self, act: Act) {
        self.requested.insert((act.tenant, act.what == What::Put));
    }

    /// The answer to an act was lost.
    pub(super) fn lost(&mut self, act: Act) {
        self.set_known(act.tenant, Known::Unsure);
        self.doubt[act.tenant] = true;
    }

    /// Records the answer to an act that ran alone. `calm`: there are no faults.
    pub(super) fn record(
        &mut self,
        act: Act,
        answer: &Answer,
        calm: bool,
        [before, after]: [&[RouteView]; 2],
    ) -> Result<(), String> {
        let answered = Answered::of(act, answer);
        if answered == Answered::Refused && !self.doubt[act.tenant] {
            let host = host_of(act.tenant);
            let other =
                |route: &&RouteView| route.host == host && owner_of(route) != Some(act.tenant);
            let held = before.iter().chain(after).any(|route| other(&route));
            if !held || matches!(self.known[act.tenant], Known::Route(_)) {
                return Err(format!("{act:?} was refused without a reason: {}", answer.text));
            }
        }
        if answered == Answered::Deleting {
            return self.record_deleting(act, calm, after);
        }
        self.apply(act, answered);
        self.check(act.tenant, after)
    }

    /// Records the answers to two acts that ran together, in either order.
    pub(super) fn record_both(
        &mut self,
        [(one, first), (two, second)]: [(Act, &Answer); 2],
        calm: bool,
        after: &[RouteView],
    ) -> Result<(), String> {
        let (first, second) = (Answered::of(one, first), Answered::of(two, second));
        let pair = [first.clone(), second.clone()];
        if one.tenant == two.tenant {
            match pair {
                [Answered::Route(first), Answered::Route(second)]
                    if first != second && !self.doubt[one.tenant] =>
                {
                    return Err(format!("one tenant has two routes: {first} {second}"));
                }
                [Answered::Lost, _] | [_, Answered::Lost] => {
                    self.lost(one);
                    return Ok(());
                }
                [Answered::Route(_), Answered::Deleting]
                | [Answered::Deleting, Answered::Route(_)] => {
                    self.set_known(one.tenant, Known::Unsure);
                    self.doubt[one.tenant] |= !calm;
                    return Ok(());
                }
                [Answered::Route(_), Answered::Nothing]
                | [Answered::Nothing, Answered::Route(_)] => {
                    self.set_known(one.tenant, Known::Unsure);
                    return Ok(());
                }
                [Answered::Deleting, Answered::Nothing | Answered::Deleting]
                | [Answered::Nothing, Answered::Deleting] => {
                    return self.record_deleting(one, calm, after);
                }
                _ => {}
            }
        }
        for (act, answered) in [(one, first), (two, second)] {
            if answered == Answered::Deleting {
                self.record_deleting(act, calm, after)?;
            } else {
                self.apply(act, answered);
                self.check(act.tenant, after)?;
            }
        }
        Ok(())
    }

    /// A route that is being deleted must be marked, so that no instance uses it. A fault may
    /// prevent the mark.
    fn record_deleting(&mut self, act: Act, calm: bool, after: &[RouteView]) -> Result<(), String> {
        let mut owned = after.iter().filter(|route| owner_of(route) == Some(act.tenant));
        let marked = owned.all(|route| route.labels.contains_key(STATE));
        match (marked, calm) {
            (true, _) => self.apply(act, Answered::Deleting),
            (false, false) => self.lost(act),
            (false, true) => return Err(format!("{act:?} left no mark: {after:#?}")),
        }
        Ok(())
    }

    /// All work of CF has ended. `jobs`: no job failed.
    pub(super) fn settled(&mut self, jobs: bool) {
        self.doubt.fill(false);
        for known in &mut self.known {
            if *known == Known::Deleting {
                *known = if jobs { Known::Nothing } else { Known::Unsure };
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

    fn apply(&mut self, act: Act, answered: Answered) {
        let known = match answered {
            Answered::Refused => return,
            Answered::Lost => return self.lost(act),
            Answered::Deleting => Known::Deleting,
            Answered::Nothing => Known::Nothing,
            Answered::Route(guid) => Known::Route(guid),
        };
        let known = if self.doubt[act.tenant] { Known::Unsure } else { known };
        self.set_known(act.tenant, known);
    }

    fn set_known(&mut self, tenant: usize, known: Known) {
        self.known[tenant] = known;
    }

    /// Whether a tenant has the route of its last answer.
    fn check(&mut self, tenant: usize, routes: &[RouteView]) -> Result<(), String> {
        let owned = routes.iter().filter(|route| owner_of(route) == Some(tenant));
        let owned = owned.collect::<Vec<_>>();
        let kept = match &self.known[tenant] {
            Known::Unsure | Known::Deleting => return Ok(()),
            Known::Nothing => owned.is_empty(),
            Known::Route(guid) => match owned.as_slice() {
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

impl Answered {
    fn of(act: Act, answer: &Answer) -> Self {
        match (act.what, answer.status) {
            (What::Put, 200 | 201) => {
                let guid = answer.json()["route"]["guid"].as_str().unwrap_or_default().to_owned();
                Self::Route(guid)
            }
            (What::Delete | What::DeleteAsync, 204) => Self::Nothing,
            (What::Delete | What::DeleteAsync, 202) => Self::Deleting,
            (What::Put, 409) => Self::Refused,
            (What::Put | What::Delete | What::DeleteAsync, _) => Self::Lost,
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
