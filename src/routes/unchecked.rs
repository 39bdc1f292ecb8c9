//! The answer of a dry run while CF does not answer: the URL, from what is known (`routes.md` 4).
//!
//! Invariant: CF is not asked; what policy and names refuse is refused here too. Callers: `ensure`.

use super::{
    RouteError, Wish, Work,
    target::{Choice, Site, Target, known_names, last_site},
    view::{AppView, Ensured, Outcome, RouteView, State, Warning},
};
use crate::capi::{CapiError, spaces::SpaceRef};

/// Shows where the route would be.
///
/// # Errors
/// `error`, which CF's silence came to, where app, domain or host are not known; what policy and names refuse.
pub(super) async fn unchecked(
    work: &Work,
    wish: &Wish,
    choice: &Choice,
    target: Option<&Target>,
    error: CapiError,
) -> Result<Ensured, RouteError> {
    let view = match target {
        Some(target) => Some(RouteView::at(work, &wish.subdomain, target, None)),
        None => place(work, wish, choice).await?,
    };
    let view = view.ok_or(error)?;
    let warnings = vec![Warning::CfUnchecked];
    Ok(Ensured { view, outcome: Outcome::Unknown, warnings, plan: Some(Vec::new()) })
}

/// Returns the place as far as it is known; what was known last is good enough for a URL.
async fn place(work: &Work, wish: &Wish, choice: &Choice) -> Result<Option<RouteView>, RouteError> {
    let terms = &work.grounds.policy.terms;
    let site = last_site(&work.grounds).await;
    let Some(domain) = domain(work, wish, choice, site.as_ref()).await? else {
        return Ok(None);
    };
    let known = known_names(&terms.space, work.grounds.routes.policies().home());
    let names = site.as_ref().map_or(&known, |site| &site.names);
    let Some(host) = choice.host_by(work, wish, names, &domain).transpose()? else {
        return Ok(None);
    };
    let space = match (&terms.space, site) {
        (_, Some(site)) => Some(site.space),
        (SpaceRef::Guid(space), None) => Some(space.clone()),
        (SpaceRef::Named { .. }, None) => None,
    };
    Ok(Some(RouteView {
        tenant: work.tenant.to_string(),
        subdomain: wish.subdomain.clone(),
        url: format!("https://{host}.{domain}"),
        host: host.to_string(),
        route: None,
        space,
        apps: vec![AppView { name: Some(choice.app.clone()), guid: None }],
        state: State::Ok,
        warnings: Vec::new(),
        domain,
    }))
}

/// Returns the domain's name: the chosen one, or the organization's default one as it was known last.
async fn domain(
    work: &Work,
    wish: &Wish,
    choice: &Choice,
    site: Option<&Site>,
) -> Result<Option<String>, RouteError> {
    if choice.domain.is_some() {
        return Ok(choice.domain.clone());
    }
    let Some(site) = site else { return Ok(None) };
    let last = work.cf().last_known_domain(&site.organization, None).await;
    let Some(name) = last.filter(|domain| !domain.internal).map(|domain| domain.name) else {
        return Ok(None);
    };
    let other = wish.domain.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&name));
    if other { Err(RouteError::ForbiddenDomain) } else { Ok(Some(name)) }
}
