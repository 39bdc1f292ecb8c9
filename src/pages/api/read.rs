//! Reads what people are shown of an `OpenAPI` 3.1 document. What is unknown here is left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    AnswerGuide, ApiReference, BodyGuide, ExampleText, MemberGuide, OperationGroup, OperationGuide,
    ParameterGuide,
};

/// The methods, in the order in which they are shown.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];
/// How deep references and members are followed: a schema may hold itself.
const DEPTH: usize = 8;
/// A list of more values than these says nothing to people.
const MOST_VALUES: usize = 12;
/// The media type of problems.
const PROBLEM: &str = "application/problem+json";

impl ApiReference {
    /// Reads a document.
    ///
    /// # Errors
    /// It is no JSON.
    #[expect(clippy::disallowed_methods, reason = "the text is a file of this repository")]
    pub(crate) fn read(document: &str) -> serde_json::Result<Self> {
        let root: Value = serde_json::from_str(document)?;
        let about = root.get("info").map_or_else(String::new, |info| text(info, "description"));
        Ok(Self { about, groups: OpenApiDocument { root: &root }.groups() })
    }
}

/// An `OpenAPI` document whose references are followed.
#[derive(Clone, Copy)]
struct OpenApiDocument<'d> {
    root: &'d Value,
}

impl<'d> OpenApiDocument<'d> {
    fn groups(self) -> Vec<OperationGroup> {
        let mut operations = self.operations();
        let mut groups = Vec::new();
        for tag in list(self.root, "tags") {
            let name = text(tag, "name");
            let (own, others): (Vec<_>, Vec<_>) =
                operations.into_iter().partition(|(tag, _)| *tag == name);
            operations = others;
            groups.push(group(name, text(tag, "description"), own));
        }
        groups.push(group("Other".to_owned(), String::new(), operations));
        groups.retain(|group| !group.operations.is_empty());
        groups
    }

    /// All operations, each with its first tag.
    fn operations(self) -> Vec<(String, OperationGuide)> {
        let mut operations = Vec::new();
        for (path, item) in members(self.root, "paths") {
            for method in METHODS {
                let Some(operation) = item.get(method) else { continue };
                let tag = list(operation, "tags").first().and_then(Value::as_str);
                let guide = self.operation(method, path, item, operation);
                operations.push((tag.unwrap_or_default().to_owned(), guide));
            }
        }
        operations
    }

    fn operation(
        self,
        method: &str,
        path: &str,
        item: &'d Value,
        operation: &'d Value,
    ) -> OperationGuide {
        let parameters = list(item, "parameters").iter().chain(list(operation, "parameters"));
        let responses = members(operation, "responses");
        OperationGuide {
            id: text(operation, "operationId"),
            method: method.to_uppercase(),
            path: path.to_owned(),
            purpose: text(operation, "summary").trim_end_matches('.').to_owned(),
            about: without_errors(&text(operation, "description")),
            access: self.access(operation),
            deprecated: operation["deprecated"] == true,
            parameters: parameters.map(|it| self.parameter(self.resolve(it))).collect(),
            body: operation.get("requestBody").and_then(|it| self.body(self.resolve(it))),
            answers: responses
                .clone()
                .filter_map(|(status, it)| self.answer(status, self.resolve(it)))
                .collect(),
            problems: responses.flat_map(|(_, it)| self.problems(self.resolve(it))).collect(),
        }
    }

    /// What a caller needs, one entry for each way that is enough; empty if the operation is open.
    fn access(self, operation: &'d Value) -> Vec<String> {
        let ways = operation.get("security").or_else(|| self.root.get("security"));
        let ways = ways.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if ways.iter().any(|way| way.as_object().is_some_and(Map::is_empty)) {
            return Vec::new();
        }
        let described = ways.iter().filter_map(Value::as_object).map(|way| {
            let parts = way.iter().map(|(name, scopes)| self.requirement(name, scopes));
            parts.collect::<Vec<_>>().join(" and ")
        });
        described.collect()
    }

    fn requirement(self, scheme: &str, scopes: &Value) -> String {
        let found = self.root.pointer(&format!("/components/securitySchemes/{scheme}"));
        let found = found.map_or(&Value::Null, |it| self.resolve(it));
        let what = match (found["type"].as_str(), found["in"].as_str()) {
            (Some("apiKey"), Some("cookie")) => "the cookie of a login".to_owned(),
            (Some("http" | "oauth2" | "openIdConnect"), _) => "a bearer token".to_owned(),
            _ => scheme.to_owned(),
        };
        let scopes: Vec<&str> =
            scopes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match scopes.as_slice() {
            [] => what,
            [scope] => format!("{what} with the scope {scope}"),
            _ => format!("{what} with the scopes {}", scopes.join(" and ")),
        }
    }

