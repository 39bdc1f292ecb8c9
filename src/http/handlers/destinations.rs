//! `GET /destinations`: the state of each configured destination.
//!
//! Invariant: no secret and no upstream text is shown.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    destination::SourceKind,
    http::{
        destinations_page::page, error_mapping::code_of_reason, extract::SpacesRead,
        state::AppState, technical_user::moment_rfc3339, user_state::UserState, viewer::Viewer,
    },
    pages::DestinationsHtml,
    token::{DestinationStatus, Freshness, LeaseRefusal, PastEvent, PastEventKind, clock_time},
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
    /// The state in words, as on the page.
    condition: ConditionBody,
    /// The newest first, at most eight.
    events: Vec<EventBody>,
    attempts: AttemptsBody,
}

#[derive(Debug, Serialize)]
struct ConditionBody {
    state: String,
    until: Option<String>,
    cause: Option<String>,
    next_step: Option<String>,
}

/// An event, or several in a row that are alike.
#[derive(Debug, Serialize)]
struct EventBody {
    event: &'static str,
    grant: Option<&'static str>,
    code: Option<&'static str>,
    hint: Option<String>,
    times: u32,
    first_at: String,
    at: String,
}

/// What this instance has sent in the last 65 minutes.
#[derive(Debug, Serialize)]
struct AttemptsBody {
    instance_index: Option<u32>,
    released: usize,
    unsuccessful: usize,
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

/// `GET /destinations`: a page for a browser, JSON for everybody else. It asks no other system.
pub(crate) async fn list(
    viewer: Viewer<SpacesRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Response {
    let statuses = state.vault.statuses();
    let instance = state.vault.instance_index();
    let document = || {
        let bodies = statuses.iter().enumerate();
        let bodies =
            bodies.map(|(index, status)| DestinationBody::of(status, index == 0, instance));
        Json(DestinationList { resources: bodies.collect() }).into_response()
    };
    let html = page(&state, &viewer, query.as_deref().unwrap_or_default(), &statuses);
    let page = |person| DestinationsHtml { frame: html.frame.clone().seen_by(person), ..html };
    viewer.answer(page, document)
}

impl DestinationBody {
    fn of(status: &DestinationStatus, default: bool, instance: Option<u32>) -> Self {
        let lease = status.freshness.zip(status.expires_in);
        let condition = UserState::of(status, Instant::now());
        Self {
            name: status.name.to_string(),
            default,
            source: status.source.map(SourceKind::name),
            origin: status.origin.clone(),
            gate: LockoutBody {
                state: status.guard.name(),
                opens_in_seconds: status.guard_opens_in.map(|wait| wait.as_secs()),
                opens_at: status.guard_opens_in.map(|wait| clock_time(Instant::now() + wait)),
                hint: status.hold.as_ref().map(|hold| hold.reason.hint()),
            },
            lease: lease.map(|(freshness, left)| LeaseBody {
                freshness: freshness_word(freshness),
                expires_in_seconds: left.as_secs(),
            }),
            failed_refreshes: status.failed_refreshes,
            warning: status.warning.clone(),
            last_renewal: status.last_renewal.map(|renewal| RenewalBody {
                grant: renewal.grant,
                duration_ms: u64::try_from(renewal.took.as_millis()).unwrap_or(u64::MAX),
                at: moment_rfc3339(renewal.ago),
            }),
            last_refusal: status.last_refusal.as_ref().map(|past| RefusalBody {
                code: code_of_reason(&past.refusal.reason).spec().name,
                hint: past.refusal.hint(),
                at: moment_rfc3339(past.ago),
            }),
            condition: ConditionBody {
                state: condition.word.text().to_lowercase(),
                until: condition.until.map(clock_time),
                cause: condition.cause,
                next_step: condition.next_step,
            },
            events: status.events.iter().map(EventBody::of).collect(),
            attempts: AttemptsBody {
                instance_index: instance,
                released: status.attempts.released,
                unsuccessful: status.attempts.unsuccessful,
            },
        }
    }
}

impl EventBody {
    fn of(event: &PastEvent) -> Self {
        let (word, grant, refusal) = match &event.kind {
            PastEventKind::Renewed(grant) => ("renewed", Some(*grant), None),
            PastEventKind::Refused(refusal) => ("refused", None, Some(refusal)),
            PastEventKind::Released => ("released", None, None),
            PastEventKind::Changed => ("credentials_changed", None, None),
        };
        Self {
            event: word,
            grant,
            code: refusal.map(|refusal| code_of_reason(&refusal.reason).spec().name),
            hint: refusal.map(LeaseRefusal::hint),
            times: event.times,
            first_at: moment_rfc3339(event.first_ago),
            at: moment_rfc3339(event.ago),
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
