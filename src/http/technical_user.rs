//! How a technical user is, in the words of the pages for people.
//!
//! Invariant: no secret, no text of another system. What to do comes from the refusal itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    destination::SourceKind,
    http::{error_mapping::code_of_reason, extract::wall_time},
    pages::{StatusCard, StatusMood},
    token::{DestinationStatus, Freshness, GuardState, Renewal, clock_time},
};

/// One failed refresh is a disturbance.
const FAILURES_THAT_TELL: u32 = 2;

/// Returns the card of a destination's technical user.
pub(crate) fn card_of(status: &DestinationStatus) -> StatusCard {
    let (mood, state) = state_of(status);
    let cause = match mood {
        StatusMood::Good => None,
        StatusMood::Waiting | StatusMood::Bad => cause_of(status),
    };
    StatusCard { mood, state, cause, facts: facts_of(status) }
}

fn state_of(status: &DestinationStatus) -> (StatusMood, String) {
    let until = |word: &str| match status.guard_opens_in {
        Some(wait) => format!("{word} until {}", minute(&clock_time(Instant::now() + wait))),
        None => word.to_owned(),
    };
    let (mood, word) = match (status.guard, status.freshness) {
        (GuardState::Rejected, _) => (StatusMood::Bad, "Logon refused".to_owned()),
        (GuardState::Blocked, _) => (StatusMood::Bad, "Logon not possible".to_owned()),
        (GuardState::Locked, _) => (StatusMood::Bad, until("Locked")),
        (_, Some(Freshness::Fresh | Freshness::Ageing))
            if status.failed_refreshes >= FAILURES_THAT_TELL =>
        {
            (StatusMood::Waiting, "Token valid, but its renewal fails".to_owned())
        }
        (_, Some(Freshness::Fresh)) => (StatusMood::Good, "Healthy".to_owned()),
        (_, Some(Freshness::Ageing)) => (StatusMood::Good, "Healthy, renewing".to_owned()),
        (GuardState::Waiting, _) => (StatusMood::Waiting, until("Login server not usable")),
        (_, Some(Freshness::Expired)) => (StatusMood::Waiting, "Token expired".to_owned()),
        (GuardState::Unknown | GuardState::Good, None) => no_token(status),
    };
    (mood, word)
}

/// The state of a user without a token whose password was not refused.
fn no_token(status: &DestinationStatus) -> (StatusMood, String) {
    match (&status.source, &status.last_refusal) {
        (None, Some(past)) => {
            (StatusMood::Bad, code_of_reason(&past.reason).spec().title.to_owned())
        }
        (Some(_), _) | (None, None) => (StatusMood::Waiting, "Not logged on yet".to_owned()),
    }
}

/// Why it is so, and what to do; a token that still serves is said as well.
fn cause_of(status: &DestinationStatus) -> Option<String> {
    let past = status.last_refusal.as_ref().map(|past| past.hint.as_str());
    let hint = status.guard_hint.as_deref().or(past).filter(|hint| !hint.is_empty())?;
    let serves = match (status.freshness, status.expires_in) {
        (Some(Freshness::Fresh | Freshness::Ageing), Some(left)) => {
            format!(" The present token serves for another {}.", span(left))
        }
        _ => String::new(),
    };
    let mut text = hint.trim_end_matches('.').to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(format!("{text}.{serves}"))
}

fn facts_of(status: &DestinationStatus) -> Vec<(&'static str, String)> {
    let left = status.expires_in.filter(|left| !left.is_zero());
    let token =
        left.map_or_else(|| "no valid token".to_owned(), |left| format!("in {}", span(left)));
    let source = status.source.map_or("not found, or not looked for yet", SourceKind::name);
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
        ("Destination", status.name.to_string()),
        ("Read from", source.to_owned()),
        ("CF login server", login_server(status.guard).to_owned()),
    ];
    if let Some(past) = &status.last_refusal {
        let title = code_of_reason(&past.reason).spec().title;
        facts.push(("Last refusal", format!("{title}, {}", moment(past.ago))));
    }
    facts.extend(status.warning.clone().map(|warning| ("Warning", warning)));
    facts
}