    fn parameter(self, parameter: &'d Value) -> ParameterGuide {
        let schema = self.resolve(&parameter["schema"]);
        let choices = match schema.get("enum").and_then(Value::as_array) {
            Some(values) if values.len() <= MOST_VALUES => values.iter().map(plain).collect(),
            _ if schema["type"] == "boolean" => vec!["true".to_owned(), "false".to_owned()],
            _ => Vec::new(),
        };
        let mut member =
            self.member(text(parameter, "name"), schema, parameter["required"] == true);
        let about = text(parameter, "description");
        if !about.is_empty() {
            member.about = about;
        }
        let example = self.examples(parameter).into_iter().next();
        let example = example.or_else(|| self.examples(schema).into_iter().next());
        ParameterGuide {
            member,
            place: text(parameter, "in"),
            choices,
            example: example.map(|example| example.text),
        }
    }

    fn body(self, body: &'d Value) -> Option<BodyGuide> {
        let (media_type, content) = members(body, "content").next()?;
        Some(BodyGuide {
            media_type: media_type.to_owned(),
            members: self.members_of(&content["schema"]),
            examples: self.examples_of(content),
        })
    }

    /// An answer; `None` if it is a problem.
    fn answer(self, status: &str, answer: &'d Value) -> Option<AnswerGuide> {
        let mut contents = members(answer, "content");
        if contents.clone().any(|(media_type, _)| media_type == PROBLEM) {
            return None;
        }
        // Every answer has it; it is said once, above all operations.
        let special = members(answer, "headers").filter(|(name, _)| *name != "x-correlationid");
        let headers = special.map(|(name, header)| {
            let header = self.resolve(header);
            let schema = self.resolve(&header["schema"]);
            let member = self.member(name.to_owned(), schema, header["required"] == true);
            MemberGuide { about: text(header, "description"), ..member }
        });
        // A page and JSON are the same answer; JSON is what has members.
        let is_json = |(media_type, _): &(&str, _)| media_type.ends_with("json");
        let content = contents.clone().find(is_json).or_else(|| contents.next());
        Some(AnswerGuide {
            status: status.to_owned(),
            about: text(answer, "description"),
            headers: headers.collect(),
            members: content.map_or(Vec::new(), |(_, it)| self.members_of(&it["schema"])),
            examples: content.map_or(Vec::new(), |(_, it)| self.examples_of(it)),
        })
    }

    /// The problems of a response: status and code.
    fn problems(self, answer: &'d Value) -> Vec<(String, String)> {
        let content = answer.get("content").and_then(|contents| contents.get(PROBLEM));
        let content = content.unwrap_or(&Value::Null);
        let examples = members(content, "examples").map(|(_, it)| &self.resolve(it)["value"]);
        let all = examples.chain(content.get("example"));
        all.map(|it| (plain(&it["status"]), text(it, "code"))).collect()
    }

    /// The examples of a body: its own, else that of its schema.
    fn examples_of(self, content: &'d Value) -> Vec<ExampleText> {
        let own = self.examples(content);
        if own.is_empty() { self.examples(self.resolve(&content["schema"])) } else { own }
    }

