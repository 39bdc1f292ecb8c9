//! How a technical user is, in the words of the pages for people.
//!
//! Invariant: no secret, no text of another system.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    capi::{ApiCondition, CallsLeft},
    destination::SourceKind,
    http::{error_mapping::code_of_reason, extract::wall_time, user_state::UserState},
    pages::{StatusCard, StatusMood},
    token::{DestinationStatus, Freshness, GuardState, Renewal, clock_time},
};

/// Returns the card of a destination's technical user.
pub(crate) fn card_of(status: &DestinationStatus) -> StatusCard {
    let state = UserState::of(status, Instant::now());
    let text = state_text(&state);
    let UserState { mood, cause, next_step, .. } = state;
    let cause = cause.map(|cause| match mood {
        StatusMood::Bad => with_token(cause, status),
        StatusMood::Good | StatusMood::Waiting => cause,
    });
    StatusCard { mood, state: text, cause, next_step, facts: facts_of(status) }
}

/// The state in words, with its end.
pub(crate) fn state_text(state: &UserState) -> String {
    match state.until {
        Some(at) => format!("{} until {}", state.word.text(), minute(&clock_time(at))),
        None => state.word.text().to_owned(),
    }
}

/// Says of a state that is not good that requests are still served.
fn with_token(cause: String, status: &DestinationStatus) -> String {
    let age = status.freshness.filter(|age| *age != Freshness::Expired);
    match age.and(status.expires_in) {
        Some(left) => format!(
            "{cause} Requests still use the present token, which is valid for another {}.",
            span(left)
        ),
        None => cause,
    }
}

fn facts_of(status: &DestinationStatus) -> Vec<(&'static str, String)> {
    let left = status.expires_in.filter(|left| !left.is_zero());
    let token =
        left.map_or_else(|| "no valid token".to_owned(), |left| format!("in {}", span(left)));
    let source = status.source.map_or("not read yet, or not found", SourceKind::name);
    let unknown = || "not known yet".to_owned();
    let user = status.user.clone().unwrap_or_else(unknown);
    let origin = status.origin.clone().unwrap_or_else(|| match status.source {
        Some(_) => "none: the login server's default".to_owned(),
        None => unknown(),
    });
    let renewal = status.last_renewal.map_or_else(|| "none yet".to_owned(), renewal_text);
    let mut facts = vec![
        ("Token expires", token),
        ("Last renewal", renewal),
        ("User", user),
        ("Origin (identity provider)", origin),
        ("Read from", source.to_owned()),
        ("CF login server", Answering::of_login_server(status.guard).text().to_owned()),
    ];
    if let Some(past) = &status.last_refusal {
        let title = code_of_reason(&past.refusal.reason).spec().title;
        facts.push(("Last refusal", format!("{title}, {}", moment(past.ago))));
    }
    facts.extend(status.warning.clone().map(|warning| ("Warning", warning)));
    facts
}

/// What the last call says of another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// There was no call yet.
    NotAsked,
    /// It answers.
    Yes,
    /// It cannot be reached, or its answer is of no use.
    No,
}

impl Answering {
    /// What the last logon or refresh says of the login server.
    pub(crate) fn of_login_server(guard: GuardState) -> Self {
        match guard {
            GuardState::Waiting => Self::No,
            GuardState::Unknown => Self::NotAsked,
            GuardState::Good | GuardState::Rejected | GuardState::Blocked | GuardState::Locked => {
                Self::Yes
            }
        }
    }

    /// What is known of the CF API.
    pub(crate) fn of_api(condition: &ApiCondition) -> Self {
        match condition.is_answering {
            None => Self::NotAsked,
            Some(true) => Self::Yes,
            Some(false) => Self::No,
        }
    }

    /// The words for people.
    fn text(self) -> &'static str {
        match self {
            Self::NotAsked => "not asked yet",
            Self::Yes => "answers",
            Self::No => "gives no usable answer",
        }
    }

    /// The word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::Yes => "answers",
            Self::No => "no_usable_answer",
        }
    }
}

