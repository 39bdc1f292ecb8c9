//! Removals that outlive their request: an id that holds everything, and how it stands.
//!
//! Invariant: the id is sealed (AES-256-GCM) and self-contained, so any instance can answer and nobody can
//! poll foreign jobs. Callers: this room, `http`; `app` makes the key.

use super::RouteError;
use crate::capi::{CfError, Foundation, Guid, jobs::JobOutcome};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, sync::Arc};

/// Binds the sealed text to its purpose: the same key must not open a text of another kind.
const PURPOSE: &[u8] = b"cfapi-broker operation 1";
/// Bytes of the nonce in front of the sealed text (RFC 5116, 5.2).
const NONCE: usize = 12;

/// A removal under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose routes they are.
    pub owner: String,
    /// The tenant's id.
    pub tenant: String,
    /// The routes that CF is deleting.
    pub routes: Vec<DyingRoute>,
}

/// A route that CF is deleting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DyingRoute {
    /// The route.
    pub guid: Guid,
    /// Its host.
    pub host: String,
    /// CF's job.
    pub job: Guid,
}

/// How a removal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// At least one job runs.
    Running,
    /// All routes are gone.
    Succeeded,
    /// At least one job failed, none runs.
    Failed(Vec<CfError>),
}

/// Seals operations; the same on all instances. A clone is shallow.
#[derive(Clone)]
pub struct OperationKey(Arc<RandomizedNonceKey>);

impl OperationKey {
    /// Makes the key; `None` never happens with 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(Arc::new(key)))
    }

    /// Seals an operation into a text that is safe in a path.
    pub(super) fn seal(&self, operation: &Operation) -> Option<String> {
        let mut text = operation.to_form().into_bytes();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(PURPOSE), &mut text).ok()?;
        let sealed = [nonce.as_ref().as_slice(), &text].concat();
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens an id; `None` for everything that this key did not seal.
    pub(super) fn open(&self, id: &str) -> Option<Operation> {
        let sealed = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(PURPOSE), &mut text).ok()?;
        Operation::from_form(opened)
    }
}

impl Operation {
    /// Writes it as a form: one pair for each fact, in a fixed order.
    fn to_form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("owner", &self.owner).append_pair("tenant", &self.tenant);
        for route in &self.routes {
            form.append_pair("guid", route.guid.as_str());
            form.append_pair("host", &route.host).append_pair("job", route.job.as_str());
        }
        form.finish()
    }

    fn from_form(form: &[u8]) -> Option<Self> {
        let mut pairs = form_urlencoded::parse(form);
        let mut next = |name: &str| {
            let (key, value) = pairs.next()?;
            (key == name).then(|| value.into_owned())
        };
        let (owner, tenant) = (next("owner")?, next("tenant")?);
        let mut routes = Vec::new();
        while let Some(guid) = next("guid") {
            let (host, job) = (next("host")?, next("job")?);
            let (guid, job) = (Guid::parse(&guid)?, Guid::parse(&job)?);
            routes.push(DyingRoute { guid, host, job });
        }
        Some(Self { owner, tenant, routes })
    }
}

/// Looks at the jobs of a removal; a job that CF has forgotten is done if its route is gone.
pub(super) async fn state(
    operation: &Operation,
    cf: &Foundation,
) -> Result<OperationState, RouteError> {
    let mut errors = Vec::new();
    let mut failed = false;
    for route in &operation.routes {
        match cf.job(&route.job).await? {
            JobOutcome::Complete => {}
            JobOutcome::Running => return Ok(OperationState::Running),
            JobOutcome::Failed(found) => {
                failed = true;
                errors.extend(found.errors);
            }
            JobOutcome::Gone => failed |= cf.route(&route.guid).await?.is_some(),
        }
    }
    Ok(if failed { OperationState::Failed(errors) } else { OperationState::Succeeded })
}

impl fmt::Debug for OperationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperationKey")
    }
}

#[cfg(test)]
mod tests {
    use super::{DyingRoute, Operation, OperationKey};
    use crate::capi::Guid;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn operation(owner: &str) -> Operation {
        let guid = Guid::parse("r1").unwrap();
        let job = Guid::parse("j1").unwrap();
        let routes = vec![DyingRoute { guid, host: "acme-app".to_owned(), job }];
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
