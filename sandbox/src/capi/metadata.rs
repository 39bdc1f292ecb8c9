//! Labels and annotations in bodies: CC's rules for keys and values, and the update in which null
//! removes an entry.

use crate::capi::errors::{ApiRefusal, too_many_annotations, too_many_labels};
use crate::capi::json::Json;
use crate::world::Metadata;

/// The most labels of one resource (source).
const MOST_LABELS: usize = 50;
/// The most annotations of one resource (source).
const MOST_ANNOTATIONS: usize = 200;
/// The longest label value and key name.
const LONGEST: usize = 63;
const LONGEST_PREFIX: usize = 253;
const LONGEST_ANNOTATION: usize = 5000;
/// CC quotes this many characters of a text that is too long.
const QUOTED: usize = 8;

/// What a body says about metadata. `None` removes an entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetadataChange {
    labels: Vec<(String, Option<String>)>,
    annotations: Vec<(String, Option<String>)>,
}

impl MetadataChange {
    /// Reads the member `metadata` of a body. Faults have CC's words and order.
    pub(crate) fn read(body: &Json, faults: &mut Vec<String>) -> Self {
        let Some(metadata) = body.get("metadata") else {
            return Self::default();
        };
        let Some(members) = metadata.members() else {
            faults.push("Metadata must be an object".to_owned());
            return Self::default();
        };
        let strange: Vec<String> = members
            .iter()
            .filter(|(key, _)| key != "labels" && key != "annotations")
            .map(|(key, _)| format!("'{key}'"))
            .collect();
        if !strange.is_empty() {
            faults.push(format!("Metadata has unexpected field(s): {}", strange.join(" ")));
        }
        let labels = entries(metadata, "labels", faults);
        let annotations = entries(metadata, "annotations", faults);
        for (key, value) in &labels {
            push(faults, "label key", key_error(key));
            push(faults, "label value", value.as_deref().and_then(value_error));
        }
        for (key, value) in &annotations {
            let Some(value) = value else { continue };
            if !value.trim().is_empty() {
                push(faults, "annotation key", key_error(key));
            }
            if value.chars().count() > LONGEST_ANNOTATION {
                let fault = too_long(value, LONGEST_ANNOTATION);
                push(faults, "annotation value", Some(fault));
            }
        }
        Self { labels, annotations }
    }

    /// Tells whether a label or an annotation is set, not only removed.
    pub(crate) fn writes(&self) -> bool {
        self.labels.iter().chain(&self.annotations).any(|(_, value)| value.is_some())
    }

    /// Writes the change into the resource. Above a limit nothing is written.
    pub(crate) fn apply(&self, metadata: &mut Metadata) -> Result<(), ApiRefusal> {
        let mut next = metadata.clone();
        update(&mut next.labels, &self.labels);
        update(&mut next.annotations, &self.annotations);
        let grew = |now: usize, before: usize, most: usize| now > before && now > most;
        if grew(next.labels.len(), metadata.labels.len(), MOST_LABELS) {
            return Err(too_many_labels(self.labels.len(), MOST_LABELS));
        }
        if grew(next.annotations.len(), metadata.annotations.len(), MOST_ANNOTATIONS) {
            return Err(too_many_annotations(self.annotations.len(), MOST_ANNOTATIONS));
        }
        *metadata = next;
        Ok(())
    }
}

/// Returns CC's complaint about a key.
pub(crate) fn key_error(key: &str) -> Option<String> {
    let empty = || Some("key cannot be empty string".to_owned());
    if key.trim().is_empty() {
        return empty();
    }
    let (prefix, name) = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            return Some("key has more than one '/'".to_owned());
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if !is_domain(prefix) {
            return Some(format!("prefix '{prefix}' must be in valid dns format"));
        }
        if prefix.chars().count() > LONGEST_PREFIX {
            let start: String = prefix.chars().take(QUOTED).collect();
            return Some(format!(
                "prefix '{start}...' is greater than {LONGEST_PREFIX} characters"
            ));
        }
        if prefix.eq_ignore_ascii_case("cloudfoundry.org") {
            return Some("prefix 'cloudfoundry.org' is reserved".to_owned());
        }
    }
    if name.trim().is_empty() {
        return empty();
    }
    word_error(name)
}

/// Returns CC's complaint about a label value. An empty value is good.
pub(crate) fn value_error(value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    word_error(value)
}

fn word_error(word: &str) -> Option<String> {
    let is_good =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let is_edge =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    if !word.chars().all(is_good) {
        return Some(format!("'{word}' contains invalid characters"));
    }
    if !is_edge(word.chars().next()) || !is_edge(word.chars().next_back()) {
        return Some(format!("'{word}' starts or ends with invalid characters"));
    }
    (word.len() > LONGEST).then(|| too_long(word, LONGEST))
}

