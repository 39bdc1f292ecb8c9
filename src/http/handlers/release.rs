//! The release of one logon by an operator: `POST /destinations/{name}/retry` for programs, and the
//! form of the page of destinations.
//!
//! Invariant: every release writes two audit lines, whoever asks for it and in whatever form.

use std::fmt;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    auth::Caller,
    destination::DestinationName,
    http::{
        code::ProblemCode,
        error_mapping::code_of_reason,
        extract::{
            Allowed, AppQuery, Correlation, IgnoredBody, RequestAuditTrail, RoutesAdmin, wall_time,
        },
        own_form::OwnForm,
        problem::Problem,
        state::AppState,
    },
    login::FormUse,
    telemetry::{
        audit::{self, AuditTrail},
        trace::CorrelationId,
    },
    token::{
        Attempt, Force, LeaseRefusal, ReleasedAttempt, RepeatedRelease, RetryError, TokenVault,
        clock_time,
    },
};

/// Query of a release.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryQuery {
    /// Sends it even if the user is locked or attempts were released before.
    force: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ReleaseResult))]
struct RetryBody {
    /// Name of the destination.
    name: String,
    /// Number of the instance that tried; null away from the platform.
    instance_index: Option<u32>,
    /// `succeeded` or `refused`.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::release_outcomes))]
    outcome: &'static str,
    /// Code of the problem of a refusal.
    code: Option<&'static str>,
    /// What happened and what to do.
    detail: Option<String>,
    /// Whether the attempt was sent; if not, it does not count.
    sent: bool,
    /// Released attempts of this destination that this instance sent in the last 65 minutes.
    released: usize,
    /// Passwords of the user that this instance sent without success in the last 65 minutes.
    unsuccessful: usize,
}

/// What the form of a page releases, sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseForm {
    pub(crate) name: String,
    /// The page has told of so many released attempts.
    pub(crate) released: usize,
    /// The page has told that the user is locked.
    pub(crate) is_locked: bool,
}

/// What came of a release, sealed: the instance that shows it need not be the one that tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseOutcome {
    pub(crate) name: String,
    pub(crate) instance: Option<u32>,
    /// The code of the problem; `None` for a success.
    pub(crate) code: Option<String>,
    pub(crate) sent: bool,
    pub(crate) released: usize,
    pub(crate) unsuccessful: usize,
}

/// Releases one logon and writes the audit lines.
struct LogonRelease {
    vault: TokenVault,
    caller: Caller,
    correlation: CorrelationId,
    trail: AuditTrail,
}

impl LogonRelease {
    async fn run(
        self,
        destination: &DestinationName,
        force: Force,
    ) -> Result<ReleasedAttempt, RetryError> {
        let Self { vault, caller, correlation, trail } = self;
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
                forced = force != Force::No,
                outcome,
                correlation_id = correlation.as_str(),
                "logon released"
            );
        };
        line("intent", "");
        let on_end = move |result: &_| line("outcome", outcome_word(result));
        vault.retry(destination, force, on_end).await
    }
}

/// `POST /destinations/{name}/retry`: allows exactly one more logon attempt and returns its
/// outcome.
///
/// # Errors
/// `not_found` for a name that is not configured. Without `force`: `technical_user_locked` while
/// the user is locked, `release_repeated` for 65 min after the last release.
#[cfg_attr(test, utoipa::path(
    post, path = "/destinations/{name}/retry", operation_id = "release_attempt", tag = "technical user",
    summary = "Allow exactly one more logon after a repair that the broker cannot see",
    params(RetryQuery, ("name" = String, Path, description = "Name of a configured destination", pattern = "^[A-Za-z0-9_-]{1,100}$", example = "CFAPI")),
    responses((status = 200, description = "What became of the attempt", body = RetryBody)),
    security(("bearer" = ["Routes.Admin"]))
))]
pub(crate) async fn retry(
    Allowed(caller, _): Allowed<RoutesAdmin>,
    Path(name): Path<String>,
    AppQuery(query): AppQuery<RetryQuery>,
    (Correlation(correlation), RequestAuditTrail(trail)): (Correlation, RequestAuditTrail),
    (State(vault), _): (State<TokenVault>, IgnoredBody),
) -> Result<impl IntoResponse, Problem> {
    let destination = DestinationName::parse(&name).ok_or_else(unknown)?;
    let force = if query.force { Force::Yes } else { Force::No };
    let instance = InstanceName(vault.instance_index());
    let release = LogonRelease { vault, caller, correlation, trail };
    match release.run(&destination, force).await {
        Ok(released) => Ok(Json(RetryBody::of(&destination, instance, released))),
        Err(RetryError::UnknownDestination(_)) => Err(unknown()),
        Err(RetryError::Locked(refusal)) => Err(problem_of_locked(instance, refusal)),
        Err(RetryError::Repeated(repeated)) => {
            Err(problem_of_repeated(&destination, instance, repeated))
        }
    }
}

