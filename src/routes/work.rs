//! One operation on the routes of one tenant, and what it stands on.
//!
//! Invariant: policy and CF client are those of the errand's owner. Callers: this room.

use super::{
    Errand, RouteError, TenantId, TenantRoutes,
    audit::{Audit, Place},
    label::Ownership,
    order::{Key, Order, Ticket},
    provider::ProviderPolicy,
};
use crate::capi::{CapiError, Foundation, Guid, model::Route};
use std::time::SystemTime;

/// What an owner's operations stand on: its policy, and CF as that policy's technical user.
#[derive(Clone, Debug)]
pub(super) struct Grounds {
    pub(super) routes: TenantRoutes,
    pub(super) policy: ProviderPolicy,
    pub(super) cf: Foundation,
    pub(super) now: SystemTime,
}

/// One operation on the routes of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) grounds: Grounds,
    pub(super) errand: Errand,
    pub(super) ownership: Ownership,
    pub(super) tenant: TenantId,
    /// For the audit lines.
    pub(super) place: Place,
}

impl Work {
    /// Waits for the tenant.
    pub(super) async fn take_tenant(&self) -> Result<Ticket, RouteError> {
        self.take(self.tenant_key()).await
    }

    /// Lets its reads through when CF's rate limit is low, and tells the audit where it takes place.
    pub(super) fn for_write(mut self, audit: &Audit) -> Self {
        self.grounds.cf = self.grounds.cf.for_write();
        self.place = audit.place().clone();
        self
    }

    pub(super) fn tenant_key(&self) -> Key {
        let owner = self.grounds.policy.owner.clone();
        Key::Tenant { owner, tenant: self.tenant.to_string() }
    }

    /// Waits for a tenant or a host.
    pub(super) async fn take(&self, key: Key) -> Result<Ticket, RouteError> {
        self.order().take(key, self.errand.deadline).await.ok_or(RouteError::Busy)
    }

    /// Marks a route as dying for all instances; `None` when it is gone. Only while the label is not set does this
    /// process remember it: what CF shows counts, for another instance may have taken the mark away.
    pub(super) async fn mark_dying(&self, route: &Guid) -> Result<Option<Route>, CapiError> {
        self.order().remember_dying(route).await;
        let marked = self.cf().label_route(route, &self.ownership.dying(self.errand.now)).await?;
        self.order().forget_dying(route).await;
        Ok(marked)
    }

    pub(super) fn cf(&self) -> &Foundation {
        &self.grounds.cf
    }

    pub(super) fn order(&self) -> &Order {
        &self.grounds.routes.0.order
    }
}