fn too_long(text: &str, most: usize) -> String {
    let start: String = text.chars().take(QUOTED).collect();
    format!("'{start}...' is greater than {most} characters")
}

/// Tells whether the text is a DNS name with at least one dot.
fn is_domain(text: &str) -> bool {
    let good = |label: &str| {
        (1..=LONGEST).contains(&label.len())
            && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(good)
}

fn entries(metadata: &Json, kind: &str, faults: &mut Vec<String>) -> Vec<(String, Option<String>)> {
    match metadata.get(kind) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Object(members)) => members
            .iter()
            .map(|(key, value)| (key.clone(), (*value != Json::Null).then(|| value.to_s())))
            .collect(),
        Some(Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_)) => {
            faults.push(format!("Metadata '{kind}' is not an object"));
            Vec::new()
        }
    }
}

fn push(faults: &mut Vec<String>, what: &str, fault: Option<String>) {
    faults.extend(fault.map(|fault| format!("Metadata {what} error: {fault}")));
}

fn update(entries: &mut Vec<(String, String)>, change: &[(String, Option<String>)]) {
    for (key, value) in change {
        match (entries.iter_mut().find(|(known, _)| known == key), value) {
            (Some((_, old)), Some(value)) => old.clone_from(value),
            (None, Some(value)) => entries.push((key.clone(), value.clone())),
            (Some(_) | None, None) => entries.retain(|(known, _)| known != key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataChange;
    use crate::capi::json::Json;
    use crate::world::Metadata;

    fn faults(metadata: &str) -> Vec<String> {
        let body = Json::parse(format!("{{\"metadata\":{metadata}}}").as_bytes()).unwrap();
        let mut faults = Vec::new();
        MetadataChange::read(&body, &mut faults);
        faults
    }

    #[test]
    fn bad_keys_and_values_are_refused_with_ccs_texts() {
        let long = "v".repeat(64);
        for (metadata, fault) in [
            (
                r#"{"labels":{"bad key!":"v"}}"#,
                "label key error: 'bad key!' contains invalid characters",
            ),
            (r#"{"labels":{"k":"v v"}}"#, "label value error: 'v v' contains invalid characters"),
            (
                r#"{"labels":{"cloudfoundry.org/x":"v"}}"#,
                "label key error: prefix 'cloudfoundry.org' is reserved",
            ),
            (
                r#"{"labels":{"nodot/x":"v"}}"#,
                "label key error: prefix 'nodot' must be in valid dns format",
            ),
            (r#"{"labels":{"a.b/c/d":"v"}}"#, "label key error: key has more than one '/'"),
            (
                r#"{"labels":{"k-":"v"}}"#,
                "label key error: 'k-' starts or ends with invalid characters",
            ),
            (r#"{"labels":{"":"v"}}"#, "label key error: key cannot be empty string"),
            (
                &format!(r#"{{"labels":{{"k":"{long}"}}}}"#),
                "label value error: 'vvvvvvvv...' is greater than 63 characters",
            ),
        ] {
            assert_eq!(faults(metadata), [format!("Metadata {fault}")]);
        }
        assert_eq!(faults("null"), ["Metadata must be an object"]);
        assert_eq!(faults(r#"{"x":1}"#), ["Metadata has unexpected field(s): 'x'"]);
        assert_eq!(faults(r#"{"labels":[]}"#), ["Metadata 'labels' is not an object"]);
        assert!(faults(r#"{"labels":null,"annotations":{"k":null}}"#).is_empty());
    }

    #[test]
    fn null_removes_and_the_fifty_first_label_is_refused() {
        let read = |text: &str| {
            let body = Json::parse(text.as_bytes()).unwrap();
            MetadataChange::read(&body, &mut Vec::new())
        };
        let mut metadata = Metadata::default();
        let first = read(r#"{"metadata":{"labels":{"a":"1","b":"2"}}}"#);
        first.apply(&mut metadata).unwrap();
        read(r#"{"metadata":{"labels":{"a":null,"b":"3"}}}"#).apply(&mut metadata).unwrap();
        assert_eq!(metadata.labels, [("b".to_owned(), "3".to_owned())]);
        let many: Vec<String> = (0..50).map(|n| format!("\"l{n}\":\"v\"")).collect();
        let many = read(&format!("{{\"metadata\":{{\"labels\":{{{}}}}}}}", many.join(",")));
        let refusal = many.apply(&mut metadata).unwrap_err();
        assert_eq!(refusal.code, 390_020);
        assert_eq!(metadata.labels.len(), 1);
    }
}
