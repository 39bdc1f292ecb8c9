//! The context of an operation: the owner's provider entry, the CF client, the tenant.
//!
//! Invariant: entry and CF client are those of the owner for whom the request acts. Callers: this
//! module.

use super::{
    RequestContext, RouteError, TenantId, TenantRoutes,
    audit::{Audit, SharedLocation},
    label::Ownership,
    locks::{KeyGuard, KeyedLocks, LockKey},
    provider::Provider,
    route_counts::RouteCounts,
};
use crate::{
    auth::IdlePart,
    capi::{CapiError, CfRequestClient, Guid, model::Route},
};
use std::time::SystemTime;

/// CF's codes: the route has 50 labels, or 200 annotations.
const TOO_MANY_LABELS: u32 = 390_020;
const TOO_MANY_ANNOTATIONS: u32 = 390_023;

/// An owner's provider entry, and CF as its technical user.
#[derive(Clone, Debug)]
pub(super) struct OwnerContext {
    pub(super) routes: TenantRoutes,
    pub(super) provider: Provider,
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

impl OwnerContext {
    /// Waits for the lock of a tenant or a host. Who has it may wait for a job of CF, so the
    /// request holds no place meanwhile.
    pub(super) async fn lock(
        &self,
        request_context: &RequestContext,
        key: LockKey,
    ) -> Result<KeyGuard, RouteError> {
        let locks = &self.routes.0.locks;
        if let Some(guard) = locks.try_lock(&key) {
            return Ok(guard);
        }
        let wait = self.begin_wait(request_context, "lock");
        let guard = locks.lock(key, request_context.deadline).await.ok_or(RouteError::Busy)?;
        if let Some(wait) = wait {
            wait.resume().await;
        }
        Ok(guard)
    }

    /// Begins to wait without the places of the request; `None` if as many requests of the caller
    /// wait as may. `cause` is a label of the metric.
    fn begin_wait(
        &self,
        request_context: &RequestContext,
        cause: &'static str,
    ) -> Option<IdlePart> {
        request_context.places.begin_wait(self.routes.0.metrics.wait_started(cause))
    }
}

impl OperationContext {
    /// Begins to wait for a job of CF.
    pub(super) fn begin_wait_for_job(&self) -> Option<IdlePart> {
        self.owner.begin_wait(&self.request_context, "job")
    }

    /// Waits for the lock of the tenant.
    pub(super) async fn lock_tenant(&self) -> Result<KeyGuard, RouteError> {
        self.lock(self.tenant_key()).await
    }

    /// Prepares for a mutation: its reads pass when CF's rate limit is low, and the audit lines get
    /// its location.
    pub(super) fn for_write(mut self, audit: &Audit) -> Self {
        self.owner.cf = self.owner.cf.for_write();
        self.location = audit.location().clone();
        self
    }

    pub(super) fn tenant_key(&self) -> LockKey {
        let owner = self.owner.provider.owner.clone();
        LockKey::Tenant { owner, tenant: self.tenant.to_string() }
    }

    /// Waits for the lock of a tenant or a host.
    pub(super) async fn lock(&self, key: LockKey) -> Result<KeyGuard, RouteError> {
        self.owner.lock(&self.request_context, key).await
    }

    /// Marks a route as being deleted, for all instances; `None` if it is gone. This process
    /// remembers the delete only until the mark is set. After that the mark decides, because
    /// another instance may have removed it.
    pub(super) async fn mark_deleting(&self, route: &Guid) -> Result<Option<Route>, CapiError> {
        self.locks().remember_deleting(route).await;
        self.set_mark(route).await
    }

    /// Marks a route whose delete is remembered; `None` if it is gone. A refusal does not prolong
    /// the memory.
    pub(super) async fn set_mark(&self, route: &Guid) -> Result<Option<Route>, CapiError> {
        let mut mark = self.ownership.deleting(self.request_context.now);
        let marked = match self.cf().label_route(route, &mark).await {
            // The label and the annotation each are a mark. A full route may have space for one.
            Err(error) if error.code() == Some(TOO_MANY_LABELS) => {
                mark.labels.clear();
                self.cf().label_route(route, &mark).await
            }
            Err(error) if error.code() == Some(TOO_MANY_ANNOTATIONS) => {
                mark.annotations.clear();
                self.cf().label_route(route, &mark).await
            }
            other => other,
        }?;
        self.locks().forget_deleting(route).await;
        Ok(marked)
    }

    pub(super) fn cf(&self) -> &CfRequestClient {
        &self.owner.cf
    }

    pub(super) fn counts(&self) -> &RouteCounts {
        &self.owner.routes.0.counts
    }

    pub(super) fn locks(&self) -> &KeyedLocks {
        &self.owner.routes.0.locks
    }
}
