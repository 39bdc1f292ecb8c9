//! What the answers of a history have promised, and whether the world keeps it.
//!
//! An answer is definite or it is not. After one that is not, a tenant is in doubt until all that CF was asked for
//! has ended: what it is told meanwhile is written down, but holds for that moment only.

use std::collections::BTreeSet;

use cfapi_sandbox::world::RouteView;

use super::{Act, TENANTS, What, host_of, owner_of};
use crate::support::{APP, Answer};

/// The label of a route that is on its way out.
const STATE: &str = "cfapi-broker.internal/state";

/// What is known of a tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Unsure,
    Nothing,
    /// Marked and handed to CF.
    Going,
    /// This guid, mapped.
    Route(String),
}

/// What an answer says about the tenant's route.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Route(String),
    Nothing,
    Going,
    /// Somebody else has the host; nothing changed.
    Refused,
    /// No definite answer.
    Lost,
}

/// The last definite word about each tenant, and all routes that are nobody's.
#[derive(Debug)]
pub(super) struct Ledger {
    known: Vec<Known>,
    doubt: Vec<bool>,
    bystanders: Vec<RouteView>,
    asked: BTreeSet<(usize, bool)>,
    /// Promises that were compared with the world.
    pub(super) kept: usize,
}

impl Ledger {
    /// Begins with a world in which no tenant has a route.
    pub(super) fn new(routes: Vec<RouteView>) -> Self {
        Self {
            known: vec![Known::Nothing; TENANTS.len()],
            doubt: vec![false; TENANTS.len()],
            bystanders: routes,
            asked: BTreeSet::new(),
            kept: 0,
        }
    }

    /// A route that appeared without the broker.
    pub(super) fn bystander(&mut self, route: RouteView) {
        self.bystanders.push(route);
    }

    /// From now on the act may have effects.
    pub(super) fn begin(&mut self, act: Act) {
        self.asked.insert((act.tenant, act.what == What::Put));
    }

    /// Nobody heard what came of an act.
    pub(super) fn lost(&mut self, act: Act) {
        self.learn(act.tenant, Known::Unsure);
        self.doubt[act.tenant] = true;
    }

    /// Takes the answer to an act during which nothing else was asked. `calm`: no fault is about.
    pub(super) fn told(
        &mut self,
        act: Act,
        answer: &Answer,
        calm: bool,
        [before, after]: [&[RouteView]; 2],
    ) -> Result<(), String> {
        let told = Told::of(act, answer);
        if told == Told::Refused && !self.doubt[act.tenant] {
            let host = host_of(act.tenant);
            let other =
                |route: &&RouteView| route.host == host && owner_of(route) != Some(act.tenant);
            let held = before.iter().chain(after).any(|route| other(&route));
            if !held || matches!(self.known[act.tenant], Known::Route(_)) {
                return Err(format!("{act:?} was refused for nothing: {}", answer.text));
            }
        }
        if told == Told::Going {
            return self.going(act, calm, after);
        }
        self.apply(act, told);
        self.keeps(act.tenant, after)
    }

    /// Takes the answers to two acts at once, which may have been done in either order.
    pub(super) fn told_both(
        &mut self,
        [(one, first), (two, second)]: [(Act, &Answer); 2],
        calm: bool,
        after: &[RouteView],
    ) -> Result<(), String> {
        let (first, second) = (Told::of(one, first), Told::of(two, second));
        let pair = [first.clone(), second.clone()];
        if one.tenant == two.tenant {
            match pair {
                [Told::Route(first), Told::Route(second)]
                    if first != second && !self.doubt[one.tenant] =>
                {
                    return Err(format!("one tenant has two routes: {first} {second}"));
                }
                [Told::Lost, _] | [_, Told::Lost] => {
                    self.lost(one);
                    return Ok(());
                }
                [Told::Route(_), Told::Going] | [Told::Going, Told::Route(_)] => {
                    self.learn(one.tenant, Known::Unsure);
                    self.doubt[one.tenant] |= !calm;
                    return Ok(());
                }
                [Told::Route(_), Told::Nothing] | [Told::Nothing, Told::Route(_)] => {
                    self.learn(one.tenant, Known::Unsure);
                    return Ok(());
                }
                [Told::Going, Told::Nothing | Told::Going] | [Told::Nothing, Told::Going] => {
                    return self.going(one, calm, after);
                }
                _ => {}
            }
        }
        for (act, told) in [(one, first), (two, second)] {
            if told == Told::Going {
                self.going(act, calm, after)?;
            } else {
                self.apply(act, told);
                self.keeps(act.tenant, after)?;
            }
        }
        Ok(())
    }