    /// The examples of a media type, a parameter or a schema.
    fn examples(self, holder: &'d Value) -> Vec<ExampleText> {
        let example = |title: &str, value: &Value| {
            let text = if value.is_object() || value.is_array() {
                format!("{value:#}")
            } else {
                plain(value)
            };
            ExampleText { title: title.to_owned(), text }
        };
        match (holder.get("example"), holder.get("examples")) {
            (Some(value), _) => vec![example("", value)],
            (None, Some(Value::Object(named))) => {
                let only = named.len() == 1;
                let title = |name: &str, it| {
                    let summary = text(it, "summary");
                    if summary.is_empty() { name.to_owned() } else { summary }
                };
                let all = named.iter().map(|(name, it)| (name, self.resolve(it)));
                all.map(|(name, it)| {
                    let title = if only { String::new() } else { title(name, it) };
                    example(&title, &it["value"])
                })
                .collect()
            }
            (None, Some(Value::Array(values))) => {
                values.first().map(|value| example("", value)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn members_of(self, schema: &'d Value) -> Vec<MemberGuide> {
        let mut found = Vec::new();
        self.collect(schema, "", DEPTH, &mut found);
        let mut seen = BTreeSet::new();
        found.retain(|member: &MemberGuide| seen.insert(member.name.clone()));
        found
    }

    /// Adds the members of a schema; `way` is what stands before their names.
    fn collect(self, schema: &'d Value, way: &str, depth: usize, found: &mut Vec<MemberGuide>) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let schema = self.resolve(schema);
        for part in ["allOf", "oneOf", "anyOf"].iter().flat_map(|key| list(schema, key)) {
            self.collect(part, way, depth, found);
        }
        let required: Vec<&str> =
            list(schema, "required").iter().filter_map(Value::as_str).collect();
        for (name, member) in members(schema, "properties") {
            let path = format!("{way}{name}");
            found.push(self.member(path.clone(), member, required.contains(&name)));
            self.collect(member, &format!("{path}."), depth, found);
        }
        if let Some(items) = schema.get("items") {
            let list = way.strip_suffix('.').unwrap_or(way);
            self.collect(items, &format!("{list}[]."), depth, found);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|it| it.is_object()) {
            self.collect(values, &format!("{way}*."), depth, found);
        }
    }

    fn member(self, name: String, schema: &'d Value, required: bool) -> MemberGuide {
        let about = text(schema, "description");
        let about =
            if about.is_empty() { text(self.resolve(schema), "description") } else { about };
        MemberGuide { name, kind: self.kind(schema, DEPTH), required, about }
    }

    /// Type and bounds in words.
    fn kind(self, schema: &'d Value, depth: usize) -> String {
        let Some(depth) = depth.checked_sub(1) else { return "any value".to_owned() };
        let schema = self.resolve(schema);
        if let Some(value) = schema.get("const") {
            return format!("always {value}");
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let shown: Vec<String> = values.iter().map(plain).collect();
            return match shown.len() {
                0..=MOST_VALUES => format!("one of {}", shown.join(", ")),
                number => format!("one of {number} values"),
            };
        }
        let parts = ["allOf", "oneOf", "anyOf"].iter().flat_map(|key| list(schema, key));
        let mut kinds: Vec<String> = parts.map(|it| self.kind(it, depth)).collect();
        let names = list(schema, "type").iter().chain(schema.get("type")).filter_map(Value::as_str);
        kinds.extend(names.map(|name| self.kind_of_type(name, schema, depth)));
        if kinds.is_empty() && schema.get("properties").is_some() {
            kinds.push("object".to_owned());
        }
        let mut seen = BTreeSet::new();
        kinds.retain(|kind| seen.insert(kind.clone()));
        let kinds = if kinds.is_empty() { "any value".to_owned() } else { kinds.join(" or ") };
        match schema.get("default") {
            Some(value) if !value.is_null() => format!("{kinds}, {} if absent", plain(value)),
            _ => kinds,
        }
    }

    fn kind_of_type(self, name: &str, schema: &'d Value, depth: usize) -> String {
        match name {
            "array" => {
                format!("list of {}{}", self.kind(&schema["items"], depth), bounds(schema, "Items"))
            }
            "string" => {
                let format = schema["format"].as_str().map(|it| format!(" ({it})"));
                let pattern = schema["pattern"].as_str().map(|it| format!(", pattern {it}"));
                let (format, pattern) = (format.unwrap_or_default(), pattern.unwrap_or_default());
                format!("string{format}{}{pattern}", bounds(schema, "Length"))
            }
            "integer" | "number" => format!("{name}{}", bounds(schema, "imum")),
            _ => name.to_owned(),
        }
    }

    /// Follows the references of a value.
    fn resolve(self, value: &'d Value) -> &'d Value {
        let mut value = value;
        for _ in 0..DEPTH {
            let reference = value.get("$ref").and_then(Value::as_str);
            let pointer = reference.and_then(|it| it.strip_prefix('#'));
            let Some(found) = pointer.and_then(|it| self.root.pointer(it)) else { break };
            value = found;
        }
        value
    }
}

fn group(name: String, about: String, operations: Vec<(String, OperationGuide)>) -> OperationGroup {
    let operations = operations.into_iter().map(|(_, operation)| operation).collect();
    OperationGroup { name, about, operations }
}

/// The bounds of a schema in words: those whose names end in `what`.
fn bounds(schema: &Value, what: &str) -> String {
    let [least, most] = ["min", "max"].map(|end| schema.get(format!("{end}{what}")));
    let noun = match what {
        "Items" => " entries",
        "Length" => " characters",
        _ => "",
    };
    match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most}{noun}"),
        (None, Some(most)) => format!(", at most {most}{noun}"),
        (Some(least), None) => format!(", at least {least}{noun}"),
        (None, None) => String::new(),
    }
}

/// A description without the section on errors that the code has: the problems stand in a list.
fn without_errors(about: &str) -> String {
    about.split("# Errors").next().unwrap_or_default().trim().to_owned()
}

/// The text of a member; empty if there is none.
fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// The entries of a list; none if there is no list.
fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The members of an object; none if there is no object.
fn members<'v>(
    value: &'v Value,
    key: &str,
) -> impl Iterator<Item = (&'v str, &'v Value)> + Clone + use<'v> {
    let object = value.get(key).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, member)| (name.as_str(), member))
}

/// A value for people: a string without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
