//! What a list shows: the filtered and ordered items of one page, and `pagination` with absolute
//! hrefs. The hrefs are built from the query as CC understood it.

use crate::capi::json::{Json, object};
use crate::capi::list::{Filter, ListQuery};
use crate::capi::query::encode;
use crate::world::{Resource, same_text};

impl ListQuery {
    /// Tells whether a filter by exact text accepts the value. Without the filter every value
    /// passes.
    pub(crate) fn admits(&self, name: &str, value: &str) -> bool {
        self.among(name).is_none_or(|values| values.iter().any(|wanted| wanted == value))
    }

    /// As [`ListQuery::admits`], for fields where the database ignores case.
    pub(crate) fn admits_any_case(&self, name: &str, value: &str) -> bool {
        self.among(name).is_none_or(|values| values.iter().any(|wanted| same_text(wanted, value)))
    }

    /// Returns the values of a comma list.
    pub(crate) fn among(&self, name: &str) -> Option<&[String]> {
        match &self.filters.iter().find(|(key, _)| key == name)?.1 {
            Filter::Among(values) => Some(values),
            Filter::Plain(_) | Filter::Compare(_) => None,
        }
    }

    /// Returns the text of a filter that is not a list.
    pub(crate) fn plain(&self, name: &str) -> Option<&str> {
        match &self.filters.iter().find(|(key, _)| key == name)?.1 {
            Filter::Plain(text) => Some(text),
            Filter::Among(_) | Filter::Compare(_) => None,
        }
    }

    pub(crate) fn includes(&self, what: &[&str]) -> bool {
        let asked = self.among("include").unwrap_or_default();
        asked.iter().any(|name| what.contains(&name.as_str()))
    }

    /// Applies the common filters, sorts, and cuts the page. Returns the page and `pagination`.
    pub(crate) fn cut<'a, T: Resource>(&self, items: Vec<&'a T>, path: &str) -> (Vec<&'a T>, Json) {
        let mut items: Vec<&T> = items.into_iter().filter(|item| self.keeps(*item)).collect();
        self.sort(&mut items);
        let total = items.len();
        let start = (self.page - 1).saturating_mul(self.per_page);
        let shown: Vec<&T> = items.into_iter().skip(start).take(self.per_page).collect();
        // CC counts over the rows of the page: a page past the end has the total 0 (recorded).
        let total = if shown.is_empty() { 0 } else { total };
        (shown, self.pagination(total, path))
    }

    fn keeps(&self, item: &impl Resource) -> bool {
        let stamp = item.stamp();
        self.admits("guids", item.guid())
            && item.name().is_none_or(|name| self.admits_any_case("names", name))
            && self.admits_time("created_ats", &stamp.created_at)
            && self.admits_time("updated_ats", &stamp.updated_at)
            && self.selector.iter().all(|requirement| requirement.met_by(item.metadata()))
    }

    /// Compares to the second. Both sides have the same format, so a comparison of texts is enough.
    fn admits_time(&self, name: &str, time: &str) -> bool {
        match self.filters.iter().find(|(key, _)| key == name) {
            Some((_, Filter::Compare(pairs))) => pairs.iter().all(|(operator, bound)| {
                let bound = bound.as_str();
                match operator.as_str() {
                    "lt" => time < bound,
                    "lte" => time <= bound,
                    "gt" => time > bound,
                    _ => time >= bound,
                }
            }),
            Some((_, Filter::Among(times))) => times.iter().any(|wanted| wanted == time),
            Some((_, Filter::Plain(_))) | None => true,
        }
    }

    fn sort<T: Resource>(&self, items: &mut [&T]) {
        let Some((field, sign)) = &self.order else {
            return;
        };
        items.sort_by(|left, right| {
            let (first, second) = (left.stamp(), right.stamp());
            let order = match field.as_str() {
                "name" => {
                    left.name().map(str::to_lowercase).cmp(&right.name().map(str::to_lowercase))
                }
                "state" => left.state().cmp(&right.state()),
                "updated_at" => first.updated_order.cmp(&second.updated_order),
                _ => first.created_order.cmp(&second.created_order),
            };
            if *sign == '-' { order.reverse() } else { order }
        });
    }

    fn pagination(&self, total: usize, path: &str) -> Json {
        let pages = total.div_ceil(self.per_page).max(1);
        let href = |page: usize| {
            let mut parts = vec![format!("page={page}"), format!("per_page={}", self.per_page)];
            if let Some((field, sign)) = &self.order {
                parts.push(format!("order_by={}", encode(&format!("{sign}{field}"))));
            }
            parts.extend(self.filters.iter().flat_map(|(name, filter)| filter.written(name)));
            parts.sort();
            object! {"href" => format!("{path}?{}", parts.join("&"))}
        };
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        object! {
            "total_results" => number(total),
            "total_pages" => number(pages),
            "first" => href(1),
            "last" => href(pages),
            "next" => (self.page < pages).then(|| href(self.page + 1)),
            "previous" => (self.page > 1).then(|| href(self.page - 1)),
        }
    }
}

impl Filter {
    /// Returns the filter as hrefs show it. Commas within a value stay encoded twice.
    fn written(&self, name: &str) -> Vec<String> {
        let pair = |name: &str, value: &str| format!("{}={}", encode(name), encode(value));
        match self {
            Self::Among(values) => {
                let values: Vec<String> = values.iter().map(|v| v.replace(',', "%2C")).collect();
                vec![pair(name, &values.join(","))]
            }
            Self::Plain(value) => vec![pair(name, value)],
            Self::Compare(pairs) => pairs
                .iter()
                .map(|(operator, bound)| pair(&format!("{name}[{operator}]"), bound))
                .collect(),
        }
    }
}
