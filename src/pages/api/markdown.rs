//! The reference page of the API (`docs/reference/http-api.md`), made from the document.

use std::fmt::Write as _;

use super::{AnswerGuide, ApiReference, BodyGuide, ExampleText, MemberGuide, OperationGuide};

const HEAD: &str = "# HTTP API

Made from the OpenAPI document [openapi.json](../openapi.json): do not edit it by hand (how:
[../API-DESIGN.md](../API-DESIGN.md#how-a-change-is-made)). A running broker has the same as `GET /openapi.json` for tools and
`GET /docs` for people. What each code means: [problems.md](problems.md).

In the commands, `BROKER` is the address of the broker and `TOKEN` a token of the caller's own XSUAA client.
";

/// Writes the page.
pub(super) fn page(reference: &ApiReference) -> String {
    let mut out = HEAD.to_owned();
    let _ = writeln!(out, "\n{}\n\n## All operations\n", reference.about);
    out.push_str("| operation | purpose | needs |\n|---|---|---|\n");
    for operation in reference.groups.iter().flat_map(|group| &group.operations) {
        let OperationGuide { method, path, purpose, .. } = operation;
        let needs = needs(operation);
        let _ = writeln!(
            out,
            "| [`{method} {path}`](#{}) | {} | {needs} |",
            anchor(operation),
            cell(purpose)
        );
    }
    for group in &reference.groups {
        let _ = writeln!(out, "\n## {}\n\n{}", group.name, group.about);
        for operation in &group.operations {
            add_operation(&mut out, operation);
        }
    }
    let mut lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.dedup_by(|one, other| one.is_empty() && other.is_empty());
    lines.join("\n") + "\n"
}

fn add_operation(out: &mut String, operation: &OperationGuide) {
    let OperationGuide { method, path, purpose, about, .. } = operation;
    let _ = writeln!(out, "\n### {method} {path}\n\n{purpose}.\n\n{about}\n");
    if operation.deprecated {
        out.push_str("**Deprecated.**\n\n");
    }
    let _ = writeln!(out, "Needs {}.", needs(operation));
    if !operation.parameters.is_empty() {
        out.push_str("\n| parameter | where | type | meaning |\n|---|---|---|---|\n");
        for parameter in &operation.parameters {
            let MemberGuide { name, about, .. } = &parameter.member;
            let (kind, about) = (cell(&parameter.member.nature()), cell(about));
            let _ = writeln!(out, "| `{name}` | {} | {kind} | {about} |", parameter.place);
        }
    }
    if let Some(BodyGuide { media_type, members, examples }) = &operation.body {
        let _ = writeln!(out, "\nBody, `{media_type}`:\n");
        add_members(out, "member", members);
        add_examples(out, examples.get(1..).unwrap_or_default());
    }
    let _ = writeln!(out, "\n```sh\n{}\n```", operation.command());
    for answer in &operation.answers {
        add_answer(out, answer);
    }
    if !operation.problems.is_empty() {
        let codes = operation.problems.iter().map(|(status, code)| format!("{status} `{code}`"));
        let _ = writeln!(out, "\nProblems: {}.", codes.collect::<Vec<_>>().join(", "));
    }
}

fn add_answer(out: &mut String, answer: &AnswerGuide) {
    let _ = writeln!(out, "\n**{}**: {}", answer.status, answer.about);
    add_members(out, "header", &answer.headers);
    add_members(out, "member", &answer.members);
    add_examples(out, &answer.examples);
}

fn add_members(out: &mut String, what: &str, members: &[MemberGuide]) {
    if members.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n| {what} | type | meaning |\n|---|---|---|");
    for member in members {
        let (kind, about) = (cell(&member.nature()), cell(&member.about));
        let _ = writeln!(out, "| `{}` | {kind} | {about} |", member.name);
    }
}

fn add_examples(out: &mut String, examples: &[ExampleText]) {
    for ExampleText { title, text } in examples {
        if !title.is_empty() {
            let _ = writeln!(out, "\n{title}:");
        }
        let kind = if text.starts_with(['{', '[']) { "json" } else { "text" };
        let _ = writeln!(out, "\n```{kind}\n{text}\n```");
    }
}

fn needs(operation: &OperationGuide) -> String {
    if operation.access.is_empty() { "no login".to_owned() } else { operation.access.join(", or ") }
}

/// The anchor of an operation, as viewers make it from the heading.
fn anchor(OperationGuide { method, path, .. }: &OperationGuide) -> String {
    let title = format!("{method} {path}").to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
