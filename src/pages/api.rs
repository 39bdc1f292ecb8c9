//! The page of the API: every operation of the `OpenAPI` document in words, with a form that sends
//! it.
//!
//! Invariant: what the document does not say is not on the page. [`read`] reads the document,
//! `docs/reference/http-api.md` is made of the same.

mod read;

use std::fmt::Write as _;

use askama::Template;

use super::{
    Frame, HtmlPage,
    assets::{API_SCRIPT, API_STYLE},
};

/// The API, as its `OpenAPI` document describes it.
#[derive(Debug, Default)]
pub(crate) struct ApiReference {
    /// What stands above all operations.
    pub(super) about: String,
    /// The operations, in the order of the tags.
    pub(super) groups: Vec<OperationGroup>,
}

/// The operations of one tag.
#[derive(Debug)]
pub(super) struct OperationGroup {
    /// Name of the tag.
    pub(super) name: String,
    /// What its operations have in common.
    pub(super) about: String,
    /// By path, then by method.
    pub(super) operations: Vec<OperationGuide>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct OperationGuide {
    /// `operationId`, unique in the document.
    pub(super) id: String,
    /// In capitals.
    pub(super) method: String,
    /// The path with its placeholders.
    pub(super) path: String,
    /// The purpose in one line.
    pub(super) purpose: String,
    /// All else about it.
    pub(super) about: String,
    /// What a caller needs, one entry for each way that is enough.
    pub(super) access: Vec<String>,
    /// Whether callers should move on to another operation.
    pub(super) deprecated: bool,
    /// In the order of the document.
    pub(super) parameters: Vec<ParameterGuide>,
    /// The body of the request.
    pub(super) body: Option<BodyGuide>,
    /// What it answers if all goes well, by status.
    pub(super) answers: Vec<AnswerGuide>,
    /// The problems that it can answer with: status and code, by status.
    pub(super) problems: Vec<(String, String)>,
}

/// A parameter of the path, the query or the head.
#[derive(Debug)]
pub(super) struct ParameterGuide {
    /// Name, type and meaning.
    pub(super) member: MemberGuide,
    /// `path`, `query` or `header`.
    pub(super) place: String,
    /// The values that it can have; empty if they are too many to list.
    pub(super) choices: Vec<String>,
    /// A value to begin with.
    pub(super) example: Option<String>,
}

/// A member of a JSON text, or a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberGuide {
    /// The way to it: `items[].tenantId`.
    pub(super) name: String,
    /// Type and bounds in words.
    pub(super) kind: String,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What it means.
    pub(super) about: String,
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct BodyGuide {
    /// Its media type.
    pub(super) media_type: String,
    /// Its members, outer ones first.
    pub(super) members: Vec<MemberGuide>,
    /// What callers send.
    pub(super) examples: Vec<ExampleText>,
}

/// An answer that is no problem.
#[derive(Debug)]
pub(super) struct AnswerGuide {
    /// `200`, or `default`.
    pub(super) status: String,
    /// When it is given.
    pub(super) about: String,
    /// Its headers.
    pub(super) headers: Vec<MemberGuide>,
    /// Its members, outer ones first.
    pub(super) members: Vec<MemberGuide>,
    /// What callers get.
    pub(super) examples: Vec<ExampleText>,
}

/// A text as it is sent or answered.
#[derive(Debug)]
pub(super) struct ExampleText {
    /// What it shows; empty if there is only one.
    pub(super) title: String,
    /// JSON is indented.
    pub(super) text: String,
}

#[cfg(test)]
impl ApiReference {
    /// Returns the text of `docs/reference/http-api.md`.
    pub(crate) fn to_markdown(&self) -> String {
        markdown::page(self)
    }
}

impl OperationGuide {
    /// The request as a command for a shell. It expects the variables `BROKER` and `TOKEN`.
    pub(super) fn command(&self) -> String {
        let mut target = self.path.clone();
        let mut query = String::new();
        let mut headers = String::new();
        for parameter in &self.parameters {
            let name = &parameter.member.name;
            let example = parameter.example.as_deref().unwrap_or(name);
            match parameter.place.as_str() {
                "path" => target = target.replace(&format!("{{{name}}}"), example),
                _ if !parameter.member.required => {}
                "query" => {
                    let mark = if query.is_empty() { '?' } else { '&' };
                    let value = form_urlencoded::byte_serialize(example.as_bytes());
                    let _ = write!(query, "{mark}{name}={}", value.collect::<String>());
                }
                _ => {
                    let _ = write!(headers, " \\\n  -H {}", quoted(&format!("{name}: {example}")));
                }
            }
        }
        let method =
            if self.method == "GET" { String::new() } else { format!("-X {} ", self.method) };
        let mut command = format!("curl {method}\"$BROKER{target}{query}\"");
        if !self.access.is_empty() {
            command.push_str(" \\\n  -H \"Authorization: Bearer $TOKEN\"");
        }
        command.push_str(&headers);
        if let Some(body) = &self.body {
            let example = body.examples.first().map_or("", |example| example.text.as_str());
            let kind = quoted(&format!("Content-Type: {}", body.media_type));
            let _ = write!(command, " \\\n  -H {kind} \\\n  -d {}", quoted(example));
        }
        command
    }

    /// The media type of the body.
    fn body_type(&self) -> &str {
        self.body.as_ref().map_or("", |body| body.media_type.as_str())
    }

    /// The text that is sent unless the person changes it.
    fn body_text(&self) -> Option<&str> {
        let body = self.body.as_ref()?;
        Some(body.examples.first().map_or("", |example| example.text.as_str()))
    }
}

impl MemberGuide {
    /// Type, and whether it must be there.
    pub(super) fn nature(&self) -> String {
        let needed = if self.required { "required" } else { "optional" };
        format!("{needed}, {}", self.kind)
    }
}

/// Puts a text into single quotes, for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Splits a text into paragraphs of parts, each with whether it stands in backticks.
fn paragraphs(text: &str) -> Vec<Vec<(bool, &str)>> {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    paragraphs.map(|part| parts(part).collect()).collect()
}

fn parts(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`').enumerate().map(|(at, part)| (at % 2 == 1, part))
}

/// The page of the API.
#[derive(Debug, Template)]
#[template(path = "api.html")]
pub(crate) struct ApiHtml<'a> {
    pub(crate) frame: Frame,
    /// What the document says.
    pub(crate) reference: &'a ApiReference,
    /// Where nobody is logged in: the address of the login, if there is one.
    pub(crate) log_in: Option<String>,
}

impl ApiHtml<'_> {
    fn count(&self) -> usize {
        self.reference.groups.iter().map(|group| group.operations.len()).sum()
    }

    fn style(&self) -> String {
        self.frame.asset(&API_STYLE)
    }

    fn script(&self) -> String {
        self.frame.asset(&API_SCRIPT)
    }
}

impl HtmlPage for ApiHtml<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

#[cfg(test)]
mod markdown;
#[cfg(test)]
mod tests;