/// What is known of the CF API without a call. What is not known is left out.
pub(crate) fn api_facts(
    condition: ApiCondition,
    version: Option<String>,
) -> Vec<(&'static str, String)> {
    let answers = Answering::of_api(&condition).text();
    let ApiCondition { calls_left, paused_for, .. } = condition;
    let limit = match (paused_for, calls_left) {
        (Some(wait), _) => {
            let at = minute(&clock_time(Instant::now() + wait));
            Some(format!("reached; next call from {at} on"))
        }
        (None, Some(CallsLeft { remaining, limit })) => {
            Some(format!("about {remaining} of {limit} calls left"))
        }
        (None, None) => None,
    };
    let mut facts = vec![("CF API", answers.to_owned())];
    facts.extend(version.map(|version| ("CF API version", version)));
    facts.extend(limit.map(|limit| ("Rate limit of the CF API", limit)));
    facts
}

fn renewal_text(renewal: Renewal) -> String {
    let Renewal { grant, took, ago } = renewal;
    let grant = grant_text(grant);
    format!("{}, with the {grant}, {} ms", moment(ago), took.as_millis())
}

/// The name of a grant for people.
pub(crate) fn grant_text(grant: &'static str) -> &'static str {
    match grant {
        "refresh_token" => "refresh token",
        "jwt_bearer" => "assertion",
        other => other,
    }
}

/// The wall time `ago` before now, to the minute.
pub(crate) fn moment(ago: Duration) -> String {
    minute(&moment_rfc3339(ago))
}

/// The wall time `ago` before now, as RFC 3339.
pub(crate) fn moment_rfc3339(ago: Duration) -> String {
    let at = wall_time().checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// An RFC 3339 time in UTC without its seconds.
pub(crate) fn minute(text: &str) -> String {
    match text.get(..16).and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {time} UTC"),
        None => text.to_owned(),
    }
}

/// In how much time to ask again; not before the end of the wait.
pub(crate) fn wait_text(seconds: u64) -> String {
    let unit = match seconds {
        0..120 => 1,
        120..7200 => 60,
        _ => 3600,
    };
    span(Duration::from_secs(seconds.next_multiple_of(unit)))
}

/// A time span in words.
fn span(left: Duration) -> String {
    match left.as_secs() {
        1 => "1 second".to_owned(),
        0..120 => format!("{} seconds", left.as_secs()),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::{api_facts, span, wait_text};
    use crate::capi::{ApiCondition, CallsLeft};

    #[test]
    fn the_cf_api_is_in_words() {
        let texts = |condition, version: Option<&str>| {
            let facts = api_facts(condition, version.map(str::to_owned));
            facts.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(ApiCondition::default(), None), ["not asked yet"]);
        let calls_left = Some(CallsLeft { remaining: 900, limit: 1000 });
        let served = ApiCondition { is_answering: Some(true), calls_left, paused_for: None };
        let shown = texts(served, Some("3.200.0"));
        assert_eq!(shown, ["answers", "3.200.0", "about 900 of 1000 calls left"]);
        let paused_for = Some(Duration::from_secs(60));
        let paused = ApiCondition { is_answering: Some(false), paused_for, ..served };
        let shown = texts(paused, None);
        assert_eq!(shown[0], "gives no usable answer");
        assert!(shown[1].starts_with("reached; next call from 2") && shown[1].ends_with(" UTC on"));
    }

    #[rstest]
    #[case(1, "1 second")]
    #[case(5, "5 seconds")]
    #[case(119, "119 seconds")]
    #[case(120, "2 minutes")]
    #[case(7199, "119 minutes")]
    #[case(7200, "2 hours")]
    fn spans_are_in_words(#[case] seconds: u64, #[case] words: &str) {
        assert_eq!(span(Duration::from_secs(seconds)), words);
    }

    #[rstest]
    #[case(1, "1 second")]
    #[case(119, "119 seconds")]
    #[case(121, "3 minutes")]
    #[case(3958, "66 minutes")]
    #[case(7199, "2 hours")]
    #[case(7200, "2 hours")]
    #[case(7201, "3 hours")]
    fn a_wait_is_not_told_too_short(#[case] seconds: u64, #[case] words: &str) {
        assert_eq!(wait_text(seconds), words);
    }
}
