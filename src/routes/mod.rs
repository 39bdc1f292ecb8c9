//! Tenant routes: ensure, delete, get, list, batch, reconcile. States and outcomes:
//! `docs/reference/route-states.md`.
//!
//! Invariant: a mutation runs to its end on the task tracker, even when the client disconnects. It
//! writes one intent line and one outcome line to the audit log. Only one operation at a time works
//! on a tenant or a host in this process. Callers: `http`, `app`.

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
pub mod transfer;
pub mod view;

mod adoption;
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
mod replace;
mod request_context;
mod resolve;
mod rollback;
mod route_counts;
mod route_deletion;
mod space_routes;
#[cfg(test)]
mod tests;

pub use batch::{Item, ItemOutcome};
pub use delete::{Deleted, ObservedRoutes, WaitMode};
pub use error::RouteError;
pub use operation::{Operation, OperationKey, OperationState};
pub use provider::{BrokerIdentity, ProviderTable};
pub use provider_check::ProviderStatus;
pub use reconcile::{ReconcileReport, ReconcileRequest, TenantChange};
pub use request::{BatchItemBody, RouteRequest, RouteRequestBody, TenantId};
pub use request_context::{RequestContext, StatusMapping};
pub use settings::{Finding, Mode, ProviderSettings, Settings};
pub use space_routes::{RouteOfSpace, RouteTenant, SpaceContent};
pub use transfer::{TransferRefusal, TransferReport, TransferRequest, TransferResult};
pub use view::{Ensured, ListQuery, RoutePage, RouteView};

use crate::{capi::CapiClient, telemetry::metrics::Metrics};
use audit::{Audit, SharedLocation};
use context::{OperationContext, OwnerContext};
use delete::DeleteScope;
use label::Ownership;
use locks::KeyedLocks;
use provider_check::ProviderCheck;
use route_counts::RouteCounts;
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tenant routes of all providers; a clone is shallow.
#[derive(Clone)]
pub struct TenantRoutes(Arc<RoutesState>);

struct RoutesState {
    providers: ProviderTable,
    key: OperationKey,
    capi: CapiClient,
    tasks: TaskTracker,
    metrics: Metrics,
    locks: KeyedLocks,
    counts: RouteCounts,
    provider_check: ProviderCheck,
}

/// Whether an ensure may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It makes the changes.
    Real,
    /// It reports what a real run would do. It sends no write to CF.
    Dry,
}

impl TenantRoutes {
    /// Makes the tenant routes. `key` encrypts the operation ids; all instances share it. Mutations
    /// run on `tasks`.
    pub fn new(
        providers: ProviderTable,
        key: OperationKey,
        capi: CapiClient,
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let (locks, counts) = (KeyedLocks::default(), RouteCounts::default());
        let provider_check = ProviderCheck::default();
        Self(Arc::new(RoutesState {
            providers,
            key,
            capi,
            tasks,
            metrics,
            locks,
            counts,
            provider_check,
        }))
    }

    /// Checks in the background that everything exists that the provider entries name. Starts after
    /// `delay`, ends with `stop`. Does nothing without entries.
    pub fn check_providers(&self, delay: Duration, stop: CancellationToken) {
        if self.0.providers.entries().is_empty() {
            return;
        }
        let (provider_check, providers) = (self.0.provider_check.clone(), self.0.providers.clone());
        let capi = self.0.capi.clone();
        self.0.tasks.spawn(async move { provider_check.run(providers, capi, delay, stop).await });
    }

    /// Returns the result of the provider check so far. It makes no call.
    pub fn provider_status(&self) -> ProviderStatus {
        self.0.provider_check.status(&self.0.providers)
    }

