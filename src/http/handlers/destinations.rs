//! `/destinations`: the state of each configured destination, and the release of one logon by an
//! operator.
//!
//! Invariant: no secret and no upstream text is shown. Every release writes two audit lines.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    destination::DestinationName,
    http::{
        code::ProblemCode,
        error_mapping::code_of_reason,
        extract::{
            Allowed, AppQuery, Correlation, RequestAuditTrail, RoutesAdmin, SpacesRead, wall_time,
        },
        problem::Problem,
    },
    telemetry::audit,
    token::{
        Attempt, DestinationStatus, Force, Freshness, ReleasedAttempt, RepeatedRelease, RetryError,
        TokenVault, clock_time,
    },
};

#[derive(Debug, Serialize)]
struct DestinationList {
    resources: Vec<DestinationBody>,
}

/// One destination; a member is null if its value is not known.
#[derive(Debug, Serialize)]
struct DestinationBody {
    name: String,
    default: bool,
    source: Option<&'static str>,
    origin: Option<String>,
    gate: LockoutBody,
    lease: Option<LeaseBody>,
    failed_refreshes: u32,
    warning: Option<String>,
    last_renewal: Option<RenewalBody>,
    last_refusal: Option<RefusalBody>,
}

#[derive(Debug, Serialize)]
struct LockoutBody {
    state: &'static str,
    opens_in_seconds: Option<u64>,
    opens_at: Option<String>,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct LeaseBody {
    freshness: &'static str,
    expires_in_seconds: u64,
}

#[derive(Debug, Serialize)]
struct RenewalBody {
    grant: &'static str,
    duration_ms: u64,
    at: String,
}

#[derive(Debug, Serialize)]
struct RefusalBody {
    code: &'static str,
    hint: String,
    at: String,
}

/// `GET /destinations`.
pub(crate) async fn list(
    _: Allowed<SpacesRead>,
    State(vault): State<TokenVault>,
) -> impl IntoResponse {
    let statuses = vault.statuses();
    let bodies = statuses.into_iter().enumerate();
    let resources = bodies.map(|(index, status)| DestinationBody::of(status, index == 0)).collect();
    Json(DestinationList { resources })
}

impl DestinationBody {
    fn of(status: DestinationStatus, default: bool) -> Self {
        let lease = status.freshness.zip(status.expires_in);
        Self {
            name: status.name.to_string(),
            default,
            source: status.source.map(crate::destination::SourceKind::name),
            origin: status.origin,
            gate: LockoutBody {
                state: status.guard.name(),
                opens_in_seconds: status.guard_opens_in.map(|wait| wait.as_secs()),
                opens_at: status.guard_opens_in.map(|wait| clock_time(Instant::now() + wait)),
                hint: status.guard_hint,
            },
            lease: lease.map(|(freshness, left)| LeaseBody {
                freshness: freshness_word(freshness),
                expires_in_seconds: left.as_secs(),
            }),
            failed_refreshes: status.failed_refreshes,
            warning: status.warning,
            last_renewal: status.last_renewal.map(|renewal| RenewalBody {
                grant: renewal.grant,
                duration_ms: u64::try_from(renewal.took.as_millis()).unwrap_or(u64::MAX),
                at: moment(renewal.ago),
            }),
            last_refusal: status.last_refusal.map(|past| RefusalBody {
                code: code_of_reason(&past.reason).spec().name,
                hint: past.hint,
                at: moment(past.ago),
            }),
        }
    }
}

fn freshness_word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "fresh",
        Freshness::Ageing => "ageing",
        Freshness::Expired => "expired",
    }
}

