//! Tenant routes: ensure, remove, get, list, batch, reconcile (`routes.md`).
//!
//! Invariant: a mutation runs to its end on the tracker, whoever hangs up, and leaves two audit lines; one
//! tenant and one host are worked on by one operation at a time in this process. Callers: `http`, `app`,
//! `doctor`.

pub mod batch;
pub mod error;
pub mod host;
pub mod label;
pub mod operation;
pub mod pattern;
pub mod provider;
pub mod reconcile;
pub mod request;
pub mod settings;
pub mod view;

mod audit;
mod bounds;
mod context;
mod create;
mod delete;
mod ensure;
mod error_text;
mod legacy;
mod list;
mod locks;
mod mapped_apps;
mod offline_preview;
mod provider_check;
mod request_context;
mod resolve;
mod rollback;
mod route_deletion;
#[cfg(test)]
mod tests;

pub use batch::{Item, ItemOutcome};
pub use delete::{Deleted, ObservedRoutes, WaitMode};
pub use error::RouteError;
pub use operation::{Operation, OperationKey, OperationState};
pub use provider::{BrokerIdentity, Policies};
pub use provider_check::ProviderStatus;
pub use reconcile::{ReconcileReport, ReconcileRequest, TenantChange};
pub use request::{RouteRequest, RouteRequestBody, TenantId};
pub use request_context::{RequestContext, StatusMapping};
pub use settings::{Finding, Mode, ProviderSettings, Settings};
pub use view::{Ensured, ListQuery, RoutePage, RouteView};

use crate::{capi::CapiClient, telemetry::metrics::Metrics};
use audit::{Audit, SharedLocation};
use context::{OperationContext, OwnerContext};
use delete::DeleteScope;
use label::Ownership;
use locks::KeyedLocks;
use provider_check::ProviderCheck;
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tenant routes of all providers; a clone is shallow.
#[derive(Clone)]
pub struct TenantRoutes(Arc<RoutesState>);

struct RoutesState {
    policies: Policies,
    key: OperationKey,
    capi: CapiClient,
    tasks: TaskTracker,
    metrics: Metrics,
    locks: KeyedLocks,
    provider_check: ProviderCheck,
}

/// Whether an ensure may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It does what is needed.
    Real,
    /// It tells what it would do; CF sees no write.
    Dry,
}

impl TenantRoutes {
    /// Makes the tenant routes. `key` seals the ids of operations; all instances share it. Mutations run
    /// on `tasks`.
    pub fn new(
        policies: Policies,
        key: OperationKey,
        capi: CapiClient,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let (locks, provider_check) = (KeyedLocks::default(), ProviderCheck::default());
        Self(Arc::new(RoutesState { policies, key, capi, tasks, metrics, locks, provider_check }))
    }

    /// Looks in the background at what the provider entries name, after `delay`; ends with `stop`. Without
    /// entries there is nothing to do.
    pub fn check_providers(&self, delay: Duration, stop: CancellationToken) {
        if self.0.policies.entries().is_empty() {
            return;
        }
        let (provider_check, policies) = (self.0.provider_check.clone(), self.0.policies.clone());
        let capi = self.0.capi.clone();
        self.0.tasks.spawn(async move { provider_check.run(policies, capi, delay, stop).await });
    }

    /// Returns how the provider entries stand, without asking anyone.
    pub fn provider_status(&self) -> ProviderStatus {
        self.0.provider_check.status(&self.0.policies)
    }

    /// Creates or repairs the route of a tenant, or tells what that would take.
    ///
    /// # Errors
    /// Each [`RouteError`] that names a host, an app, a domain or the policy; [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// A real run goes on when the future is dropped.
    pub async fn ensure(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
        request: RouteRequest,
        run: Run,
    ) -> Result<Ensured, RouteError> {
        if run == Run::Dry {
            let op = self.operation_context(request_context, tenant)?;
            return Box::pin(ensure::preview(&op, &request)).await;
        }
        let (this, request_context, tenant) =
            (self.clone(), request_context.clone(), tenant.clone());
        self.on_tracker(async move {
            let audit = Audit::begin("ensure", &request_context, tenant.as_str());
            let op =
                this.operation_context(&request_context, &tenant).map(|op| op.for_write(&audit));
            let result = match &op {
                Ok(op) => Box::pin(ensure::ensure(op, &request)).await,
                Err(error) => Err(error.clone()),
            };
            if let (Ok(op), Ok(done)) = (&op, &result) {
                let terms = &op.owner.policy.terms;
                this.0.provider_check.proven(&this.0.policies, terms, &done.view);
            }
            let upstream = op.ok().and_then(|op| op.cf().last_request_id());
            audit.ensured(&result, upstream.as_deref());
            this.count("ensure", result.as_ref().map(|done| done.outcome.word()));
            result
        })
        .await
    }

