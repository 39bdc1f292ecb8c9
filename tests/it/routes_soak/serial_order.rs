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
    /// Not known: it may have created one.
    MayCreate,
    /// Not known: it may have deleted it.
    MayDelete,
    /// Nothing.
    Nothing,
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
    /// A request without an answer created it.
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
        if left().all(|one| one.ended.is_none()) && is_end(&state, last) {
            return true;
        }
        // What ended before another one begun comes before it.
        let first_end = left().filter_map(|one| one.ended).min().unwrap_or(Duration::MAX);
        for (index, one) in performed.iter().enumerate() {
            if done[index] || one.begun > first_end {
                continue;
            }
            if let Some(state) = after(&state, &one.effect) {
                let mut done = done.clone();
                done[index] = true;
                open.push((done, state));
            }
        }
    }
    false
}

fn is_end(state: &State, last: &State) -> bool {
    state == last || (*state == State::Unknown && matches!(last, State::Route(_)))
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
        // What may have happened without an effect need not be placed at all.
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
}