/// `POST /destinations/{name}/release`: the same by the form of the page, which then shows what
/// came of it. A reload of that page repeats nothing.
///
/// # Errors
/// `not_found` for a name that is not configured; `cross_site` for a form of another site,
/// `form_invalid` for one that was made for somebody or something else, or is too old.
#[cfg_attr(test, utoipa::path(
    post, path = "/destinations/{name}/release", operation_id = "release_attempt_by_form", tag = "browser",
    summary = "The same as `retry`, by the form of the page of destinations",
    params(("name" = String, Path, description = "Name of a configured destination", pattern = "^[A-Za-z0-9_-]{1,100}$", example = "CFAPI")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "The field `form`, sealed by the page; `Origin` must be that of the broker"),
    responses((status = 303, description = "The page with what came of it", headers(("Location" = String, description = "`/destinations`")))),
    security(("page_cookie" = ["Routes.Admin"]), ("bearer" = ["Routes.Admin"]))
))]
pub(crate) async fn by_form(
    Path(name): Path<String>,
    State(state): State<AppState>,
    (Correlation(correlation), RequestAuditTrail(trail)): (Correlation, RequestAuditTrail),
    OwnForm { viewer, content }: OwnForm<RoutesAdmin, ReleaseForm>,
) -> Result<Response, Problem> {
    if content.name != name {
        let detail = "Nothing was done: this form is for another destination.";
        return Err(Problem::new(ProblemCode::FormInvalid, detail).seen_by(viewer.person()));
    }
    let destination = DestinationName::parse(&name).ok_or_else(unknown)?;
    let ReleaseForm { released, is_locked, .. } = content;
    let force = match (released, is_locked) {
        (0, false) => Force::No,
        _ => Force::Knowing { released, is_locked },
    };
    let (vault, caller) = (state.vault.clone(), viewer.caller.clone());
    let instance = vault.instance_index();
    let release = LogonRelease { vault, caller, correlation, trail };
    let outcome = match release.run(&destination, force).await {
        Err(RetryError::UnknownDestination(_)) => {
            return Err(unknown().seen_by(viewer.person()));
        }
        result => ReleaseOutcome::of(&destination, instance, &result),
    };
    let sealed = state
        .login
        .forms()
        .zip(viewer.holder())
        .and_then(|(keys, holder)| keys.seal(FormUse::Outcome, holder, outcome, wall_time()));
    let path = match sealed {
        Some(sealed) => format!("/destinations?done={sealed}"),
        None => "/destinations".to_owned(),
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    state.base.locate(response.headers_mut(), &path);
    Ok(response)
}

fn unknown() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no configured destination of that name.")
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

impl ReleaseOutcome {
    fn of(
        name: &DestinationName,
        instance: Option<u32>,
        result: &Result<ReleasedAttempt, RetryError>,
    ) -> Self {
        let word = outcome_word(result);
        let (sent, released, unsuccessful) = match result {
            Ok(done) => (done.is_sent, done.released, done.unsuccessful),
            Err(RetryError::Repeated(repeated)) => (false, repeated.earlier, repeated.unsuccessful),
            Err(RetryError::UnknownDestination(_) | RetryError::Locked(_)) => (false, 0, 0),
        };
        let code = (word != "succeeded").then(|| word.to_owned());
        Self { name: name.to_string(), instance, code, sent, released, unsuccessful }
    }

    /// Returns what happened, in sentences; `code` is that of the problem, if it is known here.
    pub(crate) fn text(&self, code: Option<ProblemCode>) -> String {
        let Self { name, released, unsuccessful, .. } = self;
        let instance = InstanceName(self.instance);
        let counts =
            format!("{}.{}", sent_so_far(instance, *released), wrong_so_far(*unsuccessful));
        match code {
            None if self.code.is_none() => {
                format!("One logon for destination {name} succeeded. {counts}")
            }
            Some(ProblemCode::ReleaseRepeated) => format!(
                "{instance} has released no attempt for destination {name}: attempts were released \
                 before, and the page did not tell how many. {counts} This page does: repair the \
                 cause first, then release one more."
            ),
            Some(ProblemCode::TechnicalUserLocked) if !self.sent => format!(
                "{instance} has released no attempt for destination {name}: the user is locked. A \
                 logon before the end of the lock can prolong it."
            ),
            Some(_) | None if self.sent => {
                format!("One logon for destination {name} was sent without success. {counts}")
            }
            Some(_) | None => format!(
                "{instance} could not send a logon for destination {name}, so it does not count."
            ),
        }
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
    format!("{}.{}", sent_so_far(instance, *released), wrong_so_far(*unsuccessful))
}

/// How many attempts an instance has released, without the end of the sentence.
fn sent_so_far(instance: InstanceName, released: usize) -> String {
    let attempts = number_of(released, "released attempt");
    format!("{instance} has sent {attempts} for this destination within 65 minutes")
}

/// A number of things in words: "1 password", "2 passwords".
pub(crate) fn number_of(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How many logons of this instance the identity provider may have counted, as a sentence after
/// others. Empty without any: an assertion counts nowhere.
fn wrong_so_far(unsuccessful: usize) -> String {
    match unsuccessful {
        0 => String::new(),
        some => format!(" {}", wrong(some)),
    }
}

fn wrong(unsuccessful: usize) -> String {
    let passwords = number_of(unsuccessful, "password");
    format!(
        "In all it has sent {passwords} of this user without success in that time. Five wrong \
         logons lock the user, and those of other instances and people count as well."
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
    let sums = wrong_so_far(unsuccessful);
    let at = clock_time(free_at);
    let attempts = number_of(earlier, "released attempt");
    let detail = format!(
        "{instance} has already sent {attempts} for destination {name} within 65 minutes.{sums} \
         Repair the cause first. To send attempt {} now, add force=true; without it the next release is possible at {at}.",
        earlier.saturating_add(1)
    );
    Problem::new(ProblemCode::ReleaseRepeated, detail)
}

/// The instance that answers, in a text.
#[derive(Clone, Copy)]
pub(crate) struct InstanceName(pub(crate) Option<u32>);

impl fmt::Display for InstanceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(out, "Instance {index}"),
            None => out.write_str("This instance"),
        }
    }
}
