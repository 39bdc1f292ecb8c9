//! The map from recorded guids to ours. It is learned from pairs of answers. It is applied to later
//! requests, and in reverse to our answers before they are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The length of a guid.
const LENGTH: usize = 36;

/// The map, and every recorded guid of the file so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guids {
    ours_by_recorded: BTreeMap<String, String>,
    seen: BTreeSet<String>,
}

impl Guids {
    /// Replaces recorded guids by ours.
    pub(crate) fn ours(&self, text: &str) -> String {
        let pairs = self.ours_by_recorded.iter();
        pairs.fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    /// Replaces our guids by recorded ones.
    pub(crate) fn recorded(&self, text: &str) -> String {
        let pairs = self.ours_by_recorded.iter();
        pairs.fold(text.to_owned(), |text, (recorded, ours)| text.replace(ours, recorded))
    }

    /// Learns from the guids in the same place of both answers.
    pub(crate) fn learn(&mut self, recorded: &Value, ours: &Value) {
        match (recorded, ours) {
            (Value::Object(left), Value::Object(right)) => {
                for (key, value) in left {
                    match (value, right.get(key)) {
                        (Value::String(old), Some(Value::String(new))) if key == "guid" => {
                            self.pair(old, new);
                        }
                        (_, Some(other)) => self.learn(value, other),
                        (_, None) => {}
                    }
                }
            }
            (Value::Array(left), Value::Array(right)) => {
                for (value, other) in left.iter().zip(right) {
                    self.learn(value, other);
                }
            }
            _ => {}
        }
    }

    /// Learns one pair. A guid keeps its first partner.
    pub(crate) fn pair(&mut self, recorded: &str, ours: &str) {
        self.seen.insert(recorded.to_owned());
        let is_guid = |text: &str| text.len() == LENGTH && text.matches('-').count() == 4;
        let is_taken = self.ours_by_recorded.values().any(|known| known == ours);
        if recorded != ours && is_guid(recorded) && is_guid(ours) && !is_taken {
            let known = self.ours_by_recorded.entry(recorded.to_owned());
            known.or_insert_with(|| ours.to_owned());
        }
    }

    /// Tells whether the recorded list shows resources that are older than the file: no answer of
    /// the file named their guids. The recordings were made on one landscape, one file after the
    /// other.
    pub(crate) fn saw_earlier_things(&self, recorded: &Value, ours: &Value) -> bool {
        let guids = |list: &Value| -> Vec<String> {
            let resources = list.get("resources").and_then(Value::as_array);
            let guids =
                resources.into_iter().flatten().filter_map(|item| item.get("guid")?.as_str());
            guids.map(str::to_owned).collect()
        };
        let (shown, known) = (guids(recorded), guids(ours));
        shown.iter().any(|guid| {
            let mapped = self.ours(guid);
            !self.seen.contains(guid) && !known.contains(&mapped)
        })
    }
}
