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
pub mod settings;
pub mod view;
pub mod wish;

mod audit;
mod bounds;
mod create;
mod detail;
mod ensure;
mod errand;
mod kin;
mod legacy;
mod order;
mod removal;
mod remove;
mod show;
mod survey;
mod take_back;
mod target;
#[cfg(test)]
mod tests;
mod unchecked;
mod work;

pub use batch::{Done, Item};
pub use errand::{Errand, Judge};
pub use error::RouteError;
pub use operation::{Operation, OperationKey, OperationState};
pub use provider::{Home, Policies};
pub use reconcile::{Change, Demand, Reconciled};
pub use remove::{Patience, Removed, Seen};
pub use settings::{Finding, Mode, ProviderSettings, Settings};
pub use survey::Entries;
pub use view::{Ensured, ListQuery, Listing, RouteView};
pub use wish::{TenantId, Wish, WishBody};

use crate::{capi::CapiClient, telemetry::metrics::Metrics};
use audit::{Audit, Place};
use label::Ownership;
use order::Order;
use remove::Extent;
use std::{fmt, sync::Arc, time::Duration};
use survey::Survey;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use work::{Grounds, Work};

/// The tenant routes of all providers; a clone is shallow.
#[derive(Clone)]
pub struct TenantRoutes(Arc<Shared>);

