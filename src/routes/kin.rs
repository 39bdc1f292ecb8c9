//! Which of the apps behind a route are the policy's own.
//!
//! Invariant: no app is foreign, and no wildcard route another's, on the word of a guid that was learned before the
//! request: a deployment may have made the app anew under its name. Callers: `create`, `ensure`, `legacy`, `remove`.

use super::{
    RouteError, Wish, Work, create::Builder, provider::Apps, target::Site, target::Target,
};
use crate::capi::{CapiError, Guid, model::Route};
use std::collections::BTreeSet;

/// The apps behind a route.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// The policy's.
    pub(super) ours: BTreeSet<Guid>,
    /// All others.
    pub(super) foreign: BTreeSet<Guid>,
}

/// Sorts the apps behind a route; `names` are those of the policy.
pub(super) async fn behind(
    work: &Work,
    site: &Site,
    names: &[String],
    route: &Route,
) -> Result<Behind, CapiError> {
    let apps = route.apps().cloned().collect::<BTreeSet<_>>();
    if apps.is_empty() {
        return Ok(Behind::default());
    }
    let sorted = Behind::of(&apps, &known(work, site, names).await?);
    if sorted.foreign.is_empty() {
        return Ok(sorted);
    }
    for name in names {
        work.cf().forget_app_before(&site.space, name, work.errand.begun).await;
    }
    Ok(Behind::of(&apps, &known(work, site, names).await?))
}

/// Returns the names of the policy's apps; where it takes any of the space, only the chosen one is ours: the
/// others have routes of their own, which are not the tenant's.
pub(super) fn names(work: &Work, target: &Target) -> Vec<String> {
    match &work.grounds.policy.terms.apps {
        Apps::Listed(names) => names.clone(),
        Apps::AnyBut(_) => vec![target.choice.app.clone()],
    }
}

/// The guids of the apps that exist.
async fn known(work: &Work, site: &Site, names: &[String]) -> Result<BTreeSet<Guid>, CapiError> {
    let mut guids = BTreeSet::new();
    for name in names {
        guids.extend(work.cf().app(&site.space, name).await?.map(|app| app.guid));
    }
    Ok(guids)
}

impl Behind {
    fn of(apps: &BTreeSet<Guid>, known: &BTreeSet<Guid>) -> Self {
        let (ours, foreign) = apps.iter().cloned().partition(|app| known.contains(app));
        Self { ours, foreign }
    }
}

impl Target {
    /// Returns whether the route serves the app. Where it serves others only, the app is looked up again
    /// first, once in a request.
    pub(super) async fn is_served_by(
        &mut self,
        work: &Work,
        wish: &Wish,
        route: &Route,
    ) -> Result<bool, RouteError> {
        if route.serves(&self.app.guid) || route.apps().next().is_none() {
            return Ok(route.serves(&self.app.guid));
        }
        let (cf, name) = (work.cf(), self.choice.app.as_str());
        cf.forget_app_before(&self.site.space, name, work.errand.begun).await;
        self.renew(work, wish).await?;
        Ok(route.serves(&self.app.guid))
    }
}

impl Builder<'_> {
    /// Returns whether a route may be taken over: by policy and body, and no app but the policy's is behind it.
    pub(super) async fn is_adoptable(&self, route: &Route) -> Result<bool, RouteError> {
        if !self.consents() {
            return Ok(false);
        }
        let names = names(self.work, &self.target);
        let behind = behind(self.work, &self.target.site, &names, route).await?;
        Ok(behind.foreign.is_empty())
    }
}