    /// What is on its way out is marked, so that no instance hands it out; a fault may have kept the mark away.
    fn going(&mut self, act: Act, calm: bool, after: &[RouteView]) -> Result<(), String> {
        let mut owned = after.iter().filter(|route| owner_of(route) == Some(act.tenant));
        let marked = owned.all(|route| route.labels.contains_key(STATE));
        match (marked, calm) {
            (true, _) => self.apply(act, Told::Going),
            (false, false) => self.lost(act),
            (false, true) => return Err(format!("{act:?} left no mark: {after:#?}")),
        }
        Ok(())
    }

    /// All that CF was asked for has ended. `jobs`: none of them failed.
    pub(super) fn settled(&mut self, jobs: bool) {
        self.doubt.fill(false);
        for known in &mut self.known {
            if *known == Known::Going {
                *known = if jobs { Known::Nothing } else { Known::Unsure };
            }
        }
    }

    /// Compares the whole world with all that is known; nothing may be under way.
    pub(super) fn compare(&mut self, routes: &[RouteView]) -> Result<(), String> {
        for tenant in 0..TENANTS.len() {
            self.keeps(tenant, routes)?;
        }
        let unknown = |route: &&RouteView| {
            let known = self.bystanders.iter().any(|one| one.guid == route.guid);
            owner_of(route).is_none() && !known
        };
        if let Some(route) = routes.iter().find(unknown) {
            return Err(format!("nobody made this route: {route:#?}"));
        }
        let harmed = self.bystanders.iter().find(|one| !self.is_unharmed(one, routes));
        harmed.map_or(Ok(()), |one| {
            Err(format!("a foreign route was touched: {one:#?}\n{routes:#?}"))
        })
    }

    fn apply(&mut self, act: Act, told: Told) {
        let known = match told {
            Told::Refused => return,
            Told::Lost => return self.lost(act),
            Told::Going => Known::Going,
            Told::Nothing => Known::Nothing,
            Told::Route(guid) => Known::Route(guid),
        };
        let known = if self.doubt[act.tenant] { Known::Unsure } else { known };
        self.learn(act.tenant, known);
    }

    fn learn(&mut self, tenant: usize, known: Known) {
        self.known[tenant] = known;
    }

    /// Whether a tenant has what it was last told.
    fn keeps(&mut self, tenant: usize, routes: &[RouteView]) -> Result<(), String> {
        let owned = routes.iter().filter(|route| owner_of(route) == Some(tenant));
        let owned = owned.collect::<Vec<_>>();
        let kept = match &self.known[tenant] {
            Known::Unsure | Known::Going => return Ok(()),
            Known::Nothing => owned.is_empty(),
            Known::Route(guid) => match owned.as_slice() {
                [route] => route.guid == *guid && is_whole(route),
                _ => false,
            },
        };
        self.kept += 1;
        let known = &self.known[tenant];
        if kept {
            Ok(())
        } else {
            Err(format!("{:?} was told {known:?}: {owned:#?}", TENANTS[tenant]))
        }
    }

    /// A route of nobody in the provider's space may be adopted, and then go; all others stay as they are.
    fn is_unharmed(&self, one: &RouteView, routes: &[RouteView]) -> bool {
        let found = routes.iter().find(|route| route.guid == one.guid);
        if found == Some(one) {
            return true;
        }
        let wanted = |tenant: usize| {
            one.space == "dev"
                && host_of(tenant) == one.host
                && self.asked.contains(&(tenant, true))
        };
        match found.map(owner_of) {
            Some(owner) => owner.is_some_and(wanted),
            None => (0..TENANTS.len()).any(|it| wanted(it) && self.asked.contains(&(it, false))),
        }
    }
}

impl Told {
    fn of(act: Act, answer: &Answer) -> Self {
        match (act.what, answer.status) {
            (What::Put, 200 | 201) => {
                let guid = answer.json()["route"]["guid"].as_str().unwrap_or_default().to_owned();
                Self::Route(guid)
            }
            (What::Delete | What::DeleteAsync, 204) => Self::Nothing,
            (What::Delete | What::DeleteAsync, 202) => Self::Going,
            (What::Put, 409) => Self::Refused,
            (What::Put | What::Delete | What::DeleteAsync, _) => Self::Lost,
        }
    }
}

/// Mapped to the app, in the provider's space, and not on its way out.
pub(super) fn is_whole(route: &RouteView) -> bool {
    route.apps == [APP]
        && route.space == "dev"
        && !route.deleting
        && !route.labels.contains_key(STATE)
}