struct Shared {
    policies: Policies,
    key: OperationKey,
    capi: CapiClient,
    tasks: TaskTracker,
    metrics: Metrics,
    order: Order,
    survey: Survey,
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
        let (order, survey) = (Order::default(), Survey::default());
        Self(Arc::new(Shared { policies, key, capi, tasks, metrics, order, survey }))
    }

    /// Looks in the background at what the provider entries name, after `delay`; ends with `stop`. Without
    /// entries there is nothing to do.
    pub fn survey(&self, delay: Duration, stop: CancellationToken) {
        if self.0.policies.entries().is_empty() {
            return;
        }
        let (survey, policies) = (self.0.survey.clone(), self.0.policies.clone());
        let capi = self.0.capi.clone();
        self.0.tasks.spawn(async move { survey.run(policies, capi, delay, stop).await });
    }

    /// Returns how the provider entries stand, without asking anyone.
    pub fn entries(&self) -> Entries {
        self.0.survey.entries(&self.0.policies)
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
        errand: &Errand,
        tenant: &TenantId,
        wish: Wish,
        run: Run,
    ) -> Result<Ensured, RouteError> {
        if run == Run::Dry {
            let work = self.work(errand, tenant)?;
            return Box::pin(ensure::preview(&work, &wish)).await;
        }
        let (this, errand, tenant) = (self.clone(), errand.clone(), tenant.clone());
        self.on_tracker(async move {
            let audit = Audit::begin("ensure", &errand, tenant.as_str());
            let work = this.work(&errand, &tenant).map(|work| work.for_write(&audit));
            let result = match &work {
                Ok(work) => Box::pin(ensure::ensure(work, &wish)).await,
                Err(error) => Err(error.clone()),
            };
            if let (Ok(work), Ok(done)) = (&work, &result) {
                let terms = &work.grounds.policy.terms;
                this.0.survey.proven(&this.0.policies, terms, &done.view);
            }
            let upstream = work.ok().and_then(|work| work.cf().last_request_id());
            audit.ensured(&result, upstream.as_deref());
            this.count("ensure", result.as_ref().map(|done| done.outcome.word()));
            result
        })
        .await
    }

    /// Removes all routes of a tenant and waits for CF, within bounds.
    ///
    /// # Errors
    /// [`RouteError::NotRemoved`] with the routes that stayed, policy errors, [`RouteError::Capi`].
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn remove(
        &self,
        errand: &Errand,
        tenant: &TenantId,
        patience: Patience,
    ) -> Result<Removed, RouteError> {
        self.remove_with(errand, tenant, Extent::All, patience).await
    }

    /// Removes all routes of a tenant, and the one without labels at the place that `wish` names, where
    /// the policy allows it.
    ///
    /// # Errors
    /// As [`TenantRoutes::remove`]; [`RouteError::HostTaken`] where it may not go.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn remove_legacy(
        &self,
        errand: &Errand,
        tenant: &TenantId,
        wish: Wish,
        patience: Patience,
    ) -> Result<Removed, RouteError> {
        self.remove_with(errand, tenant, Extent::AndFormer(Box::new(wish)), patience).await
    }

    async fn remove_with(
        &self,
        errand: &Errand,
        tenant: &TenantId,
        extent: Extent,
        patience: Patience,
    ) -> Result<Removed, RouteError> {
        let (this, errand, tenant) = (self.clone(), errand.clone(), tenant.clone());
        self.on_tracker(async move {
            let audit = Arc::new(Audit::begin("remove", &errand, tenant.as_str()));
            let work = this.work(&errand, &tenant).map(|work| work.for_write(&audit));
            let result = match &work {
                Ok(work) => Box::pin(remove::remove(work, &extent, patience, &audit)).await,
                Err(error) => Err(error.clone()),
            };
            let upstream = work.ok().and_then(|work| work.cf().last_request_id());
            audit.removed(&result, upstream.as_deref());
            this.count("remove", result.as_ref().map(Removed::word));
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
        errand: &Errand,
        tenant: &TenantId,
    ) -> Result<Vec<RouteView>, RouteError> {
        let work = self.work(errand, tenant)?;
        show::of_tenant(&work.grounds, &work.ownership).await
    }

    /// Lists the owner's routes with what is left of the quotas.
    ///
    /// # Errors
    /// Policy errors, [`RouteError::Capi`].
    pub async fn list(&self, errand: &Errand, query: &ListQuery) -> Result<Listing, RouteError> {
        show::list(&self.grounds(errand)?, query).await
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
        errand: &Errand,
        items: Vec<Result<Item, RouteError>>,
        run: Run,
    ) -> Result<Vec<Result<Done, RouteError>>, RouteError> {
        batch::check(&items)?;
        Ok(batch::work_off(self, errand, items, run).await)
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
        errand: &Errand,
        demand: Demand,
    ) -> Result<Reconciled, RouteError> {
        Box::pin(reconcile::reconcile(self, errand, demand)).await
    }

    /// Tells how a removal stands that outlived its request.
    ///
    /// # Errors
    /// [`RouteError::NotFound`] when the id is not one of this owner's, policy errors,
    /// [`RouteError::Capi`].
    pub async fn operation(
        &self,
        errand: &Errand,
        id: &str,
    ) -> Result<(Operation, OperationState), RouteError> {
        let grounds = self.grounds(errand)?;
        let found = self.0.key.open(id).filter(|found| found.owner == grounds.policy.owner);
        let operation = found.ok_or(RouteError::NotFound)?;
        let state = operation::state(&operation, &grounds).await?;
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

    fn grounds(&self, errand: &Errand) -> Result<Grounds, RouteError> {
        let policy = match &errand.on_behalf_of {
            Some(owner) => self.0.policies.on_behalf_of(&errand.caller, owner)?,
            None => self.0.policies.of(&errand.caller)?,
        };
        let destination = &policy.terms.destination;
        let cf = self.0.capi.at(destination, &errand.correlation, errand.deadline);
        Ok(Grounds { routes: self.clone(), policy, cf, now: errand.now })
    }

    fn work(&self, errand: &Errand, tenant: &TenantId) -> Result<Work, RouteError> {
        let grounds = self.grounds(errand)?;
        let prefix = self.0.policies.prefix().clone();
        let ownership = Ownership::new(prefix, &grounds.policy.owner, tenant.as_str());
        let (errand, tenant, place) = (errand.clone(), tenant.clone(), Place::default());
        Ok(Work { grounds, errand, ownership, tenant, place })
    }

    /// Runs to the end whether or not the caller waits.
    async fn on_tracker<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RouteError>> + Send + 'static,
    ) -> Result<T, RouteError> {
        let running = self.0.tasks.spawn(work.in_current_span());
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