/// The wall time `ago` before now, as RFC 3339.
fn moment(ago: Duration) -> String {
    let at = wall_time().checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Query of a release.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryQuery {
    force: bool,
}

#[derive(Debug, Serialize)]
struct RetryBody {
    name: String,
    /// Number of the instance that tried; null away from the platform.
    instance_index: Option<u32>,
    outcome: &'static str,
    code: Option<&'static str>,
    detail: Option<String>,
    /// Attempts of this destination that this instance released in the last 65 minutes.
    released: usize,
}

/// `POST /destinations/{name}/retry`: allows exactly one more logon attempt and returns its
/// outcome.
///
/// # Errors
/// `not_found` for a name that is not configured. Without `force`: `technical_user_locked` while the
/// user is locked, `release_repeated` for 65 min after the last release.
pub(crate) async fn retry(
    Allowed(caller, _): Allowed<RoutesAdmin>,
    Path(name): Path<String>,
    AppQuery(query): AppQuery<RetryQuery>,
    (Correlation(correlation), RequestAuditTrail(trail)): (Correlation, RequestAuditTrail),
    State(vault): State<TokenVault>,
) -> Result<impl IntoResponse, Problem> {
    let unknown =
        || Problem::new(ProblemCode::NotFound, "There is no configured destination of that name.");
    let destination = DestinationName::parse(&name).ok_or_else(unknown)?;
    let force = if query.force { Force::Yes } else { Force::No };
    let line = |phase: &'static str, outcome: &'static str| {
        trail.mark();
        tracing::info!(
            target: audit::TARGET,
            phase,
            action = "destination_retry",
            caller = caller.client_id(),
            subject = caller.subject(),
            user = caller.user(),
            origin = caller.origin(),
            zone = caller.zone(),
            token_hash = caller.token_hash(),
            destination = destination.as_str(),
            forced = query.force,
            outcome,
            correlation_id = correlation.as_str(),
            "logon released"
        );
    };
    line("intent", "");
    let body = match vault.retry(&destination, force).await {
        Ok(released) => RetryBody::of(&destination, vault.instance_index(), released),
        Err(RetryError::UnknownDestination(_)) => {
            line("outcome", "not_found");
            return Err(unknown());
        }
        Err(RetryError::Locked(refusal)) => {
            line("outcome", "technical_user_locked");
            return Err(refusal.into());
        }
        Err(RetryError::Repeated(repeated)) => {
            line("outcome", "release_repeated");
            return Err(problem_of_repeated(&destination, vault.instance_index(), repeated));
        }
    };
    line("outcome", body.code.unwrap_or(body.outcome));
    Ok(Json(body))
}

impl RetryBody {
    fn of(name: &DestinationName, instance_index: Option<u32>, released: ReleasedAttempt) -> Self {
        let ReleasedAttempt { attempt, released } = released;
        let (outcome, code, detail) = match attempt {
            Attempt::Succeeded => ("succeeded", None, None),
            Attempt::Refused(refusal) => {
                let code = code_of_reason(&refusal.reason).spec().name;
                let detail = Problem::from(refusal).into_detail();
                ("refused", Some(code), Some(with_count(&detail, instance_index, released)))
            }
        };
        Self { name: name.to_string(), instance_index, outcome, code, detail, released }
    }
}

/// Adds how many attempts operators have released: each may count at the identity provider.
fn with_count(detail: &str, instance_index: Option<u32>, released: usize) -> String {
    if released == 0 {
        return format!("{detail} No password was sent.");
    }
    let instance = instance_name(instance_index);
    format!(
        "{detail} {instance} has sent {released} released attempt(s) for this destination within 65 minutes; five wrong \
         logons lock the user."
    )
}

fn problem_of_repeated(
    name: &DestinationName,
    instance_index: Option<u32>,
    repeated: RepeatedRelease,
) -> Problem {
    let (instance, earlier) = (instance_name(instance_index), repeated.earlier);
    let at = clock_time(repeated.free_at);
    let detail = format!(
        "{instance} has already sent {earlier} released attempt(s) for destination {name} within 65 minutes; five wrong \
         logons lock the user, and those of other instances and people count as well. Repair the cause first. To send \
         attempt {} now, add force=true; without it the next release is possible at {at}.",
        earlier.saturating_add(1)
    );
    Problem::new(ProblemCode::ReleaseRepeated, detail)
}

fn instance_name(index: Option<u32>) -> String {
    index.map_or_else(|| "This instance".to_owned(), |index| format!("Instance {index}"))
}
