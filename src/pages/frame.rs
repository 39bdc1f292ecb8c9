//! What stands around the content of every page: navigation, person, version.

use std::sync::Arc;

use super::assets::{Asset, ICON, SCRIPT, STYLE};

/// What all pages of this process share; a clone is shallow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Site {
    prefix: Arc<str>,
    instance: Option<u32>,
    notice: Option<Arc<str>>,
}

/// The frame of one page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    site: Site,
    section: PageSection,
    script: PageScript,
    person: Option<Person>,
    names_origin: bool,
    says_notice: bool,
}

/// Where a page stands in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageSection {
    /// The list of spaces.
    Spaces,
    /// The destinations.
    Destinations,
    /// The list of problems.
    Problems,
    /// The API.
    Api,
    /// None of them, or a page below one of them.
    Other,
}

/// What the script of a page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageScript {
    /// The page has none.
    None,
    /// It filters and copies.
    Local,
    /// It also asks the broker for news.
    Live,
    /// It asks the broker for what a person wants.
    OnDemand,
}

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// Name of the user, if the token has one.
    pub(crate) name: Option<String>,
    /// The path of the logout; `None` if the broker has no session to end.
    pub(crate) log_out: Option<String>,
}

/// What a person can do next.
#[derive(Clone, Debug)]
pub(crate) struct PageAction {
    /// What it says.
    pub(crate) label: &'static str,
    /// Where it leads.
    pub(crate) url: String,
}

/// An entry of the navigation.
#[derive(Clone, Debug)]
pub(super) struct NavigationLink {
    pub(super) label: &'static str,
    pub(super) url: String,
    pub(super) is_current: bool,
}

impl Site {
    /// `prefix`: the path under which the broker is reached, without a slash at its end.
    pub(crate) fn new(prefix: &str, instance: Option<u32>) -> Self {
        Self { prefix: Arc::from(prefix), instance, notice: None }
    }

    /// Tells people who are not logged in why nobody can log in.
    #[must_use]
    pub(crate) fn with_notice(mut self, notice: Option<String>) -> Self {
        self.notice = notice.map(Arc::from);
        self
    }

    /// Returns the address of one of the broker's paths, on the host that the browser sees.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Begins a page.
    pub(crate) fn frame(&self, section: PageSection, script: PageScript) -> Frame {
        let site = self.clone();
        let (person, names_origin, says_notice) = (None, false, true);
        Frame { site, section, script, person, names_origin, says_notice }
    }
}

impl Frame {
    /// Names the person who looks at the page.
    #[must_use]
    pub(crate) fn seen_by(mut self, person: Option<Person>) -> Self {
        self.person = person;
        self
    }

    /// Says that a form of the page changes something: the browser must name the origin of the page
    /// when it sends it.
    #[must_use]
    pub(crate) fn naming_origin(mut self) -> Self {
        self.names_origin = true;
        self
    }

    /// Leaves the notice out: the page itself says it.
    #[must_use]
    pub(crate) fn without_notice(mut self) -> Self {
        self.says_notice = false;
        self
    }

    pub(super) fn notice(&self) -> Option<&str> {
        let is_wanted = self.says_notice && self.person.is_none();
        self.site.notice.as_deref().filter(|_| is_wanted)
    }

    /// Returns whether the browser may name the origin of the page to the broker.
    pub(crate) fn names_origin(&self) -> bool {
        self.names_origin
    }

    /// Returns what the script of the page may do. It asks for news in a session of the broker
    /// only: an approuter takes every request for a sign of the person and would never end its
    /// session.
    pub(crate) fn script(&self) -> PageScript {
        match (self.script, self.log_out()) {
            (PageScript::Live, None) => PageScript::Local,
            (script, _) => script,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.script() == PageScript::Live
    }

    /// Returns the address of one of the broker's paths.
    pub(crate) fn link(&self, path: &str) -> String {
        self.site.link(path)
    }

    pub(super) fn asset(&self, asset: &Asset) -> String {
        self.site.link(&format!("/assets/{}", asset.name()))
    }

    pub(super) fn style(&self) -> String {
        self.asset(&STYLE)
    }

    pub(super) fn icon(&self) -> String {
        self.asset(&ICON)
    }

    pub(super) fn script_file(&self) -> Option<String> {
        (self.script != PageScript::None).then(|| self.asset(&SCRIPT))
    }

    pub(super) fn navigation(&self) -> [NavigationLink; 4] {
        let pages = [
            ("Spaces", "/spaces", PageSection::Spaces),
            ("Destinations", "/destinations", PageSection::Destinations),
            ("Problems", "/problems", PageSection::Problems),
            ("API", "/docs", PageSection::Api),
        ];
        pages.map(|(label, path, section)| NavigationLink {
            label,
            url: self.link(path),
            is_current: section == self.section,
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.person.as_ref()?.name.as_deref()
    }

    pub(super) fn log_out(&self) -> Option<&str> {
        self.person.as_ref()?.log_out.as_deref()
    }

    /// The version and the instance, for people who are known.
    pub(super) fn build(&self) -> Option<String> {
        self.person.as_ref()?;
        let version = env!("CARGO_PKG_VERSION");
        Some(match self.site.instance {
            Some(instance) => format!("version {version}, instance {instance}"),
            None => format!("version {version}"),
        })
    }
}
