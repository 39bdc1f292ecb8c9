//! The closed lists of words in answers and queries, as schemas.
//!
//! Where a word comes from a type, the list is made of that type's own names.

use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Type};

use crate::{
    http::{
        code::ProblemCode,
        readiness::{ComponentHealth, LifecyclePhase},
        technical_user::Answering,
    },
    routes::view::{EnsureOutcome, RouteState},
    token::GuardState,
};

fn one_of(words: impl IntoIterator<Item = &'static str>) -> Object {
    let words = words.into_iter().map(Value::from);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

pub(crate) fn problem_codes() -> Object {
    one_of(ProblemCode::ALL.iter().map(|code| code.spec().name))
}

pub(crate) fn route_states() -> Object {
    use RouteState::{Deleting, Drifted, Ok, Unmapped};
    one_of([Ok, Unmapped, Drifted, Deleting].map(RouteState::as_str))
}

pub(crate) fn ensure_outcomes() -> Object {
    use EnsureOutcome::{Adopted, Created, Repaired, Unchanged, Unknown, Wildcard};
    let all = [Created, Unchanged, Repaired, Adopted, Wildcard, Unknown];
    one_of(all.map(EnsureOutcome::as_str))
}

pub(crate) fn plan_steps() -> utoipa::openapi::schema::Array {
    let steps = one_of(["await_delete", "create", "label", "map", "remove"]);
    ArrayBuilder::new().items(steps).build()
}

pub(crate) fn replaced_states() -> Object {
    one_of(["planned", "removed", "deleting", "failed"])
}

pub(crate) fn warning_codes() -> Object {
    one_of([
        "app_stopped",
        "app_route_limit_near",
        "extra_destinations",
        "replace_incomplete",
        "cf_unchecked",
    ])
}

pub(crate) fn operation_states() -> Object {
    one_of(["running", "succeeded", "failed"])
}

pub(crate) fn transfer_refusals() -> Object {
    one_of(["space", "domain", "host", "app", "deleting"])
}

pub(crate) fn release_outcomes() -> Object {
    one_of(["succeeded", "refused"])
}

pub(crate) fn event_kinds() -> Object {
    one_of(["renewed", "refused", "released", "credentials_changed"])
}

pub(crate) fn guard_states() -> Object {
    use GuardState::{Blocked, Good, Locked, Rejected, Unknown, Waiting};
    one_of([Unknown, Good, Rejected, Blocked, Locked, Waiting].map(GuardState::name))
}

pub(crate) fn freshness_words() -> Object {
    one_of(["fresh", "ageing", "expired"])
}

pub(crate) fn answering_states() -> Object {
    use Answering::{No, NotAsked, Yes};
    one_of([NotAsked, Yes, No].map(Answering::word))
}

pub(crate) fn phases() -> Object {
    use LifecyclePhase::{Draining, Starting, Up};
    one_of([Up, Starting, Draining].map(LifecyclePhase::as_str))
}

pub(crate) fn part_states() -> Object {
    use ComponentHealth::{Down, Locked, Missing, Ok, Refused, Stale, Unknown};
    one_of([Ok, Stale, Refused, Locked, Down, Missing, Unknown].map(ComponentHealth::as_str))
}
