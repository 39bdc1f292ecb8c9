//! The answer of a dry run while CF does not answer: the URL, from what is known.
//!
//! Invariant: CF is not called. What provider entry and names refuse is refused here too. Callers:
//! `ensure`.

use super::{
    OperationContext, RouteError, RouteRequest,
    resolve::{Choice, ResolvedRoute, ResolvedSpace, known_names, last_known_space},
    view::{AppView, EnsureOutcome, Ensured, RouteState, RouteView, Warning},
};
use crate::capi::{CapiError, spaces::SpaceRef};

/// Predicts the URL without a call to CF.
///
/// # Errors
/// `error`, the failure of the CF call, if app, domain or host are not known; what entry and names
/// refuse.
pub(super) async fn offline_preview(
    op: &OperationContext,
    request: &RouteRequest,
    choice: &Choice,
    target: Option<&ResolvedRoute>,
    error: CapiError,
) -> Result<Ensured, RouteError> {
    let view = match target {
        Some(target) => Some(RouteView::at(op, &request.subdomain, target, None)),
        None => known_view(op, request, choice).await?,
    };
    let view = view.ok_or(error)?;
    let warnings = vec![Warning::CfUnchecked];
    let (outcome, plan) = (EnsureOutcome::Unknown, Some(Vec::new()));
    Ok(Ensured { view, outcome, warnings, plan, replaced: None })
}

/// Returns the route as far as it is known. Names that were known last are good enough for a URL.
async fn known_view(
    op: &OperationContext,
    request: &RouteRequest,
    choice: &Choice,
) -> Result<Option<RouteView>, RouteError> {
    let terms = &op.owner.provider.terms;
    let space = last_known_space(&op.owner).await;
    let Some(domain) = domain(op, request, choice, space.as_ref()).await? else {
        return Ok(None);
    };
    let known = known_names(&terms.space, op.owner.routes.providers().broker());
    let names = space.as_ref().map_or(&known, |space| &space.names);
    let Some(host) = choice.host_from(op, request, names, &domain).transpose()? else {
        return Ok(None);
    };
    let space = match (&terms.space, space) {
        (_, Some(space)) => Some(space.guid),
        (SpaceRef::Guid(space), None) => Some(space.clone()),
        (SpaceRef::Named { .. }, None) => None,
    };
    Ok(Some(RouteView {
        tenant: op.tenant.to_string(),
        subdomain: request.subdomain.clone(),
        url: format!("https://{host}.{domain}"),
        host: host.to_string(),
        route: None,
        space,
        apps: vec![AppView { name: Some(choice.app.clone()), guid: None }],
        weighted: false,
        state: RouteState::Ok,
        reason: None,
        warnings: Vec::new(),
        domain,
    }))
}

/// Returns the domain's name: the chosen one, or the organization's default domain as it was known
/// last.
async fn domain(
    op: &OperationContext,
    request: &RouteRequest,
    choice: &Choice,
    space: Option<&ResolvedSpace>,
) -> Result<Option<String>, RouteError> {
    if choice.domain.is_some() {
        return Ok(choice.domain.clone());
    }
    let Some(space) = space else { return Ok(None) };
    let last = op.cf().last_known_domain(&space.organization, None).await;
    let Some(name) = last.filter(|domain| !domain.internal).map(|domain| domain.name) else {
        return Ok(None);
    };
    let other = request.domain.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&name));
    if other { Err(RouteError::ForbiddenDomain) } else { Ok(Some(name)) }
}
