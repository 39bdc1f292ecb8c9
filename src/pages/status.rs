//! The card of the technical user: how it is, why, and what to do.

use askama::Template;

use super::{Frame, HtmlPage};

/// How the technical user of one destination is, in words.
#[derive(Clone, Debug)]
pub(crate) struct StatusCard {
    /// How serious it is.
    pub(crate) mood: StatusMood,
    /// The state in a few words.
    pub(crate) state: String,
    /// What is known; `None` if there is nothing to tell.
    pub(crate) cause: Option<String>,
    /// What to do.
    pub(crate) next_step: Option<String>,
    /// What else is known: a name and a text.
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// How serious a state is. The colour follows from it; the words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusMood {
    /// Nothing to do.
    Good,
    /// It passes by itself, or is not known yet.
    Waiting,
    /// Somebody has to do something.
    Bad,
}

/// The card as a page of its own: other pages take it from there to show it anew.
#[derive(Debug, Template)]
#[template(path = "status_page.html")]
pub(crate) struct StatusHtml {
    pub(crate) frame: Frame,
    pub(crate) card: StatusCard,
}

impl StatusMood {
    /// The class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "warn",
            Self::Bad => "bad",
        }
    }
}

impl StatusCard {
    pub(super) fn class(&self) -> &'static str {
        self.mood.class()
    }
}

impl HtmlPage for StatusHtml {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
