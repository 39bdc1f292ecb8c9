//! The pages of a logout: the one that leads over to XSUAA, and the one to which XSUAA leads back.

use askama::Template;

use super::{Frame, HtmlPage};

/// Opens XSUAA's logout by itself. The form of the logout does not lead there: browsers apply
/// `form-action` to every redirect that follows, and XSUAA may lead to an identity provider.
#[derive(Debug, Template)]
#[template(path = "logged_out.html")]
pub(crate) struct LoggedOutHtml {
    pub(crate) frame: Frame,
    /// The address of XSUAA's logout; `None` on the page to which it leads back.
    pub(crate) next: Option<String>,
}

impl HtmlPage for LoggedOutHtml {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
