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
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DestinationList))]
struct DestinationList {
    /// All configured destinations, the default one first.
    resources: Vec<DestinationBody>,
    /// The process that answers.
    broker: BrokerBody,
}

/// The process that answers.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BrokerProcess))]
pub(super) struct BrokerBody {
    /// Version of the broker.
    version: &'static str,
    /// Number of the instance; null away from CF.
    instance_index: Option<u32>,
}

/// One destination; a member is null if its value is not known.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Destination))]
pub(super) struct DestinationBody {
    /// Its name.
    name: String,
    /// Whether callers without a provider entry use it.
    default: bool,
    /// Where it was read.
    source: Option<&'static str>,
    /// The technical user.
    user: Option<String>,
    /// Origin of the identity provider.
    origin: Option<String>,
    /// Whether the CF login server answers.
    login_server: AnsweringBody,
    /// What is known of the CF API.
    cf_api: ApiBody,
    /// The lockout guard.
    gate: LockoutBody,
    /// The token in use.
    lease: Option<LeaseBody>,
    /// Refreshes that failed in a row.
    failed_refreshes: u32,
    /// What an operator should look at.
    warning: Option<String>,
    /// The last renewal of the token.
    last_renewal: Option<RenewalBody>,
    /// The last refusal.
    last_refusal: Option<RefusalBody>,
    /// The state in words, as on the page.
    condition: ConditionBody,
    /// The newest first, at most eight.
    events: Vec<EventBody>,
    /// What this instance has sent in the last 65 minutes.
    attempts: AttemptsBody,
}

/// What the last call says of another system: `not_asked`, `answers` or `no_usable_answer`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OtherSystem))]
struct AnsweringBody {
    /// What the last call says.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::answering_states))]
    state: &'static str,
}

/// What is known of the CF API without a call.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = CfApi))]
struct ApiBody {
    /// What the last call says.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::answering_states))]
    state: &'static str,
    /// Version of the CF API.
    version: Option<String>,
    /// The rate limit of the technical user.
    rate_limit: Option<RateLimitBody>,
    /// Until when no call is sent, because the limit is reached.
    paused_until: Option<String>,
}

/// The rate limit of CF, as its last answer said it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RateLimit))]
struct RateLimitBody {
    /// Calls per hour.
    limit: u64,
    /// Calls that are left.
    remaining: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Condition))]
struct ConditionBody {
    /// The state in a word or two.
    state: String,
    /// When it ends by itself.
    until: Option<String>,
    /// What is known.
    cause: Option<String>,
    /// What to do.
    next_step: Option<String>,
}

/// An event, or several in a row that are alike.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DestinationEvent))]
struct EventBody {
    /// `renewed`, `refused`, `released` or `credentials_changed`.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::event_kinds))]
    event: &'static str,
    /// The grant of a renewal.
    grant: Option<&'static str>,
    /// Code of the problem of a refusal.
    code: Option<&'static str>,
    /// What to do about a refusal.
    hint: Option<String>,
    /// How often in a row.
    times: u32,
    /// When it happened first.
    first_at: String,
    /// When it happened last.
    at: String,
}

/// What this instance has sent in the last 65 minutes.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Attempts))]
struct AttemptsBody {
    /// Number of the instance; null away from CF.
    instance_index: Option<u32>,
    /// Released attempts.
    released: usize,
    /// Passwords without success.
    unsuccessful: usize,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = LockoutGuard))]
struct LockoutBody {
    /// State of the guard.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::guard_states))]
    state: &'static str,
    /// Seconds until the next logon.
    opens_in_seconds: Option<u64>,
    /// When the next logon is possible.
    opens_at: Option<String>,
    /// What to do.
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TokenLease))]
struct LeaseBody {
    /// `fresh`, `ageing` (a new one is due) or `expired`.
    #[cfg_attr(test, schema(schema_with = crate::http::openapi::words::freshness_words))]
    freshness: &'static str,
    /// Seconds until it expires.
    expires_in_seconds: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Renewal))]
struct RenewalBody {
    /// Grant of OAuth 2.
    grant: &'static str,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// When.
    at: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Refusal))]
struct RefusalBody {
    /// Code of the problem.
    code: &'static str,
    /// What to do.
    hint: String,
    /// When.
    at: String,
}

/// `GET /destinations`: a page for a browser, JSON for everybody else. It asks no other system.
#[cfg_attr(test, utoipa::path(
    get, path = "/destinations", operation_id = "list_destinations", tag = "technical user",
    summary = "The state of each configured destination and its technical user",
    responses((status = 200, description = "All destinations; a page for a browser", body = DestinationList)),
    security(("bearer" = ["Spaces.Read"]), ("page_cookie" = ["Spaces.Read"]))
))]
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