    /// Removes all routes of a tenant and waits for CF, within bounds.
    ///
    /// # Errors
    /// [`RouteError::NotDeleted`] with the routes that stayed, policy errors, [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn delete(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
        wait_mode: WaitMode,
    ) -> Result<Deleted, RouteError> {
        self.delete_with(request_context, tenant, DeleteScope::All, wait_mode).await
    }

    /// Removes all routes of a tenant, and the one without labels at the place that `wish` names, where
    /// the policy allows it.
    ///
    /// # Errors
    /// As [`TenantRoutes::remove`]; [`RouteError::HostTaken`] where it may not go.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn delete_legacy(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
        request: RouteRequest,
        wait_mode: WaitMode,
    ) -> Result<Deleted, RouteError> {
        self.delete_with(
            request_context,
            tenant,
            DeleteScope::AndLegacy(Box::new(request)),
            wait_mode,
        )
        .await
    }

    async fn delete_with(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
        scope: DeleteScope,
        wait_mode: WaitMode,
    ) -> Result<Deleted, RouteError> {
        let (this, request_context, tenant) =
            (self.clone(), request_context.clone(), tenant.clone());
        self.on_tracker(async move {
            let audit = Arc::new(Audit::begin("remove", &request_context, tenant.as_str()));
            let op =
                this.operation_context(&request_context, &tenant).map(|op| op.for_write(&audit));
            let result = match &op {
                Ok(op) => Box::pin(delete::delete(op, &scope, wait_mode, &audit)).await,
                Err(error) => Err(error.clone()),
            };
            let upstream = op.ok().and_then(|op| op.cf().last_request_id());
            audit.deleted(&result, upstream.as_deref());
            this.count("remove", result.as_ref().map(Deleted::word));
            result
        })
        .await
    }

    /// Shows the routes of a tenant.
    ///
    /// # Errors
    /// [`RouteError::NotFound`] when it has none, policy errors, [`RouteError::Capi`].
    pub async fn get(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
    ) -> Result<Vec<RouteView>, RouteError> {
        let op = self.operation_context(request_context, tenant)?;
        list::of_tenant(&op.owner, &op.ownership).await
    }

    /// Lists the owner's routes with what is left of the quotas.
    ///
    /// # Errors
    /// Policy errors, [`RouteError::Capi`].
    pub async fn list(
        &self,
        request_context: &RequestContext,
        query: &ListQuery,
    ) -> Result<RoutePage, RouteError> {
        list::list(&self.owner_context(request_context)?, query).await
    }

    /// Works on up to 100 items, a few at a time, those of one tenant in their order; an item that could not
    /// be read keeps its place, and one that does not end in time has a result that says so.
    ///
    /// # Errors
    /// [`RouteError::BadRequest`] for no items, or too many.
    ///
    /// # Cancel safety
    /// Items that were begun go on when the future is dropped.
    pub async fn batch(
        &self,
        request_context: &RequestContext,
        items: Vec<Result<Item, RouteError>>,
        run: Run,
    ) -> Result<Vec<Result<ItemOutcome, RouteError>>, RouteError> {
        batch::check(&items)?;
        Ok(batch::run_items(self, request_context, items, run).await)
    }

    /// Compares all tenants with all routes of the owner and, where that is wanted, mends.
    ///
    /// # Errors
    /// [`RouteError::ReconcileGuard`], [`RouteError::BadRequest`], policy errors, [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// Changes that were begun go on when the future is dropped.
    pub async fn reconcile(
        &self,
        request_context: &RequestContext,
        demand: ReconcileRequest,
    ) -> Result<ReconcileReport, RouteError> {
        Box::pin(reconcile::reconcile(self, request_context, demand)).await
    }

    /// Tells how a removal stands that outlived its request.
    ///
    /// # Errors
    /// [`RouteError::NotFound`] when the id is not one of this owner's, policy errors,
    /// [`RouteError::Capi`].
    pub async fn operation(
        &self,
        request_context: &RequestContext,
        id: &str,
    ) -> Result<(Operation, OperationState), RouteError> {
        let owner = self.owner_context(request_context)?;
        let found = self.0.key.open(id).filter(|found| found.owner == owner.policy.owner);
        let operation = found.ok_or(RouteError::NotFound)?;
        let state = operation::state(&operation, &owner).await?;
        Ok((operation, state))
    }

    /// Seals an operation into an id that every instance can open.
    ///
    /// # Errors
    /// [`RouteError::Internal`] when sealing fails.
    pub fn seal(&self, operation: &Operation) -> Result<String, RouteError> {
        self.0.key.seal(operation).ok_or(RouteError::Internal("operation_seal"))
    }

    /// Returns the policies, for checks and for `/v3`.
    pub fn policies(&self) -> &Policies {
        &self.0.policies
    }

    fn owner_context(&self, request_context: &RequestContext) -> Result<OwnerContext, RouteError> {
        let policy = match &request_context.on_behalf_of {
            Some(owner) => self.0.policies.on_behalf_of(&request_context.caller, owner)?,
            None => self.0.policies.of(&request_context.caller)?,
        };
        let destination = &policy.terms.destination;
        let cf = self.0.capi.for_request(
            destination,
            &request_context.correlation,
            request_context.deadline,
        );
        Ok(OwnerContext { routes: self.clone(), policy, cf, now: request_context.now })
    }

    fn operation_context(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
    ) -> Result<OperationContext, RouteError> {
        let owner = self.owner_context(request_context)?;
        let prefix = self.0.policies.prefix().clone();
        let ownership = Ownership::new(prefix, &owner.policy.owner, tenant.as_str());
        let (request_context, tenant, location) =
            (request_context.clone(), tenant.clone(), SharedLocation::default());
        Ok(OperationContext { owner, request_context, ownership, tenant, location })
    }

    /// Runs to the end whether or not the caller waits.
    async fn on_tracker<T: Send + 'static>(
        &self,
        op: impl Future<Output = Result<T, RouteError>> + Send + 'static,
    ) -> Result<T, RouteError> {
        let running = self.0.tasks.spawn(op.in_current_span());
        running.await.unwrap_or(Err(RouteError::Internal("operation_panicked")))
    }

    fn count(&self, operation: &'static str, outcome: Result<&'static str, &RouteError>) {
        let outcome = outcome.unwrap_or_else(RouteError::word);
        self.0.metrics.route_operation(operation, outcome);
    }
}

impl fmt::Debug for TenantRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantRoutes").finish_non_exhaustive()
    }
}