    /// Creates or repairs the route of a tenant. A dry run only reports the steps.
    ///
    /// # Errors
    /// Each [`RouteError`] that names a host, an app, a domain or the entry; [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// A real run continues when the future is dropped.
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
            let audit = Arc::new(Audit::begin("ensure", &request_context, tenant.as_str()));
            let op =
                this.operation_context(&request_context, &tenant).map(|op| op.for_write(&audit));
            let result = match &op {
                Ok(op) => Box::pin(ensure::ensure(op, &request, &audit)).await,
                Err(error) => Err(error.clone()),
            };
            if let (Ok(op), Ok(done)) = (&op, &result) {
                let terms = &op.owner.provider.terms;
                this.0.provider_check.clear_proven(&this.0.providers, terms, &done.view);
            }
            let upstream = op.ok().and_then(|op| op.cf().last_request_id());
            audit.ensured(&result, upstream.as_deref());
            this.count("ensure", result.as_ref().map(|done| done.outcome.as_str()));
            result
        })
        .await
    }

    /// Deletes all routes of a tenant and waits for CF for a limited time.
    ///
    /// # Errors
    /// [`RouteError::NotDeleted`] with the routes that are still there, errors of the entry,
    /// [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// It continues when the future is dropped.
    pub async fn delete(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
        wait_mode: WaitMode,
    ) -> Result<Deleted, RouteError> {
        self.delete_with(request_context, tenant, DeleteScope::All, wait_mode).await
    }

    /// Deletes all routes of a tenant, and the unlabelled route at the host that `request` gives,
    /// if the provider entry allows it.
    ///
    /// # Errors
    /// As [`TenantRoutes::delete`]; [`RouteError::HostTaken`] if the unlabelled route must stay.
    ///
    /// # Cancel safety
    /// It continues when the future is dropped.
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
            this.count("remove", result.as_ref().map(Deleted::as_str));
            result
        })
        .await
    }

    /// Returns the routes of a tenant.
    ///
    /// # Errors
    /// [`RouteError::NotFound`] when it has none, errors of the entry, [`RouteError::Capi`].
    pub async fn get(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
    ) -> Result<Vec<RouteView>, RouteError> {
        let op = self.operation_context(request_context, tenant)?;
        list::of_tenant(&op.owner, &op.ownership).await
    }

    /// Returns one page of the owner's routes, and the usage of the quotas.
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

    /// Processes up to 100 items, a few at a time. Items of one tenant keep their order. An item
    /// that could not be read keeps its position. An item that does not end in time gets a result
    /// that says so.
    ///
    /// # Errors
    /// [`RouteError::BadRequest`] for an empty list, or more than 100 items.
    ///
    /// # Cancel safety
    /// Started items continue when the future is dropped.
    pub async fn batch(
        &self,
        request_context: &RequestContext,
        items: Vec<Result<Item, RouteError>>,
        run: Run,
    ) -> Result<Vec<Result<ItemOutcome, RouteError>>, RouteError> {
        batch::check(&items)?;
        Ok(batch::run_items(self, request_context, items, run).await)
    }

    /// Compares the given tenants with all routes of the owner and, if requested, makes the
    /// changes.
    ///
    /// # Errors
    /// [`RouteError::ReconcileGuard`], [`RouteError::BadRequest`], errors of the provider entry,
    /// [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// Started changes continue when the future is dropped.
    pub async fn reconcile(
        &self,
        request_context: &RequestContext,
        demand: ReconcileRequest,
    ) -> Result<ReconcileReport, RouteError> {
        Box::pin(reconcile::reconcile(self, request_context, demand)).await
    }

    /// Gives the routes of one owner to another one, as far as the provider entry of the new owner
    /// allows. Without `apply` it only reports them.
    ///
    /// # Errors
    /// [`RouteError::ForbiddenScope`] without `Routes.Admin`, [`RouteError::BadRequest`] for one
    /// owner twice, [`RouteError::ForbiddenProvider`] for a new owner without an entry,
    /// [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// Started changes continue when the future is dropped.
    pub async fn transfer(
        &self,
        request_context: &RequestContext,
        request: &TransferRequest,
    ) -> Result<TransferReport, RouteError> {
        let result = Box::pin(transfer::transfer(self, request_context, request)).await;
        result.inspect_err(|error| {
            if request.apply {
                Audit::begin("transfer", request_context, "").refused(error);
            }
        })
    }

    /// Returns the state of a delete that was still running when its request was answered. A delete
    /// whose job failed is repeated in the background.
    ///
    /// # Errors
    /// [`RouteError::NotFound`] if the id is not an operation of this owner, errors of the entry,
    /// [`RouteError::Capi`].
    pub async fn operation(
        &self,
        request_context: &RequestContext,
        id: &str,
    ) -> Result<(Operation, OperationState), RouteError> {
        let owner = self.owner_context(request_context)?;
        let found = self.0.key.open(id).filter(|found| found.owner == owner.provider.owner);
        let operation = found.ok_or(RouteError::NotFound)?;
        let tenant = TenantId::parse(&operation.tenant).ok_or(RouteError::NotFound)?;
        let op = self.operation_context(request_context, &tenant)?;
        let state = operation::state(&operation, &op).await?;
        Ok((operation, state))
    }

    /// Encrypts an operation into an id that every instance can decrypt.
    ///
    /// # Errors
    /// [`RouteError::Internal`] if the encryption fails.
    pub fn seal(&self, operation: &Operation) -> Result<String, RouteError> {
        self.0.key.seal(operation).ok_or(RouteError::Internal("operation_seal"))
    }

    /// Returns the providers, for checks and for `/v3`.
    pub fn providers(&self) -> &ProviderTable {
        &self.0.providers
    }

    fn owner_context(&self, request_context: &RequestContext) -> Result<OwnerContext, RouteError> {
        let provider = match &request_context.on_behalf_of {
            Some(owner) => self.0.providers.on_behalf_of(&request_context.caller, owner)?,
            None => self.0.providers.of(&request_context.caller)?,
        };
        let destination = &provider.terms.destination;
        let cf = self.0.capi.for_request(
            destination,
            &request_context.correlation,
            request_context.deadline,
        );
        let cf = cf.for_caller(&request_context.caller.limit_key());
        Ok(OwnerContext { routes: self.clone(), provider, cf, now: request_context.now })
    }

    fn operation_context(
        &self,
        request_context: &RequestContext,
        tenant: &TenantId,
    ) -> Result<OperationContext, RouteError> {
        let owner = self.owner_context(request_context)?;
        let prefix = self.0.providers.prefix().clone();
        let ownership = Ownership::new(prefix, &owner.provider.owner, tenant.as_str());
        let (request_context, tenant, location) =
            (request_context.clone(), tenant.clone(), SharedLocation::default());
        Ok(OperationContext { owner, request_context, ownership, tenant, location })
    }

    /// Runs the task to its end, even if the caller stops waiting.
    async fn on_tracker<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, RouteError>> + Send + 'static,
    ) -> Result<T, RouteError> {
        let running = self.0.tasks.spawn(task.in_current_span());
        running.await.unwrap_or(Err(RouteError::Internal("operation_panicked")))
    }

    fn count(&self, operation: &'static str, outcome: Result<&'static str, &RouteError>) {
        let outcome = outcome.unwrap_or_else(RouteError::as_str);
        self.0.metrics.route_operation(operation, outcome);
    }
}

impl fmt::Debug for TenantRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantRoutes").finish_non_exhaustive()
    }
}
