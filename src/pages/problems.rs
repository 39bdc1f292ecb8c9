//! The pages of problems: all of them, what one means, and one that has just happened.

use askama::Template;

use super::{Frame, HtmlPage, PageAction, StatusCard};

/// What is fixed for a problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemSummary {
    /// The stable code.
    pub(crate) code: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
    /// Title.
    pub(crate) title: &'static str,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
    /// What it means.
    pub(crate) guide: ProblemGuide,
}

/// The words for a problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemGuide {
    /// What it means.
    pub(crate) meaning: &'static str,
    /// Where it usually comes from.
    pub(crate) causes: &'static [&'static str],
    /// What to check.
    pub(crate) checks: &'static [&'static str],
    /// Whether to repeat the request.
    pub(crate) again: &'static str,
}

/// All problems.
#[derive(Debug, Template)]
#[template(path = "problems.html")]
pub(crate) struct ProblemListPage {
    pub(crate) frame: Frame,
    pub(crate) problems: Vec<ProblemSummary>,
}

/// A problem: what it means, and what is known about one occurrence.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub(crate) struct ProblemPage {
    pub(crate) frame: Frame,
    pub(crate) problem: ProblemSummary,
    /// `None` on the page that explains the problem.
    pub(crate) occurrence: Option<ProblemOccurrence>,
    /// How the technical user is, where that matters.
    pub(crate) card: Option<StatusCard>,
}

/// What is known about one occurrence.
#[derive(Debug)]
pub(crate) struct ProblemOccurrence {
    /// What happened, where, what to do; `None` if the card of the technical user says it.
    pub(crate) detail: Option<String>,
    /// Members of the request, each with what is wrong.
    pub(crate) fields: Vec<[String; 2]>,
    /// CF's own errors.
    pub(crate) cf_errors: Vec<String>,
    /// After which time to ask again, in words.
    pub(crate) wait: Option<String>,
    /// The correlation id of the request.
    pub(crate) correlation: String,
    /// What a person can do next.
    pub(crate) action: Option<PageAction>,
}

impl ProblemPage {
    /// Whether the card says what happened.
    fn told_by_card(&self) -> bool {
        self.occurrence.as_ref().is_some_and(|happened| happened.detail.is_none())
    }
}

impl ProblemSummary {
    /// Returns the path of the page about it, which is the `type` of its documents.
    pub(crate) fn path(&self) -> String {
        format!("/problems/{}", self.code.replace('_', "-"))
    }
}

impl HtmlPage for ProblemListPage {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl HtmlPage for ProblemPage {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
