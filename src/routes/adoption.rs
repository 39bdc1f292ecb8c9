//! Adoption: an unlabelled route becomes the tenant's.
//!
//! Invariant: what CF would refuse is refused before anything is written, also in a dry run. An
//! adoption that is refused in the end leaves the labels as they were. Callers: `create`, `ensure`,
//! `legacy`, `route_deletion`.

use super::{
    OperationContext, RouteError,
    create::{AcquiredRoute, Acquisition, Creator},
    error::Fqdn,
    label::{Claim, Provenance},
};
use crate::capi::{
    CapiError, Guid,
    model::{Route, RouteMetadata},
};

impl Creator<'_> {
    /// Labels an unlabelled route as the tenant's; `None` if it is gone.
    pub(super) async fn adopt(
        &mut self,
        route: &Route,
    ) -> Result<Option<AcquiredRoute>, RouteError> {
        let metadata = self.adoption_of(route).await?;
        let labelled = self.op.cf().label_route(&route.guid, &metadata).await;
        let labelled = labelled.map_err(|error| explain(error, self.target.fqdn()))?;
        self.undo = Some(route.metadata.undo_of(&metadata));
        Ok(labelled.map(|route| AcquiredRoute { route, acquisition: Acquisition::Adopted }))
    }

    /// Returns the labels and annotations of an adoption.
    ///
    /// # Errors
    /// [`RouteError::WeightedDestinations`] and [`RouteError::MetadataFull`] if CF would refuse it.
    pub(super) async fn adoption_of(&mut self, route: &Route) -> Result<RouteMetadata, RouteError> {
        self.require_mappable(route).await?;
        metadata(self.op, route, self.provenance())
            .ok_or_else(|| RouteError::MetadataFull(self.target.fqdn()))
    }

    /// Refuses a weighted route that does not serve the app.
    pub(super) async fn require_mappable(&mut self, route: &Route) -> Result<(), RouteError> {
        if route.is_weighted() && !self.target.is_served_by(self.op, self.request, route).await? {
            return Err(RouteError::WeightedDestinations(self.target.fqdn()));
        }
        Ok(())
    }

    /// Takes back the labels of an adoption whose route could not be mapped. The next request for
    /// the host finds the route as it was.
    pub(super) async fn undo_adoption(&self, route: &Guid) {
        let Some(undo) = &self.undo else { return };
        let undone = async {
            let current = self.op.cf().route(route).await?;
            let (space, now) = (&self.target.space.guid, self.op.request_context.now);
            let is_ours = |route: &Route| {
                matches!(self.op.ownership.claim(route, space, now), Claim::Ours(_))
            };
            if current.as_ref().is_some_and(is_ours) {
                self.op.cf().label_route(route, undo).await?;
            }
            Ok::<_, CapiError>(())
        };
        if let Err(error) = undone.await {
            tracing::warn!(%route, %error, "the labels of a refused adoption could not be removed");
        }
    }
}

/// Returns the labels and annotations that make a route the tenant's; `None` if CF has no room for
/// them.
pub(super) fn metadata(
    op: &OperationContext,
    route: &Route,
    provenance: Provenance<'_>,
) -> Option<RouteMetadata> {
    let metadata = op.ownership.metadata(provenance);
    route.metadata.has_room_for(&metadata).then_some(metadata)
}

/// Names the cause of a refusal of CF that depends on the state of the route.
pub(super) fn explain(error: CapiError, route: Fqdn) -> RouteError {
    if error.is_about_weights() {
        RouteError::WeightedDestinations(route)
    } else if error.is_metadata_limit() {
        RouteError::MetadataFull(route)
    } else {
        error.into()
    }
}
