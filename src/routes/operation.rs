//! Deletes that are still running when their request ends: an id that holds everything, and the
//! state.
//!
//! Invariant: the id is encrypted (AES-256-GCM) and self-contained. So each instance can answer,
//! and a caller cannot ask about other owners' jobs. Callers: this module, `http`; `app` makes the
//! key.

mod encoding;

use super::{
    OperationContext, RouteError,
    label::{Claim, DeletionState},
    resolve::resolve_space,
    route_deletion::RouteDeletion,
};
use crate::{
    auth::SealingKey,
    capi::{CfError, Guid, jobs::JobOutcome},
};

/// Binds the encrypted text to its purpose: the same key must not decrypt a text of another kind.
const PURPOSE: &[u8] = b"cfapi-broker operation 2";

/// Longest id: a path may have 2048 bytes, and the id is one part of it.
const MAX_ID: usize = 1_900;

/// A delete that is still running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The owner of the routes.
    pub owner: String,
    /// The tenant's id.
    pub tenant: String,
    /// The routes that CF is deleting; empty if the id would be too long.
    pub routes: Vec<DeletingRoute>,
}

/// A route that CF is deleting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletingRoute {
    /// The route.
    pub guid: Guid,
    /// Its host; empty if the id would be too long.
    pub host: String,
    /// CF's job.
    pub job: Guid,
}

/// The state of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// At least one job runs.
    Running,
    /// All routes are gone.
    Succeeded,
    /// At least one job failed and none runs.
    Failed(Vec<CfError>),
}

/// Encrypts operations; all instances have the same key. A clone is shallow.
#[derive(Clone, Debug)]
pub struct OperationKey(SealingKey);

impl OperationKey {
    /// Makes the key. It never fails with 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        SealingKey::new(bytes).map(Self)
    }

    /// Encrypts an operation into a text that is safe in a path and fits into one. If it would be
    /// too long, the hosts are left out, then the routes: those are found by their labels.
    pub(super) fn seal(&self, operation: &Operation) -> Option<String> {
        let hostless =
            |route: &DeletingRoute| DeletingRoute { host: String::new(), ..route.clone() };
        let short = operation.routes.iter().map(hostless).collect();
        let forms = [operation.routes.clone(), short, Vec::new()];
        let ids = forms.into_iter().map(|routes| {
            self.0.seal(PURPOSE, encoding::write(&Operation { routes, ..operation.clone() })?)
        });
        ids.flatten().find(|id| id.len() <= MAX_ID)
    }

    /// Decrypts an id; `None` if this key did not encrypt it.
    pub(super) fn open(&self, id: &str) -> Option<Operation> {
        encoding::read(&self.0.open(PURPOSE, id)?)
    }
}

/// Checks the jobs of a delete. A job that CF no longer knows has succeeded if its route is gone. A
/// job that failed is repeated as long as its route is marked. Without jobs the labels decide.
pub(super) async fn state(
    operation: &Operation,
    op: &OperationContext,
) -> Result<OperationState, RouteError> {
    let cf = op.cf();
    if operation.routes.is_empty() {
        return by_labels(op).await;
    }
    let mut errors = Vec::new();
    let (mut failed, mut repeating) = (false, false);
    for route in &operation.routes {
        match cf.job(&route.job).await? {
            JobOutcome::Complete => {}
            JobOutcome::Running => return Ok(OperationState::Running),
            JobOutcome::Failed(found) => {
                let Some(current) = cf.route(&route.guid).await? else { continue };
                let space = resolve_space(&op.owner).await?;
                let claim = op.ownership.claim(&current, &space.guid, op.owner.now);
                if claim == Claim::Ours(DeletionState::Deleting) {
                    RouteDeletion::resume(op, space, route);
                    repeating = true;
                    continue;
                }
                failed = true;
                errors.extend(found.errors);
            }
            JobOutcome::Gone => failed |= cf.route(&route.guid).await?.is_some(),
        }
    }
    Ok(match (repeating, failed) {
        (true, _) => OperationState::Running,
        (false, true) => OperationState::Failed(errors),
        (false, false) => OperationState::Succeeded,
    })
}

