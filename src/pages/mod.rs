//! The pages for people: views, templates and assets. Pure: no I/O, no async, no HTTP.
//!
//! Invariant: every text is escaped by askama, and no page holds a script, a style or an address of
//! another server. Everything can be read without the script. `http` fills the views and answers
//! with them.

mod api;
pub(crate) mod assets;
mod destinations;
mod frame;
mod logged_out;
mod problems;
mod rows;
mod spaces;
mod status;

pub(crate) use api::{ApiHtml, ApiReference};
pub(crate) use destinations::{
    DestinationCard, DestinationsHtml, EventLine, ReleaseNote, ReleaseOffer,
};
pub(crate) use frame::{Frame, PageAction, PageScript, PageSection, Person, Site};
pub(crate) use logged_out::LoggedOutHtml;
pub(crate) use problems::{
    ProblemGuide, ProblemListPage, ProblemOccurrence, ProblemPage, ProblemSummary,
};
pub(crate) use spaces::{SpaceHtml, SpaceListHtml};
pub(crate) use status::{StatusCard, StatusHtml, StatusMood};

/// A page inside the frame that all pages share.
pub(crate) trait HtmlPage: askama::Template {
    /// Returns what stands around the content.
    fn frame(&self) -> &Frame;
}

#[cfg(test)]
mod tests;