/// What the last logon or refresh says of the login server.
fn login_server(guard: GuardState) -> &'static str {
    match guard {
        GuardState::Waiting => "gives no usable answer",
        GuardState::Unknown => "not asked yet",
        GuardState::Good | GuardState::Rejected | GuardState::Blocked | GuardState::Locked => {
            "answers"
        }
    }
}

fn renewal_text(renewal: Renewal) -> String {
    let Renewal { grant, took, ago } = renewal;
    let grant = match grant {
        "refresh_token" => "refresh token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => "assertion",
        other => other,
    };
    format!("{}, with the {grant}, {} ms", moment(ago), took.as_millis())
}

/// The wall time `ago` before now, to the minute.
fn moment(ago: Duration) -> String {
    let at = wall_time().checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH);
    minute(&humantime::format_rfc3339_seconds(at).to_string())
}

/// An RFC 3339 time in UTC without its seconds.
fn minute(text: &str) -> String {
    match text.get(..16).and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {time} UTC"),
        None => text.to_owned(),
    }
}

/// A time span in words.
fn span(left: Duration) -> String {
    match left.as_secs() {
        0..120 => format!("{} seconds", left.as_secs()),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::{card_of, span};
    use crate::{
        destination::{DestinationName, SourceKind},
        pages::StatusMood,
        token::{DestinationStatus, Freshness, GuardState},
    };

    fn status(guard: GuardState, freshness: Option<Freshness>) -> DestinationStatus {
        DestinationStatus {
            name: DestinationName::parse("CFAPI").unwrap(),
            source: Some(SourceKind::SubaccountLevel),
            user: Some("user".to_owned()),
            origin: None,
            guard,
            guard_opens_in: None,
            guard_hint: Some("change the destination".to_owned()),
            freshness,
            expires_in: freshness.map(|_| Duration::from_secs(660)),
            failed_refreshes: 0,
            warning: None,
            last_renewal: None,
            last_refusal: None,
        }
    }

    #[rstest]
    #[case(GuardState::Good, Some(Freshness::Fresh), StatusMood::Good, "Healthy")]
    #[case(GuardState::Good, Some(Freshness::Ageing), StatusMood::Good, "Healthy, renewing")]
    #[case(GuardState::Waiting, Some(Freshness::Fresh), StatusMood::Good, "Healthy")]
    #[case(GuardState::Waiting, None, StatusMood::Waiting, "Login server not usable")]
    #[case(GuardState::Rejected, None, StatusMood::Bad, "Logon refused")]
    #[case(GuardState::Rejected, Some(Freshness::Fresh), StatusMood::Bad, "Logon refused")]
    #[case(GuardState::Blocked, None, StatusMood::Bad, "Logon not possible")]
    #[case(GuardState::Locked, None, StatusMood::Bad, "Locked")]
    #[case(GuardState::Unknown, None, StatusMood::Waiting, "Not logged on yet")]
    fn each_state_has_words(
        #[case] guard: GuardState,
        #[case] freshness: Option<Freshness>,
        #[case] mood: StatusMood,
        #[case] words: &str,
    ) {
        let card = card_of(&status(guard, freshness));
        assert_eq!((card.mood, card.state.as_str()), (mood, words));
        let cause = card.cause.unwrap_or_default();
        assert_eq!(cause.starts_with("Change the destination."), mood != StatusMood::Good);
        let serves = cause.contains("serves for another 11 minutes");
        assert_eq!(serves, mood == StatusMood::Bad && freshness.is_some(), "{cause}");
    }

    #[test]
    fn spans_are_in_words() {
        let words = [5, 119, 120, 7199, 7200].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(words, ["5 seconds", "119 seconds", "2 minutes", "119 minutes", "2 hours"]);
    }
}
