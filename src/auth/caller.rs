//! The caller: what the verified token says about it.
//!
//! Invariant: a `Caller` is made from a verified payload only (by hand in tests). It never holds
//! the token itself. Used by every module that asks who calls.

use super::{Scope, rate_limit::user_key};
use crate::telemetry::audit::AuditActor;
use aws_lc_rs::digest;
use std::{borrow::Cow, sync::Arc};

/// Prefix of the client ids of IAS callers. An XSUAA client id with this prefix is refused.
pub(super) const IAS_MARK: &str = "ias:";

/// A verified caller; a clone is shallow.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Arc<Identity>,
}

/// The content of a [`Caller`].
#[derive(Debug)]
pub(super) struct Identity {
    /// `cid`, or `ias:<app_tid>:<client>`. The owner of tenant routes.
    pub(super) client_id: String,
    /// `zid` or `app_tid`: one of the configured zones or tenants.
    pub(super) zone: String,
    /// `sub`.
    pub(super) subject: Option<String>,
    /// `user_name` of a user token; IAS: `user_uuid`.
    pub(super) user: Option<String>,
    /// `origin`: the identity provider of a user.
    pub(super) origin: Option<String>,
    /// Lower-case hex of SHA-256 over `jti`.
    pub(super) token_hash: Option<String>,
    /// `cnf["x5t#S256"]`: the certificate that the token is bound to.
    pub(super) certificate: Option<String>,
    /// The broker's scopes that the caller has.
    pub(super) scopes: Vec<Scope>,
    /// Scopes that the token grants and `auth.pins` reserves for other clients.
    pub(super) pinned: Vec<Scope>,
}

impl Caller {
    /// Returns the verified client id, which owns tenant routes: XSUAA `cid`, or IAS
    /// `ias:<app_tid>:<client>`. No `cid` can have that form.
    pub fn client_id(&self) -> &str {
        &self.identity.client_id
    }

    /// Returns the name under which limits and shares count this caller: its client id, or a name
    /// of the person who calls through it.
    pub fn limit_key(&self) -> Cow<'_, str> {
        user_key(self).map_or(Cow::Borrowed(self.client_id()), Cow::Owned)
    }

    /// Returns the zone (subaccount) whose XSUAA issued the token, or the IAS tenant (`app_tid`).
    pub fn zone(&self) -> &str {
        &self.identity.zone
    }

    /// Returns the `user_name` of a user token (IAS: `user_uuid`); a technical token has none.
    pub fn user(&self) -> Option<&str> {
        self.identity.user.as_deref()
    }

    /// Returns `sub`: the user's id, or the client id of a technical token.
    pub fn subject(&self) -> Option<&str> {
        self.identity.subject.as_deref()
    }

    /// Returns the identity provider that the user logged on at.
    pub fn origin(&self) -> Option<&str> {
        self.identity.origin.as_deref()
    }

    /// Returns the SHA-256 of the token's `jti` in hex. It identifies the token in audit lines
    /// without revealing it.
    pub fn token_hash(&self) -> Option<&str> {
        self.identity.token_hash.as_deref()
    }

    /// Returns the thumbprint of the certificate that the token is bound to.
    pub(super) fn certificate(&self) -> Option<&str> {
        self.identity.certificate.as_deref()
    }

    /// Returns the fields for audit lines.
    pub fn audit_actor(&self) -> AuditActor<'_> {
        AuditActor {
            caller: self.client_id(),
            subject: self.subject(),
            user: self.user(),
            origin: self.origin(),
            zone: self.zone(),
            token_hash: self.token_hash(),
        }
    }

    /// Returns whether the token grants `scope`.
    pub fn has(&self, scope: Scope) -> bool {
        self.identity.scopes.contains(&scope)
    }

    /// Returns whether the token grants `scope` but `auth.pins` reserves it for other clients. For
    /// the log only: an answer does not tell which clients are listed.
    pub fn is_held_off_by_pin(&self, scope: Scope) -> bool {
        self.identity.pinned.contains(&scope)
    }

    /// Returns the broker's scopes that the token grants, each once.
    pub fn scopes(&self) -> &[Scope] {
        &self.identity.scopes
    }

    /// Makes a caller from the content of a verified token.
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity: Arc::new(identity) }
    }

    /// Makes a caller for unit tests of other modules.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn for_tests(client_id: &str, scopes: &[Scope]) -> Self {
        Self::new(Identity::for_tests(client_id, scopes))
    }

    /// Makes a person who calls through a client, for unit tests.
    #[cfg(test)]
    pub(crate) fn user_for_tests(client_id: &str, user: &str) -> Self {
        let (subject, user) = (Some(format!("id-of-{user}")), Some(user.to_owned()));
        Self::new(Identity { subject, user, ..Identity::for_tests(client_id, &[]) })
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Identity {
    fn for_tests(client_id: &str, scopes: &[Scope]) -> Self {
        Self {
            client_id: client_id.to_owned(),
            zone: "test-zone".to_owned(),
            subject: Some(client_id.to_owned()),
            user: None,
            origin: None,
            token_hash: None,
            certificate: None,
            scopes: scopes.to_vec(),
            pinned: Vec::new(),
        }
    }
}

/// SHA-256 in lower-case hex.
pub(super) fn hash(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
