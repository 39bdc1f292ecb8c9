//! The form of a value before any module reads it: the type of the key's default, lists as JSON or
//! with commas, and texts that no setting means.
//!
//! Invariant: what passes has the type of the default, and a list has texts only. No value is
//! converted without a trace. Used by `layer` and `providers`.

use std::net::Ipv6Addr;

use serde::de::IgnoredAny;
use toml::Value;

use crate::{binding::is_template, upstream::body::decode_local};

/// How a list in a variable is written.
const LIST_HINT: &str =
    r#"write a JSON list of texts such as ["a", "b"], texts separated by commas, or [] for none"#;
/// What templates and deployers write for a value that they do not have.
const NO_VALUES: [&str; 2] = ["null", "undefined"];
/// What is no list besides them: YAML's truth values reach a variable as text.
const NO_LISTS: [&str; 2] = ["true", "false"];

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormFault {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: String,
}

impl FormFault {
    fn new(message: impl Into<String>, hint: &str) -> Self {
        Self { message: message.into(), hint: hint.to_owned() }
    }
}

/// Reads the text of a variable or flag as a value of the default's type.
pub(super) fn from_text(default: &Value, text: &str) -> Result<Value, FormFault> {
    let value = match default {
        Value::Array(_) => list(text)?,
        Value::Integer(_) => number(text)?,
        Value::Boolean(_) => truth(text)?,
        Value::String(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            Value::String(text.to_owned())
        }
    };
    check(default, &value)?;
    Ok(value)
}

/// Reads a value of a file as one of the default's type. A size may be a number of bytes.
pub(super) fn from_file(default: &Value, value: &Value) -> Result<Value, FormFault> {
    if let (Value::String(default), Value::Integer(bytes)) = (default, value)
        && default.starts_with(|c: char| c.is_ascii_digit())
        && default.ends_with('B')
    {
        return Ok(Value::String(bytes.to_string()));
    }
    check(default, value).map(|()| value.clone())
}

/// Checks the type of a value, and its texts.
pub(super) fn check(default: &Value, value: &Value) -> Result<(), FormFault> {
    if !default.same_type(value) {
        let message = format!("{} where {} is expected", kind(value), kind(default));
        let hint = match (default, value) {
            (Value::String(_), _) => "write the value in quotes",
            (Value::Array(_), _) => r#"write a list such as ["a", "b"]"#,
            (_, Value::String(_)) => "write the value without quotes",
            _ => "config/default.toml shows the form",
        };
        return Err(FormFault::new(message, hint));
    }
    match (default, value) {
        (Value::String(default), Value::String(text)) => {
            if text.is_empty() && !default.is_empty() {
                return Err(FormFault::new("is empty", ""));
            }
            check_text(text)
        }
        (Value::Array(_), Value::Array(entries)) => check_entries(entries),
        _ => Ok(()),
    }
}

/// Checks one text: it is no missing value, no placeholder and no JSON, and has one line.
pub(super) fn check_text(text: &str) -> Result<(), FormFault> {
    let trimmed = text.trim();
    if NO_VALUES.iter().any(|none| trimmed.eq_ignore_ascii_case(none)) {
        return Err(FormFault::new(
            format!("is {trimmed}, which stands for no value"),
            "give a value, or remove it",
        ));
    }
    if is_template(trimmed) {
        return Err(FormFault::new(
            "is a placeholder that was not filled in",
            "give a value, or remove it",
        ));
    }
    if trimmed.starts_with(['[', '{', '"']) && decode_local::<IgnoredAny>(text.as_bytes()).is_ok() {
        return Err(FormFault::new(
            "is JSON where one text is expected",
            "write the text alone, without brackets and quotes",
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(FormFault::new(
            "has a line break or another control character",
            "write one text on one line",
        ));
    }
    Ok(())
}

/// Checks the entries of a list: each is a text, not empty, without blanks around it.
pub(super) fn check_entries(entries: &[Value]) -> Result<(), FormFault> {
    let faulty = entries.iter().enumerate().find_map(|(index, entry)| {
        let fault = check_entry(entry).err()?;
        let message = format!("entry {} {}", index + 1, fault.message);
        Some(FormFault { message, ..fault })
    });
    faulty.map_or(Ok(()), Err)
}

fn check_entry(entry: &Value) -> Result<(), FormFault> {
    let Some(text) = entry.as_str() else {
        let message = format!("is {}, not a text", kind(entry));
        return Err(FormFault::new(message, r#"write it in quotes, such as ["12"]"#));
    };
    match text.trim() {
        "" => Err(FormFault::new("is empty", "remove it, or give a value")),
        trimmed if trimmed != text => {
            Err(FormFault::new("begins or ends with a blank", "remove the blank"))
        }
        _ => check_text(text),
    }
}

/// Reads a list. Deployers hand over a YAML list as JSON; people write commas.
fn list(text: &str) -> Result<Value, FormFault> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('[') && !begins_with_ipv6(text) {
        let entries: Vec<serde_json::Value> = decode_local(text.as_bytes())
            .map_err(|error| FormFault::new(format!("is no JSON list: {error}"), LIST_HINT))?;
        let entries: Result<Vec<Value>, _> =
            entries.into_iter().enumerate().map(json_entry).collect();
        return entries.map(Value::Array);
    }
    if NO_VALUES.iter().chain(&NO_LISTS).any(|word| text.eq_ignore_ascii_case(word)) {
        return Err(FormFault::new(format!("is {text}, not a list"), LIST_HINT));
    }
    // A comma at the end is usual; a comma with nothing before it is a value that got lost.
    let entries = text.strip_suffix(',').unwrap_or(text).split(',').map(str::trim);
    Ok(Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect()))
}

fn json_entry((index, entry): (usize, serde_json::Value)) -> Result<Value, FormFault> {
    let kind = match entry {
        serde_json::Value::String(text) => return Ok(Value::String(text)),
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    };
    Err(FormFault::new(format!("entry {} is {kind}, not a text", index + 1), LIST_HINT))
}

/// `[::1]` and `[::1]:8443` begin like JSON.
fn begins_with_ipv6(text: &str) -> bool {
    let address = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    address.is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
}

fn number(text: &str) -> Result<Value, FormFault> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text.parse() {
        Ok(number) => Ok(Value::Integer(number)),
        Err(_) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(out_of_range())
        }
        Err(_) => Err(FormFault::new("is not a whole number", "write digits only")),
    }
}

/// A number that does not fit into the setting's type.
pub(super) fn out_of_range() -> FormFault {
    FormFault::new("is out of range", "config/default.toml has the bounds")
}

fn truth(text: &str) -> Result<Value, FormFault> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(Value::Boolean(true)),
        "false" | "off" | "no" | "0" => Ok(Value::Boolean(false)),
        _ => Err(FormFault::new("is not true or false", "write true or false")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
