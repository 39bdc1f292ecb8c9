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
    capi::{ApiCondition, CallsLeft},
    destination::SourceKind,
    http::{
        destinations_page::page,
        error_mapping::code_of_reason,
        extract::SpacesRead,
        state::AppState,
        technical_user::{Answering, moment_rfc3339},
        user_state::UserState,
        viewer::Viewer,
    },
    pages::DestinationsHtml,
    token::{DestinationStatus, Freshness, LeaseRefusal, PastEvent, PastEventKind, clock_time},
};

#[derive(Debug, Serialize)]
struct DestinationList {
    resources: Vec<DestinationBody>,
    broker: BrokerBody,
}

/// The process that answers.
#[derive(Debug, Serialize)]
pub(super) struct BrokerBody {
    version: &'static str,
    instance_index: Option<u32>,
}

/// One destination; a member is null if its value is not known.
#[derive(Debug, Serialize)]
pub(super) struct DestinationBody {
    name: String,
    default: bool,
    source: Option<&'static str>,
    user: Option<String>,
    origin: Option<String>,
    login_server: AnsweringBody,
    cf_api: ApiBody,
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

/// What the last call says of another system: `not_asked`, `answers` or `no_usable_answer`.
#[derive(Debug, Serialize)]
struct AnsweringBody {
    state: &'static str,
}

/// What is known of the CF API without a call.
#[derive(Debug, Serialize)]
struct ApiBody {
    state: &'static str,
    version: Option<String>,
    rate_limit: Option<RateLimitBody>,
    paused_until: Option<String>,
}

/// The rate limit of CF, as its last answer said it.
#[derive(Debug, Serialize)]
struct RateLimitBody {
    limit: u64,
    remaining: u64,
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
    let document = || {
        let bodies = statuses.iter().map(|status| DestinationBody::of(status, &state));
        let (resources, broker) = (bodies.collect(), BrokerBody::of(&state));
        Json(DestinationList { resources, broker }).into_response()
    };
    let html = page(&state, &viewer, query.as_deref().unwrap_or_default(), &statuses);
    let page = |person| DestinationsHtml { frame: html.frame.clone().seen_by(person), ..html };
    viewer.answer(page, document)
}

impl BrokerBody {
    /// The process of this state.
    pub(super) fn of(state: &AppState) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { version, instance_index: state.vault.instance_index() }
    }
}

impl ApiBody {
    fn of(condition: &ApiCondition, version: Option<String>) -> Self {
        let limit = condition.calls_left;
        Self {
            state: Answering::of_api(condition).word(),
            version,
            rate_limit: limit
                .map(|CallsLeft { remaining, limit }| RateLimitBody { limit, remaining }),
            paused_until: condition.paused_for.map(|wait| clock_time(Instant::now() + wait)),
        }
    }
}

impl DestinationBody {
    /// What is known of a destination without a call.
    pub(super) fn of(status: &DestinationStatus, state: &AppState) -> Self {
        let lease = status.freshness.zip(status.expires_in);
        let condition = UserState::of(status, Instant::now());
        let login_server = Answering::of_login_server(status.guard).word();
        Self {
            name: status.name.to_string(),
            default: status.name == state.defaults.destination,
            source: status.source.map(SourceKind::name),
            user: status.user.clone(),
            origin: status.origin.clone(),
            login_server: AnsweringBody { state: login_server },
            cf_api: ApiBody::of(&state.capi.condition(&status.name), state.capi.version()),
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
                instance_index: state.vault.instance_index(),
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
