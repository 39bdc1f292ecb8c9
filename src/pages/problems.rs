//! The pages of problems: all of them, what one means, and one that has just happened.

use askama::Template;

use super::{Frame, HtmlPage, PageAction};

/// What is fixed for a problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemSummary {
    /// The stable code.
    pub(crate) code: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
    /// Title.
    pub(crate) title: &'static str,
}

/// A problem that has just happened, as a page.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub(crate) struct ProblemPage {
    pub(crate) frame: Frame,
    pub(crate) problem: ProblemSummary,
    pub(crate) view: ProblemView,
}

/// What is known about one occurrence.
#[derive(Debug)]
pub(crate) struct ProblemView {
    /// What happened, where, what to do.
    pub(crate) detail: String,
    /// The correlation id of the request.
    pub(crate) correlation: String,
    /// What a person can do next.
    pub(crate) action: Option<PageAction>,
}

impl HtmlPage for ProblemPage {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
