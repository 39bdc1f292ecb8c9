//! `/destinations`: the state of each configured destination, and the release of one logon by an
//! operator.
//!
//! Invariant: no secret and no upstream text is shown. Every release writes two audit lines.

use std::{fmt, time::Duration};

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
            Allowed, AppQuery, Correlation, IgnoredBody, RequestAuditTrail, RoutesAdmin,
            SpacesRead, wall_time,
        },
        problem::Problem,
    },
    telemetry::audit,
    token::{
        Attempt, DestinationStatus, Force, Freshness, LeaseRefusal, ReleasedAttempt,
        RepeatedRelease, RetryError, TokenVault, clock_time,
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
    /// Whether the attempt was sent; if not, it does not count.
    sent: bool,
    /// Released attempts of this destination that this instance sent in the last 65 minutes.
    released: usize,
    /// Passwords of the user that this instance sent without success in the last 65 minutes.
    unsuccessful: usize,
}

/// `POST /destinations/{name}/retry`: allows exactly one more logon attempt and returns its
/// outcome.
///
/// # Errors
/// `not_found` for a name that is not configured. Without `force`: `technical_user_locked` while
/// the user is locked, `release_repeated` for 65 min after the last release.
pub(crate) async fn retry(
    Allowed(caller, _): Allowed<RoutesAdmin>,
    Path(name): Path<String>,
    AppQuery(query): AppQuery<RetryQuery>,
    (Correlation(correlation), RequestAuditTrail(trail)): (Correlation, RequestAuditTrail),
    (State(vault), _): (State<TokenVault>, IgnoredBody),
) -> Result<impl IntoResponse, Problem> {
    let unknown =
        || Problem::new(ProblemCode::NotFound, "There is no configured destination of that name.");
    let destination = DestinationName::parse(&name).ok_or_else(unknown)?;
    let force = if query.force { Force::Yes } else { Force::No };
    let name = destination.clone();
    let line = move |phase: &'static str, outcome: &'static str| {
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
            destination = name.as_str(),
            forced = query.force,
            outcome,
            correlation_id = correlation.as_str(),
            "logon released"
        );
    };
    line("intent", "");
    let instance = InstanceName(vault.instance_index());
    let on_end = move |result: &_| line("outcome", outcome_word(result));
    match vault.retry(&destination, force, on_end).await {
        Ok(released) => Ok(Json(RetryBody::of(&destination, instance, released))),
        Err(RetryError::UnknownDestination(_)) => Err(unknown()),
        Err(RetryError::Locked(refusal)) => Err(problem_of_locked(instance, refusal)),
        Err(RetryError::Repeated(repeated)) => {
            Err(problem_of_repeated(&destination, instance, repeated))
        }
    }
}

/// The word of the audit line.
fn outcome_word(result: &Result<ReleasedAttempt, RetryError>) -> &'static str {
    match result {
        Ok(ReleasedAttempt { attempt: Attempt::Succeeded, .. }) => "succeeded",
        Ok(ReleasedAttempt { attempt: Attempt::Refused(refusal), .. }) => {
            code_of_reason(&refusal.reason).spec().name
        }
        Err(RetryError::UnknownDestination(_)) => "not_found",
        Err(RetryError::Locked(_)) => "technical_user_locked",
        Err(RetryError::Repeated(_)) => "release_repeated",
    }
}

impl RetryBody {
    fn of(name: &DestinationName, instance: InstanceName, done: ReleasedAttempt) -> Self {
        let note = count_note(instance, &done);
        let ReleasedAttempt { attempt, is_sent: sent, released, unsuccessful } = done;
        let (outcome, code, detail) = match attempt {
            Attempt::Succeeded => ("succeeded", None, None),
            Attempt::Refused(refusal) => {
                let code = code_of_reason(&refusal.reason).spec().name;
                let detail = Problem::from(refusal).into_detail();
                ("refused", Some(code), Some(format!("{detail} {note}")))
            }
        };
        let (name, instance_index) = (name.to_string(), instance.0);
        Self { name, instance_index, outcome, code, detail, sent, released, unsuccessful }
    }
}

/// What may count at the identity provider.
fn count_note(instance: InstanceName, done: &ReleasedAttempt) -> String {
    let ReleasedAttempt { is_sent, released, unsuccessful, .. } = done;
    if !is_sent {
        return format!("{instance} could not send the attempt, so it does not count.");
    }
    let sums = format!(
        "{instance} has sent {released} released attempt(s) for this destination within 65 minutes"
    );
    // An assertion counts nowhere.
    if *unsuccessful == 0 {
        format!("{sums}.")
    } else {
        format!("{sums}. {}", wrong(*unsuccessful))
    }
}

/// How many logons of this instance the identity provider may have counted.
fn wrong(unsuccessful: usize) -> String {
    format!(
        "In all it has sent {unsuccessful} password(s) of this user without success in that time. Five wrong logons \
         lock the user, and those of other instances and people count as well."
    )
}

fn problem_of_locked(instance: InstanceName, refusal: LeaseRefusal) -> Problem {
    let note = format!(
        "{instance} has released no attempt: a logon before the end of the lock can prolong it. If an administrator has \
         unlocked the user, add force=true."
    );
    Problem::from(refusal).note(&note)
}

fn problem_of_repeated(
    name: &DestinationName,
    instance: InstanceName,
    repeated: RepeatedRelease,
) -> Problem {
    let RepeatedRelease { earlier, unsuccessful, free_at } = repeated;
    // An assertion counts nowhere.
    let sums = if unsuccessful == 0 { String::new() } else { format!(" {}", wrong(unsuccessful)) };
    let at = clock_time(free_at);
    let detail = format!(
        "{instance} has already sent {earlier} released attempt(s) for destination {name} within 65 minutes.{sums} \
         Repair the cause first. To send attempt {} now, add force=true; without it the next release is possible at {at}.",
        earlier.saturating_add(1)
    );
    Problem::new(ProblemCode::ReleaseRepeated, detail)
}

/// The instance that answers, in a text.
#[derive(Clone, Copy)]
struct InstanceName(Option<u32>);

impl fmt::Display for InstanceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(out, "Instance {index}"),
            None => out.write_str("This instance"),
        }
    }
}
