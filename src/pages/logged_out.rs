//! The page that a logout leads over to XSUAA.

use askama::Template;

use super::{Frame, HtmlPage};

/// Opens XSUAA's logout by itself. The form of the logout does not lead there: browsers apply
/// `form-action` to every redirect that follows, and XSUAA may lead to an identity provider.
#[derive(Debug, Template)]
#[template(path = "logged_out.html")]
pub(crate) struct LoggedOutHtml {
    pub(crate) frame: Frame,
    /// The address of XSUAA's logout.
    pub(crate) next: String,
}

impl HtmlPage for LoggedOutHtml {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
