//! Whether requests that ran together were answered as if one had run after the other.
//!
//! A request takes effect at one moment between its begin and its end. One without a definite
//! answer takes effect at any later moment, or never.

use std::{collections::BTreeSet, time::Duration};

/// What a request did to the tenant's route, by its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// There was none, now it is this one.
    Created(String),
    /// It was this one.
    Found(String),
    /// There is none.
    Deleted,
    /// Not known: it may have created one. Until its end, or later if it has no end.
    MayCreate,
    /// Not known: it may have deleted it.
    MayDelete,
    /// Nothing.
    Nothing,
}

impl Effect {
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::MayCreate | Self::MayDelete)
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Performed {
    pub(super) begun: Duration,
    /// `None`: it may have an effect until the end.
    pub(super) ended: Option<Duration>,
    pub(super) effect: Effect,
}

/// The tenant's route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Absent,
    Route(String),
    /// A request without an answer created it. It is none that was named before.
    Unknown,
}

/// Returns whether a serial order exists that begins without a route and ends with `last`.
pub(super) fn exists(performed: &[Performed], last: &State) -> bool {
    let mut tried = BTreeSet::new();
    let mut open = vec![(vec![false; performed.len()], State::Absent)];
    while let Some((done, state)) = open.pop() {
        if !tried.insert((done.clone(), state.clone())) {
            continue;
        }
        let left = || performed.iter().zip(&done).filter(|(_, done)| !**done).map(|(one, _)| one);
        let named: BTreeSet<&str> =
            performed.iter().zip(&done).filter(|(_, done)| **done).filter_map(named).collect();
        if left().all(|one| one.ended.is_none()) && is_end(&state, last, &named) {
            return true;
        }
        // What ended before another one begun comes before it.
        let first_end = left().filter_map(|one| one.ended).min().unwrap_or(Duration::MAX);
        for (index, one) in performed.iter().enumerate() {
            if done[index] || one.begun > first_end || is_old(&state, &one.effect, &named) {
                continue;
            }
            // What may have happened but has no end need not be placed at all.
            let is_never = one.effect.is_unknown() && one.ended.is_some();
            let without = is_never.then(|| state.clone());
            for state in after(&state, &one.effect).into_iter().chain(without) {
                let mut done = done.clone();
                done[index] = true;
                open.push((done, state));
            }
        }
    }
    false
}

fn is_end(state: &State, last: &State, named: &BTreeSet<&str>) -> bool {
    let is_new = |guid: &str| *state == State::Unknown && !named.contains(guid);
    state == last || matches!(last, State::Route(guid) if is_new(guid))
}

/// Returns the route that a request named.
fn named<'a>((performed, _): (&'a Performed, &bool)) -> Option<&'a str> {
    match &performed.effect {
        Effect::Created(guid) | Effect::Found(guid) => Some(guid),
        Effect::Deleted | Effect::MayCreate | Effect::MayDelete | Effect::Nothing => None,
    }
}

/// Whether an effect takes a route that was there before for the one that was created last.
fn is_old(state: &State, effect: &Effect, named: &BTreeSet<&str>) -> bool {
    matches!((state, effect), (State::Unknown, Effect::Found(guid)) if named.contains(&**guid))
}

/// The state after an effect; `None` if it cannot come now.
fn after(state: &State, effect: &Effect) -> Option<State> {
    match (effect, state) {
        (Effect::Created(guid), State::Absent) | (Effect::Found(guid), State::Unknown) => {
            Some(State::Route(guid.clone()))
        }
        (Effect::Found(guid), State::Route(here)) if here == guid => Some(state.clone()),
        (Effect::MayCreate, State::Absent) => Some(State::Unknown),
        (Effect::Deleted, _) | (Effect::MayDelete, State::Route(_) | State::Unknown) => {
            Some(State::Absent)
        }
        (Effect::Nothing, _) => Some(state.clone()),
        (Effect::Created(_) | Effect::MayCreate, State::Route(_) | State::Unknown)
        | (Effect::Found(_), State::Absent | State::Route(_))
        | (Effect::MayDelete, State::Absent) => None,
    }
}

mod tests {
    use super::{Effect, Performed, State, exists};
    use std::time::Duration;

    fn one(begun: u64, ended: Option<u64>, effect: Effect) -> Performed {
        let ended = ended.map(Duration::from_secs);
        Performed { begun: Duration::from_secs(begun), ended, effect }
    }

    fn route(guid: &str) -> String {
        guid.to_owned()
    }

    #[test]
    fn a_dead_route_that_is_found_after_its_delete_has_no_serial_order() {
        let performed = |found: u64| {
            [
                one(0, Some(1), Effect::Created(route("a"))),
                one(2, Some(4), Effect::Deleted),
                one(found, Some(9), Effect::Found(route("a"))),
            ]
        };
        assert!(exists(&performed(3), &State::Absent));
        assert!(!exists(&performed(3), &State::Route(route("a"))));
        assert!(!exists(&performed(5), &State::Absent));
    }

    #[test]
    fn a_request_without_an_answer_may_have_an_effect_later_or_never() {
        let performed = [
            one(0, Some(1), Effect::Created(route("a"))),
            one(2, None, Effect::MayDelete),
            one(3, Some(4), Effect::Found(route("a"))),
            one(5, Some(6), Effect::Created(route("b"))),
        ];
        assert!(exists(&performed, &State::Route(route("b"))));
        assert!(!exists(&performed[..3], &State::Route(route("b"))));
        assert!(exists(&performed[..3], &State::Route(route("a"))));
        assert!(exists(&performed[..3], &State::Absent));
        let lost = [one(0, None, Effect::MayCreate), one(1, Some(2), Effect::Found(route("a")))];
        assert!(exists(&lost, &State::Route(route("a"))));
    }

    #[test]
    fn what_a_lost_request_created_is_no_route_that_was_named_before() {
        let mut performed = vec![
            one(0, Some(1), Effect::Created(route("a"))),
            one(2, Some(3), Effect::Deleted),
            one(4, None, Effect::MayCreate),
        ];
        assert!(!exists(&performed, &State::Route(route("a"))));
        assert!(exists(&performed, &State::Route(route("b"))));
        performed.push(one(5, Some(6), Effect::Found(route("a"))));
        assert!(!exists(&performed, &State::Route(route("a"))));
        performed.remove(1);
        assert!(exists(&performed, &State::Route(route("a"))));
    }

    #[test]
    fn what_may_have_happened_until_an_end_does_not_happen_later() {
        let performed =
            |ended| [one(0, ended, Effect::MayCreate), one(1, Some(2), Effect::Deleted)];
        assert!(exists(&performed(None), &State::Route(route("a"))));
        assert!(exists(&performed(Some(2)), &State::Route(route("a"))));
        assert!(!exists(&performed(Some(0)), &State::Route(route("a"))));
        assert!(exists(&performed(Some(0)), &State::Absent));
    }
}
