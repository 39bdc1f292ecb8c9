//! Label selectors: `k=v`, `k!=v`, `k in (a,b)`, `k notin (a)`, `k`, `!k`. A comma between them
//! means AND.

use crate::capi::metadata::{key_error, value_error};
use crate::world::Metadata;

/// The most requirements of one selector (source).
const MOST: usize = 50;
const INVALID: &str = "Invalid label_selector value";

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    key: String,
    check: Check,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Among(Vec<String>),
    NotAmong(Vec<String>),
    Present,
    Absent,
}

impl Requirement {
    /// Tells whether the labels meet the requirement. A missing label meets `!=` and `notin`.
    pub(crate) fn met_by(&self, metadata: &Metadata) -> bool {
        let mut labels = metadata.labels.iter();
        let value = labels.find(|(key, _)| *key == self.key).map(|(_, value)| value);
        match &self.check {
            Check::Among(values) => value.is_some_and(|value| values.contains(value)),
            Check::NotAmong(values) => !value.is_some_and(|value| values.contains(value)),
            Check::Present => value.is_some(),
            Check::Absent => value.is_none(),
        }
    }

    fn fault(&self) -> Option<String> {
        let values = match &self.check {
            Check::Among(values) | Check::NotAmong(values) => values.as_slice(),
            Check::Present | Check::Absent => &[],
        };
        key_error(&self.key).or_else(|| values.iter().find_map(|value| value_error(value)))
    }
}

/// Parses a selector as lists of routes do: CC does not check keys and values there. `None` if the
/// selector has no form at all, which CC does not handle.
pub(crate) fn parse_unchecked(text: &str) -> Option<Vec<Requirement>> {
    split(text).iter().map(|part| requirement(part)).collect()
}

/// Parses a selector. The error is CC's text.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let parts = split(text);
    if parts.is_empty() {
        return Err("Missing label_selector value".to_owned());
    }
    if parts.len() > MOST {
        return Err(format!("Too many label_selector requirements (maximum is {MOST})"));
    }
    let mut requirements = Vec::new();
    for part in &parts {
        let requirement = requirement(part).ok_or(INVALID)?;
        match requirement.fault() {
            Some(fault) => return Err(fault),
            None => requirements.push(requirement),
        }
    }
    Ok(requirements)
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            '(' if depth == 0 && rest.contains(')') => depth = 1,
            ')' => depth = 0,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn requirement(text: &str) -> Option<Requirement> {
    let (key, check) = set(text).or_else(|| absent(text)).or_else(|| comparison(text))?;
    Some(Requirement { key, check })
}

/// Reads `k in (…)` and `k notin (…)`.
fn set(text: &str) -> Option<(String, Check)> {
    let read = |separator: &str| {
        let (key, rest) = text.split_once(separator)?;
        Some((key.to_owned(), listed(rest.strip_suffix(')')?)))
    };
    let among = read(" in (").map(|(key, values)| (key, Check::Among(values)));
    among.or_else(|| read(" notin (").map(|(key, values)| (key, Check::NotAmong(values))))
}

/// Reads `!k`.
fn absent(text: &str) -> Option<(String, Check)> {
    let key = text.strip_prefix('!')?;
    let good = !key.is_empty() && key.chars().all(is_key_letter);
    good.then(|| (key.to_owned(), Check::Absent))
}

/// Reads `k`, `k=v`, `k==v` and `k!=v`.
fn comparison(text: &str) -> Option<(String, Check)> {
    let end = text.find(|letter| !is_key_letter(letter)).unwrap_or(text.len());
    let (key, rest) = text.split_at_checked(end).filter(|(key, _)| !key.is_empty())?;
    let equal = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='));
    let check = match (equal, rest.strip_prefix("!=")) {
        (Some(value), _) => Check::Among(listed(value)),
        (None, Some(value)) => Check::NotAmong(listed(value)),
        (None, None) if rest.is_empty() => Check::Present,
        (None, None) => return None,
    };
    Some((key.to_owned(), check))
}

fn is_key_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/')
}

/// Splits a list of values as Ruby's `split` does: empty values at the end are dropped.
fn listed(values: &str) -> Vec<String> {
    let trimmed = values.trim_end_matches(',');
    if trimmed.is_empty() {
        return Vec::new();
    }
    trimmed.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::world::Metadata;

    fn matches(selector: &str) -> bool {
        let labels = [("x.test/tenant", "t1"), ("k", "v")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = Metadata { labels: labels.to_vec(), ..Metadata::default() };
        let requirements = parse(selector).unwrap();
        requirements.iter().all(|requirement| requirement.met_by(&metadata))
    }

    #[test]
    fn each_form_of_selector_selects_its_labels() {
        for (selector, expected) in [
            ("k=v", true),
            ("k==v", true),
            ("k=w", false),
            ("k!=w", true),
            ("k!=v", false),
            ("missing!=v", true),
            ("x.test/tenant in (t0,t1)", true),
            ("x.test/tenant in (t0)", false),
            ("x.test/tenant notin (t0)", true),
            ("k", true),
            ("!k", false),
            ("!missing", true),
            ("k=v,x.test/tenant in (t1,t2),!missing", true),
            ("k=v,missing", false),
        ] {
            assert_eq!(matches(selector), expected, "{selector}");
        }
    }

    #[test]
    fn an_invalid_selector_is_refused_with_the_recorded_text() {
        for selector in ["a in (", "!!", "a b", "=v", "!"] {
            assert_eq!(parse(selector).unwrap_err(), "Invalid label_selector value", "{selector}");
        }
        assert_eq!(parse("").unwrap_err(), "Missing label_selector value");
        let fault = parse("k in (a, b)").unwrap_err();
        assert_eq!(fault, "' b' contains invalid characters");
    }
}
