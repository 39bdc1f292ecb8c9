//! The query of a list: allowed names, paging, order, timestamps, selector, include. Complaints
//! come in CC's order. `page` cuts the list.

mod page;

use crate::capi::errors::{ApiRefusal, bad_query, unknown_error};
use crate::capi::query::{Param, Query};
use crate::capi::selector::{self, Requirement};

/// The largest `per_page`.
const MOST_PER_PAGE: usize = 5000;
const DEFAULT_PER_PAGE: usize = 50;
/// The parameters of every list, in the order in which CC names them.
const COMMON: &[&str] = &["page", "per_page", "order_by", "created_ats", "updated_ats", "guids"];
const PAGING: &[&str] = &["page", "per_page", "order_by"];

/// The parameters of one kind of list, in addition to the common ones.
#[derive(Debug)]
pub(crate) struct ListRule {
    /// Additional names, in the order in which CC names them.
    pub(crate) filters: &'static [&'static str],
    /// The names that are not comma lists.
    pub(crate) plain: &'static [&'static str],
    pub(crate) order: &'static [&'static str],
    pub(crate) includes: &'static [&'static str],
    pub(crate) selector: SelectorCheck,
}

/// Whether CC checks the label selector of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectorCheck {
    /// Keys and values must have the form of labels.
    Full,
    /// They are not checked. A selector without a form is CC's 500 (recorded).
    None,
}

/// A valid query of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    page: usize,
    per_page: usize,
    /// The field and the sign.
    order: Option<(String, char)>,
    filters: Vec<(String, Filter)>,
    selector: Vec<Requirement>,
}

/// One filter.
#[derive(Clone, Debug)]
enum Filter {
    Among(Vec<String>),
    Plain(String),
    Compare(Vec<(String, String)>),
}

impl ListQuery {
    /// Reads a query.
    pub(crate) fn read(query: &Query, rule: &ListRule) -> Result<Self, ApiRefusal> {
        Self::read_or(query, rule, bad_query)
    }

    /// Sets the order of a query that names none.
    #[must_use]
    pub(crate) fn ordered(mut self, field: &str) -> Self {
        self.order.get_or_insert_with(|| (field.to_owned(), '+'));
        self
    }

    /// Reads a query. A few lists have a refusal of their own for a bad one.
    pub(crate) fn read_or(
        query: &Query,
        rule: &ListRule,
        refusal: fn(&str) -> ApiRefusal,
    ) -> Result<Self, ApiRefusal> {
        let mut faults = Vec::new();
        let page = whole(query, "page", "Page", &mut faults).unwrap_or(1);
        let per_page =
            whole(query, "per_page", "Per page", &mut faults).unwrap_or(DEFAULT_PER_PAGE);
        if per_page > MOST_PER_PAGE {
            faults.push(format!("Per page must be between 1 and {MOST_PER_PAGE}"));
        }
        let order = order(query, rule, &mut faults);
        let filters = filters(query, rule);
        timestamps("created_ats", "Created ats", &filters, &mut faults);
        timestamps("updated_ats", "Updated ats", &filters, &mut faults);
        let selector = match (query.text("label_selector"), rule.selector) {
            (Some(text), SelectorCheck::Full) => selector::parse(text).unwrap_or_else(|fault| {
                faults.push(fault);
                Vec::new()
            }),
            (Some(text), SelectorCheck::None) => {
                selector::parse_unchecked(text).ok_or_else(unknown_error)?
            }
            (None, _) => Vec::new(),
        };
        let allowed: Vec<&str> = COMMON.iter().chain(rule.filters).copied().collect();
        faults.extend(unknown_parameters(query, &allowed));
        let list = Self { page, per_page, order, filters, selector };
        faults.extend(include_faults(list.among("include"), rule.includes));
        if let Some(kind) = query.text("lifecycle_type")
            && rule.plain.contains(&"lifecycle_type")
            && !["buildpack", "docker", "cnb"].contains(&kind)
        {
            faults.push(format!("Invalid lifecycle_type: '{kind}'"));
        }
        if faults.is_empty() {
            return Ok(list);
        }
        Err(refusal(&faults.join(", ")))
    }
}

