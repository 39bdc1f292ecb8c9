//! What stands above and below a list: filter, count, and the way to its other pages.

use crate::overview::view::{Paging, RowQuery, RowWindow};

/// Filter, count and pages of a list.
#[derive(Debug)]
pub(super) struct RowTools<'a> {
    /// The address of the page.
    pub(super) action: String,
    /// What is counted.
    pub(super) unit: &'static str,
    filter: Option<&'a str>,
    window: Option<RowWindow>,
    shown: usize,
    total: usize,
    next: Option<usize>,
}

impl<'a> RowTools<'a> {
    /// `rows`: how many are on the page, and how many match.
    pub(super) fn new(
        action: String,
        unit: &'static str,
        query: &'a RowQuery,
        rows: (usize, usize),
    ) -> Self {
        let filter = query.filter.as_deref().filter(|text| !text.trim().is_empty());
        Self {
            action,
            unit,
            filter,
            window: query.window,
            shown: rows.0,
            total: rows.1,
            next: None,
        }
    }

    /// Names the page after this one.
    pub(super) fn followed_by(mut self, paging: Option<Paging>) -> Self {
        self.next = paging.and_then(|paging| paging.next);
        self
    }

    /// The text of the filter.
    pub(super) fn filter(&self) -> &str {
        self.filter.unwrap_or_default()
    }

    /// Returns whether nothing was asked for and nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0 && self.filter.is_none()
    }

    /// Returns whether the page has all rows, so that its script can filter them.
    pub(super) fn is_complete(&self) -> bool {
        self.shown == self.total && self.filter.is_none()
    }

    /// How many rows are shown.
    pub(super) fn count(&self) -> String {
        let Self { shown, total, unit, .. } = self;
        match self.filter {
            Some(_) if shown == total => format!("{total} {unit} match the filter"),
            Some(_) => format!("{shown} of {total} {unit} that match the filter"),
            None => format!("{shown} of {total} {unit}"),
        }
    }

    /// The address of the page before this one.
    pub(super) fn previous(&self) -> Option<String> {
        let window = self.window.filter(|window| window.page > 1)?;
        Some(self.page(window, window.page - 1))
    }

    /// The address of the page after this one, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        Some(self.page(self.window?, self.next?))
    }

    fn page(&self, window: RowWindow, page: usize) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.filter.map(|filter| ("filter", filter)))
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &window.per_page.to_string())
            .finish();
        format!("{}?{query}", self.action)
    }
}

/// Writes a time of CF for people: to the minute, in UTC. Another form stays as it is.
pub(super) fn moment(text: &str) -> String {
    let short = text.strip_suffix('Z').and_then(|text| text.get(..16));
    match short.and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {time} UTC"),
        None => text.to_owned(),
    }
}