/// A marked route is still being deleted. If the mark is too old, the delete failed.
async fn by_labels(op: &OperationContext) -> Result<OperationState, RouteError> {
    let space = resolve_space(&op.owner).await?;
    let ownership = &op.ownership;
    let routes = op.cf().labelled_routes(&space.guid, &ownership.selector()).await?;
    let claims = routes.iter().map(|route| ownership.claim(route, &space.guid, op.owner.now));
    let claims = claims.collect::<Vec<_>>();
    Ok(if claims.contains(&Claim::Ours(DeletionState::Deleting)) {
        OperationState::Running
    } else if claims.contains(&Claim::Ours(DeletionState::DeleteFailed)) {
        OperationState::Failed(Vec::new())
    } else {
        OperationState::Succeeded
    })
}

#[cfg(test)]
mod tests {
    use super::{DeletingRoute, Operation, OperationKey};
    use crate::capi::Guid;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use rstest::rstest;

    fn operation(owner: &str) -> Operation {
        let guid = Guid::parse("r1").unwrap();
        let job = Guid::parse("j1").unwrap();
        let routes = vec![DeletingRoute { guid, host: "acme-app".to_owned(), job }];
        Operation { owner: owner.to_owned(), tenant: "t1".to_owned(), routes }
    }

    fn key(byte: u8) -> OperationKey {
        OperationKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn another_key_opens_nothing() {
        let id = key(1).seal(&operation("o")).unwrap();
        assert_eq!(key(2).open(&id), None);
    }

    #[test]
    fn an_id_does_not_show_what_it_holds() {
        let id = key(1).seal(&operation("owner-one")).unwrap();
        assert!(!id.contains("owner"));
    }

    fn of_many(count: usize) -> Operation {
        let guid = || Guid::parse(&uuid::Uuid::new_v4().to_string()).unwrap();
        let one = |n| DeletingRoute { guid: guid(), host: format!("sub{n}-app"), job: guid() };
        Operation { routes: (0..count).map(one).collect(), ..operation("sb-bookshop!t4711") }
    }

    #[rstest]
    #[case::one(1, true, true)]
    #[case::with_hosts(20, true, true)]
    #[case::without_hosts(35, true, false)]
    #[case::by_labels(100, false, false)]
    fn an_id_fits_into_a_path_with_any_number_of_routes(
        #[case] count: usize,
        #[case] routes: bool,
        #[case] hosts: bool,
    ) {
        let operation = of_many(count);
        let id = key(1).seal(&operation).unwrap();
        assert!(id.len() <= super::MAX_ID);
        let opened = key(1).open(&id).unwrap();
        assert_eq!(opened.routes.len(), if routes { count } else { 0 });
        let guids = |all: &[DeletingRoute]| {
            all.iter().map(|one| (one.guid.clone(), one.job.clone())).collect::<Vec<_>>()
        };
        assert_eq!(guids(&opened.routes), guids(&operation.routes[..opened.routes.len()]));
        assert_eq!(opened.routes.first().is_some_and(|one| !one.host.is_empty()), hosts);
    }

    proptest! {
        #[test]
        fn an_id_opens_to_what_was_sealed(owner in "\\PC{0,40}") {
            let id = key(1).seal(&operation(&owner)).unwrap();
            prop_assert!(id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
            prop_assert_eq!(key(1).open(&id), Some(operation(&owner)));
        }

        #[test]
        fn a_changed_id_opens_to_nothing(position in 0_usize..40, flip in 1_u8..64) {
            let mut id = key(1).seal(&operation("o")).unwrap().into_bytes();
            id[position] = b'A' + (id[position] + flip) % 26;
            let changed = String::from_utf8(id.clone()).unwrap();
            let original = key(1).open(&changed);
            prop_assert!(original.is_none() || original == Some(operation("o")));
        }
    }
}