/// Returns the complaint about parameters that are not allowed.
pub(crate) fn unknown_parameters(query: &Query, allowed: &[&str]) -> Option<String> {
    let names = query.entries().iter().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    (!unknown.is_empty()).then(|| {
        format!(
            "Unknown query parameter(s): '{}'. Valid parameters are: '{}'",
            unknown.join("', '"),
            allowed.join("', '")
        )
    })
}

/// Returns the complaints about `include`.
pub(crate) fn include_faults(asked: Option<&[String]>, valid: &[&str]) -> Vec<String> {
    let asked = asked.unwrap_or_default();
    let mut faults = Vec::new();
    for (index, name) in asked.iter().enumerate() {
        let before = asked.iter().take(index).filter(|other| *other == name).count();
        if !valid.contains(&name.as_str()) {
            faults.push(format!(
                "Invalid included resource: '{name}'. Valid included resources are: '{}'",
                valid.join("', '")
            ));
        } else if before == 1 {
            faults.push(format!("Duplicate included resource: '{name}'"));
        }
    }
    faults
}

/// Splits a comma list. Each value is decoded a second time.
pub(crate) fn comma_list(text: &str) -> Vec<String> {
    let decode = |value: &str| {
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        decoded.into_owned()
    };
    let mut values = text.split(',');
    let first = values.next().map(decode);
    first.into_iter().chain(values.map(|value| decode(value.trim_start()))).collect()
}

/// Reads a positive number as Ruby's `to_i` does: leading digits count, the rest is ignored.
fn whole(query: &Query, name: &str, label: &str, faults: &mut Vec<String>) -> Option<usize> {
    let text = query.text(name)?.trim_start();
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse().ok().filter(|number: &usize| *number > 0);
    if number.is_none() {
        faults.push(format!("{label} must be a positive integer"));
    }
    number
}

fn order(query: &Query, rule: &ListRule, faults: &mut Vec<String>) -> Option<(String, char)> {
    let text = query.text("order_by").filter(|text| !text.trim().is_empty())?;
    let (sign, field) = match text.strip_prefix('-') {
        Some(field) => ('-', field),
        None => ('+', text.strip_prefix('+').unwrap_or(text)),
    };
    if rule.order.contains(&field) {
        return Some((field.to_owned(), sign));
    }
    let valid: Vec<String> = rule.order.iter().map(|field| format!("'{field}'")).collect();
    faults.push(format!("Order by can only be: {}", valid.join(", ")));
    None
}

fn filters(query: &Query, rule: &ListRule) -> Vec<(String, Filter)> {
    let entries = query.entries().iter();
    entries
        .filter(|(name, _)| !PAGING.contains(&name.as_str()))
        .map(|(name, param)| {
            let filter = match param {
                Param::Text(text) if rule.plain.contains(&name.as_str()) => {
                    Filter::Plain(text.clone())
                }
                Param::Text(text) => Filter::Among(comma_list(text)),
                Param::Nested(pairs) => Filter::Compare(pairs.clone()),
            };
            (name.clone(), filter)
        })
        .collect()
}

fn timestamps(name: &str, label: &str, filters: &[(String, Filter)], faults: &mut Vec<String>) {
    let Some((_, filter)) = filters.iter().find(|(key, _)| key == name) else {
        return;
    };
    let bad = format!(
        "{label} has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'"
    );
    match filter {
        Filter::Among(times) => {
            faults.extend(times.iter().filter(|time| !is_timestamp(time)).map(|_| bad.clone()));
        }
        Filter::Compare(pairs) => {
            for (operator, bound) in pairs {
                if !["lt", "gt", "lte", "gte"].contains(&operator.as_str()) {
                    faults.push(format!("{label} Invalid relational operator: '{operator}'"));
                }
                if bound.contains(',') {
                    faults.push(format!(
                        "{label} only accepts one value when using a relational operator"
                    ));
                } else if !is_timestamp(bound) {
                    faults.push(bad.clone());
                }
            }
        }
        Filter::Plain(_) => {}
    }
}

fn is_timestamp(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(letter, wanted)| match wanted {
            'd' => letter.is_ascii_digit(),
            _ => letter == wanted,
        })
}
