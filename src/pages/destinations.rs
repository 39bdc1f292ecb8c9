//! The page of destinations: how each technical user is, what happened last, and the release of one
//! logon.

use askama::Template;

use super::{Frame, HtmlPage, StatusCard, StatusMood};

/// All configured destinations.
#[derive(Debug, Template)]
#[template(path = "destinations.html")]
pub(crate) struct DestinationsHtml {
    pub(crate) frame: Frame,
    /// When the page was made.
    pub(crate) made_at: String,
    /// What came of the release from which the person comes.
    pub(crate) outcome: Option<ReleaseNote>,
    pub(crate) destinations: Vec<DestinationCard>,
    /// Why there is no button, where the person may not release or the broker has no key.
    pub(crate) no_release: Option<String>,
}

/// What came of a release.
#[derive(Debug)]
pub(crate) struct ReleaseNote {
    /// How serious it is.
    pub(crate) mood: StatusMood,
    /// What happened and what it counts.
    pub(crate) text: String,
    /// Title and path of the problem, if it did not succeed.
    pub(crate) problem: Option<(&'static str, String)>,
}

/// One destination.
#[derive(Debug)]
pub(crate) struct DestinationCard {
    pub(crate) name: String,
    pub(crate) card: StatusCard,
    /// The newest first.
    pub(crate) events: Vec<EventLine>,
    /// `None` where the person may not release, or the broker has no key.
    pub(crate) offer: Option<ReleaseOffer>,
}

/// What happened to a destination.
#[derive(Debug)]
pub(crate) struct EventLine {
    /// RFC 3339, for programs.
    pub(crate) at: String,
    /// The same for people; of several events the first and the last.
    pub(crate) when: String,
    pub(crate) mood: StatusMood,
    pub(crate) text: String,
    /// Title and path of the problem.
    pub(crate) problem: Option<(&'static str, String)>,
}

/// The form that releases one logon.
#[derive(Debug)]
pub(crate) struct ReleaseOffer {
    /// The path of the form.
    pub(crate) url: String,
    /// The name of the field that holds the token.
    pub(crate) field: &'static str,
    /// The token.
    pub(crate) token: String,
    /// What it costs, said before.
    pub(crate) costs: Vec<String>,
}

impl ReleaseNote {
    fn class(&self) -> &'static str {
        self.mood.class()
    }
}

impl EventLine {
    fn class(&self) -> &'static str {
        self.mood.class()
    }
}

impl HtmlPage for DestinationsHtml {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
