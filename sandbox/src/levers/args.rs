//! Reads the arguments of a lever. Invariant: an unknown argument is an error, so that a typing
//! error does not make a test pass. Called by the groups of levers.

use serde_json::{Map, Value};

use crate::levers::part_names;
use crate::part::Part;

/// The arguments of one call.
#[derive(Debug)]
pub(crate) struct LeverArgs<'a>(Option<&'a Map<String, Value>>);

impl<'a> LeverArgs<'a> {
    /// Takes an object with only these names, or null.
    pub(crate) fn read(value: &'a Value, known: &[&str]) -> Result<Self, String> {
        let members = value.as_object();
        if members.is_none() && !value.is_null() {
            return Err("the arguments must be one JSON object".to_owned());
        }
        let unknown =
            members.and_then(|map| map.keys().find(|name| !known.contains(&name.as_str())));
        match unknown {
            Some(name) if known.is_empty() => {
                Err(format!("unknown argument {name}: none is taken"))
            }
            Some(name) => Err(format!("unknown argument {name}: known are {}", known.join(", "))),
            None => Ok(Self(members)),
        }
    }

    /// Returns an argument. Null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    /// Returns whether the argument is there, also as null.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.0.is_some_and(|members| members.contains_key(name))
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, String> {
        self.maybe_text(name)?.ok_or_else(|| format!("argument {name} is missing"))
    }

    pub(crate) fn maybe_text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let text = |value: &'a Value| {
            value.as_str().ok_or_else(|| format!("argument {name} must be a text"))
        };
        self.get(name).map(text).transpose()
    }

    pub(crate) fn maybe_number(&self, name: &str) -> Result<Option<i64>, String> {
        let number = |value: &Value| {
            value.as_i64().ok_or_else(|| format!("argument {name} must be a whole number"))
        };
        self.get(name).map(number).transpose()
    }

    /// Returns a count. The default is 1.
    pub(crate) fn count(&self, name: &str) -> Result<usize, String> {
        let number = self.maybe_number(name)?.unwrap_or(1);
        usize::try_from(number).map_err(|_| format!("argument {name} must not be negative"))
    }

    /// Returns the argument `on`. The default is true.
    pub(crate) fn is_on(&self) -> Result<bool, String> {
        self.flag("on", true)
    }

    /// Returns a boolean, or the default.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        let flag = |value: &Value| {
            value.as_bool().ok_or_else(|| format!("argument {name} must be true or false"))
        };
        self.get(name).map_or(Ok(default), flag)
    }

    pub(crate) fn part(&self) -> Result<Part, String> {
        Self::part_named(self.text("part")?)
    }

    /// Returns the part, or the default.
    pub(crate) fn part_or(&self, default: Part) -> Result<Part, String> {
        self.maybe_text("part")?.map_or(Ok(default), Self::part_named)
    }

    /// Returns an object. An absent one is empty.
    pub(crate) fn map(&self, name: &str) -> Result<Map<String, Value>, String> {
        let map = |value: &Value| {
            value.as_object().cloned().ok_or_else(|| format!("argument {name} must be an object"))
        };
        self.get(name).map_or(Ok(Map::new()), map)
    }

    /// Returns a list of texts. An absent one is empty.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("argument {name} must be a list of texts");
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let list = value.as_array().ok_or_else(wrong)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        list.iter().map(text).collect()
    }

    fn part_named(name: &str) -> Result<Part, String> {
        Part::named(name).ok_or_else(|| format!("unknown part {name}: known are {}", part_names()))
    }
}
