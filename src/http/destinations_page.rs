//! The page of destinations: state, last events, and the form that releases one logon.
//!
//! Invariant: only the page of a person who may release has a form, and it says what that costs.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    auth::{Caller, Scope},
    http::{
        code::ProblemCode,
        error_mapping::code_of_reason,
        extract::{SpacesRead, wall_time},
        handlers::release::{InstanceName, ReleaseForm, ReleaseOutcome, number_of},
        own_form::FORM_FIELD,
        state::AppState,
        technical_user::{card_of, grant_text, minute, moment, moment_rfc3339},
        user_state::cause_of,
        viewer::Viewer,
    },
    login::{FormHolder, FormKeys, FormUse},
    pages::{
        DestinationCard, DestinationsHtml, EventLine, PageScript, PageSection, ReleaseNote,
        ReleaseOffer, StatusCard, StatusMood,
    },
    token::{DestinationStatus, PastEvent, PastEventKind, Reason, clock_time},
};

/// The parameter that holds what came of a release.
const DONE: &str = "done";

/// Returns the page without the person who sees it.
pub(crate) fn page(
    state: &AppState,
    viewer: &Viewer<SpacesRead>,
    query: &str,
    statuses: &[DestinationStatus],
) -> DestinationsHtml {
    let forms = state.login.forms().zip(viewer.holder());
    let outcome = forms.and_then(|(keys, holder)| note_of(state, keys, holder, query));
    let sealing = forms.filter(|_| viewer.caller.has(Scope::RoutesAdmin));
    let frame = state.site().frame(PageSection::Destinations, PageScript::None);
    let cards = statuses.iter().map(|status| DestinationCard {
        name: status.name.to_string(),
        card: with_guard(card_of(status), status),
        events: status.events.iter().map(|event| line_of(state, event)).collect(),
        offer: sealing.and_then(|(keys, holder)| offer(state, keys, holder, status)),
    });
    DestinationsHtml {
        frame: if sealing.is_some() { frame.naming_origin() } else { frame },
        made_at: moment(Duration::ZERO),
        outcome,
        destinations: cards.collect(),
        no_release: if sealing.is_some() { None } else { Some(why_no_release(&viewer.caller)) },
    }
}

fn why_no_release(caller: &Caller) -> String {
    match Scope::RoutesAdmin.role() {
        Some(role) if !caller.has(Scope::RoutesAdmin) => {
            format!("Only people with the role {role} can release an attempt here.")
        }
        Some(_) | None => "There is no button to release an attempt: the broker has no key to \
                           protect a form with, or this token names nobody. Its operator can bind a \
                           user-provided service with the tag cfapi-login and the credential key, \
                           and restart the broker."
            .to_owned(),
    }
}

/// Adds what is known about the lockout guard.
fn with_guard(mut card: StatusCard, status: &DestinationStatus) -> StatusCard {
    let opens = status
        .guard_opens_in
        .map(|wait| format!(", next logon from {} on", minute(&clock_time(Instant::now() + wait))));
    let guard = format!("{}{}", status.guard.name(), opens.unwrap_or_default());
    card.facts.push(("Lockout guard", guard));
    card
}

fn line_of(state: &AppState, event: &PastEvent) -> EventLine {
    let (mood, text, problem) = match &event.kind {
        PastEventKind::Renewed(grant) => {
            (StatusMood::Good, format!("New token, with the {}", grant_text(grant)), None)
        }
        PastEventKind::Refused(refusal) => {
            let mood = if refusal.is_transient() { StatusMood::Waiting } else { StatusMood::Bad };
            let code = code_of_reason(&refusal.reason);
            (mood, cause_of(&refusal.reason), Some(link_of(state, code)))
        }
        PastEventKind::Released => {
            (StatusMood::Waiting, "An operator released one attempt".to_owned(), None)
        }
        PastEventKind::Changed => {
            let text = "The credentials were changed, or the destination was removed";
            (StatusMood::Good, text.to_owned(), None)
        }
    };
    let last = moment(event.ago);
    let when = match event.times {
        1 => last,
        times => format!("{last}, {times} times since {}", moment(event.first_ago)),
    };
    EventLine { at: moment_rfc3339(event.ago), when, mood, text, problem }
}

/// Title and address of the page about a problem.
fn link_of(state: &AppState, code: ProblemCode) -> (&'static str, String) {
    let problem = code.summary();
    (problem.title, state.site().link(&problem.path()))
}

fn offer(
    state: &AppState,
    keys: &FormKeys,
    holder: &FormHolder,
    status: &DestinationStatus,
) -> Option<ReleaseOffer> {
    let name = status.name.as_str();
    let released = status.attempts.released;
    let is_locked =
        status.hold.as_ref().is_some_and(|hold| matches!(hold.reason, Reason::Locked { .. }));
    let form = ReleaseForm { name: name.to_owned(), released, is_locked };
    let token = keys.seal(FormUse::Release, holder, form, wall_time())?;
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let url = state.site().link(&format!("/destinations/{escaped}/release"));
    let costs = costs(status, InstanceName(state.vault.instance_index()), is_locked);
    Some(ReleaseOffer { url, field: FORM_FIELD, token, costs })
}

/// What a release costs.
fn costs(status: &DestinationStatus, instance: InstanceName, is_locked: bool) -> Vec<String> {
    let released = status.attempts.released;
    let attempts = number_of(released, "released attempt");
    let passwords = number_of(status.attempts.unsuccessful, "password");
    let mut costs = vec![
        "It sends one logon with what the destination holds now. A wrong password counts at the \
         identity provider, and most lock a user after five."
            .to_owned(),
        format!(
            "{instance} has made this page: in the last 65 minutes it has sent {attempts} for this \
             destination, and {passwords} of this user without success. Other instances and people \
             count for themselves, and another instance may take the release."
        ),
    ];
    if is_locked {
        costs.push(
            "The user is locked: a logon before the end of the lock can prolong it. Release one \
             only if an administrator has unlocked the user."
                .to_owned(),
        );
    }
    if released > 0 {
        costs.push(format!(
            "This would be released attempt {}. Repair the cause first.",
            released.saturating_add(1)
        ));
    }
    costs
}

/// What came of the release from which the person comes; `None` without one that counts.
fn note_of(
    state: &AppState,
    keys: &FormKeys,
    holder: &FormHolder,
    query: &str,
) -> Option<ReleaseNote> {
    let (_, sealed) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == DONE)?;
    let outcome: ReleaseOutcome = keys.open(FormUse::Outcome, holder, &sealed, wall_time())?;
    let code = outcome
        .code
        .as_deref()
        .and_then(|name| ProblemCode::ALL.iter().copied().find(|code| code.spec().name == name));
    let mood = if outcome.code.is_none() { StatusMood::Good } else { StatusMood::Bad };
    let problem = code.map(|code| link_of(state, code));
    Some(ReleaseNote { mood, text: outcome.text(code), problem })
}
