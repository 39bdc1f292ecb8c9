//! One operation on the routes of one tenant, and what it stands on.
//!
//! Invariant: policy and CF client are those of the errand's owner. Callers: this room.

use super::{
    RequestContext, RouteError, TenantId, TenantRoutes,
    audit::{Audit, SharedLocation},
    label::Ownership,
    locks::{KeyGuard, KeyedLocks, LockKey},
    provider::ProviderPolicy,
};
use crate::capi::{CapiError, CfRequestClient, Guid, model::Route};
use std::time::SystemTime;

/// What an owner's operations stand on: its policy, and CF as that policy's technical user.
#[derive(Clone, Debug)]
pub(super) struct OwnerContext {
    pub(super) routes: TenantRoutes,
    pub(super) policy: ProviderPolicy,
    pub(super) cf: CfRequestClient,
    pub(super) now: SystemTime,
}

/// One operation on the routes of one tenant.
#[derive(Clone, Debug)]
pub(super) struct OperationContext {
    pub(super) owner: OwnerContext,
    pub(super) request_context: RequestContext,
    pub(super) ownership: Ownership,
    pub(super) tenant: TenantId,
    /// For the audit lines.
    pub(super) location: SharedLocation,
}

impl OperationContext {
    /// Waits for the tenant.
    pub(super) async fn lock_tenant(&self) -> Result<KeyGuard, RouteError> {
        self.lock(self.tenant_key()).await
    }

    /// Lets its reads through when CF's rate limit is low, and tells the audit where it takes location.
    pub(super) fn for_write(mut self, audit: &Audit) -> Self {
        self.owner.cf = self.owner.cf.for_write();
        self.location = audit.location().clone();
        self
    }

    pub(super) fn tenant_key(&self) -> LockKey {
        let owner = self.owner.policy.owner.clone();
        LockKey::Tenant { owner, tenant: self.tenant.to_string() }
    }

    /// Waits for a tenant or a host.
    pub(super) async fn lock(&self, key: LockKey) -> Result<KeyGuard, RouteError> {
        self.locks().lock(key, self.request_context.deadline).await.ok_or(RouteError::Busy)
    }

    /// Marks a route as dying for all instances; `None` when it is gone. Only while the label is not set does this
    /// process remember it: what CF shows counts, for another instance may have taken the mark away.
    pub(super) async fn mark_deleting(&self, route: &Guid) -> Result<Option<Route>, CapiError> {
        self.locks().remember_deleting(route).await;
        let marked = self
            .cf()
            .label_route(route, &self.ownership.deleting(self.request_context.now))
            .await?;
        self.locks().forget_deleting(route).await;
        Ok(marked)
    }

    pub(super) fn cf(&self) -> &CfRequestClient {
        &self.owner.cf
    }

    pub(super) fn locks(&self) -> &KeyedLocks {
        &self.owner.routes.0.locks
    }
}
