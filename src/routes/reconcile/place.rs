//! Where the wishes of a list belong, and what stands there.
//!
//! Invariant: CF is asked once for what many wishes share. Callers: [`super`].

use super::{Change, Demand, Reconciled};
use crate::{
    capi::{Guid, model::Route},
    routes::{
        Errand, RouteError, TenantRoutes, Wish, Work, ensure,
        settings::Mode,
        target::{Choice, Target},
    },
};
use std::collections::{BTreeMap, HashMap};

/// A wish with its place.
pub(super) struct Placed {
    pub(super) work: Work,
    pub(super) wish: Wish,
    pub(super) target: Target,
}

/// Finds the place of each wish; one that has none is a result, not the end.
pub(super) async fn placed(
    routes: &TenantRoutes,
    errand: &Errand,
    demand: &Demand,
    plan: &mut Reconciled,
) -> Result<Vec<Placed>, RouteError> {
    let mut all = Vec::new();
    let mut learned = Learned::default();
    for (tenant, wish) in &demand.tenants {
        let work = routes.work(errand, tenant)?;
        match Box::pin(place(&work, wish, &mut learned)).await {
            Ok(Some(target)) => all.push(Placed { work, wish: wish.clone(), target }),
            // The domain's wildcard route serves it.
            Ok(None) => plan.unchanged += 1,
            Err(RouteError::Capi(error)) => return Err(error.into()),
            Err(error) => plan.results.push(Change {
                tenant: tenant.clone(),
                operation: "ensure",
                result: Err(error),
            }),
        }
    }
    Ok(all)
}

/// What one wish taught of the next: CF is asked once for what is not there, however long the list.
#[derive(Default)]
struct Learned {
    /// Why app or domain cannot be had, by their names.
    missing: HashMap<(String, Option<String>), RouteError>,
    /// Whether the domain's wildcard route serves the app, or why that is fatal.
    wildcards: HashMap<(Guid, Guid), Result<bool, RouteError>>,
}

/// Finds the place of a wish; `None` where the domain's wildcard route does.
async fn place(
    work: &Work,
    wish: &Wish,
    learned: &mut Learned,
) -> Result<Option<Target>, RouteError> {
    let choice = Choice::of(work, wish)?;
    let named = (choice.app.clone(), choice.domain.clone());
    if let Some(error) = learned.missing.get(&named) {
        return Err(error.clone());
    }
    let mut target = match Box::pin(Target::resolve(work, wish, choice)).await {
        Err(error @ (RouteError::AppNotFound { .. } | RouteError::DomainNotFound)) => {
            learned.missing.insert(named, error.clone());
            return Err(error);
        }
        other => other?,
    };
    if work.grounds.policy.terms.mode == Mode::Route {
        return Ok(Some(target));
    }
    let key = (target.domain.guid.clone(), target.app.guid.clone());
    let served = match learned.wildcards.get(&key) {
        Some(known) => known.clone(),
        None => ensure::wildcard(work, wish, &mut target).await.map(|served| served.is_some()),
    };
    learned.wildcards.insert(key, served.clone());
    Ok((!served?).then_some(target))
}

/// Reads the routes that have the wanted hosts, whoever has them, as far as the technical user sees.
pub(super) async fn standing(
    placed: &[Placed],
) -> Result<HashMap<(Guid, String), Route>, RouteError> {
    let mut wanted = BTreeMap::<_, Vec<_>>::new();
    for one in placed {
        wanted.entry(&one.target.domain.guid).or_default().push(one);
    }
    let mut found = HashMap::new();
    for (domain, all) in wanted {
        let [first, ..] = all.as_slice() else { continue };
        let hosts = all.iter().map(|one| one.target.host.as_str()).collect::<Vec<_>>();
        for route in first.work.cf().find_routes(domain, &hosts).await? {
            found.insert((domain.clone(), route.host.to_ascii_lowercase()), route);
        }
    }
    Ok(found)
}
