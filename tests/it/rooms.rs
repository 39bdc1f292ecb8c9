//! The plan of the house as a test: which room may name which, and where certain words may stand.
//!
//! `docs/ARCHITECTURE.md` explains the rooms; this table is what the compiler cannot check. It reads the sources as
//! text, documentation links included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room with the rooms that it may name besides itself and `telemetry`.
const ROOMS: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("upstream", &[]),
    ("binding", &["upstream"]),
    ("oauth", &["upstream"]),
    ("destination", &["oauth", "upstream", "binding"]),
    ("token", &["destination", "oauth", "binding"]),
    ("capi", &["token", "destination", "upstream"]),
    ("auth", &["upstream", "binding"]),
    ("policy", &["auth"]),
    ("proxy", &["policy", "capi", "auth"]),
    ("routes", &["capi", "destination", "policy", "auth"]),
    ("http", &["routes", "proxy", "policy", "capi", "auth", "token", "destination", "upstream"]),
    (
        "config",
        &["server", "binding", "upstream", "destination", "token", "auth", "policy", "routes"],
    ),
    ("cli", &["app", "config", "lifecycle"]),
];

/// Files beside the rooms that may name every room.
const ROOTS: &[&str] = &["app", "lib", "lifecycle", "main", "server"];

/// Rooms that may speak of HTTP statuses: the wires, and the one that answers.
const STATUS: &[&str] = &["upstream", "oauth", "destination", "capi", "auth", "proxy", "http"];

/// Non-test lines above which a file must be split, and above which it is worth a look.
const LONGEST: usize = 400;
const LONG: usize = 250;

struct Source {
    room: String,
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let inside = path.strip_prefix(root().join("src")).unwrap();
            let first =
                inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { room, path, text });
        }
    }
}

/// The part of a file that is no test: everything before `#[cfg(test)]` on `mod tests`; whole test files are empty.
fn production<'a>(path: &Path, text: &'a str) -> &'a str {
    let name = path.file_stem().unwrap().to_string_lossy();
    if name == "tests"
        || name.ends_with("_tests")
        || path.components().any(|c| c.as_os_str() == "tests")
    {
        return "";
    }
    let starts = [
        "#[cfg(test)]\nmod tests",
        "#[cfg(test)]\npub(crate) mod tests",
        "#[cfg(test)]\nmod support",
    ];
    let end = starts.iter().filter_map(|start| text.find(start)).min();
    text.get(..end.unwrap_or(text.len())).unwrap_or("")
}

/// Names that follow `crate::`, also inside a group.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = text.get(at + "crate::".len()..).unwrap_or("");
        match rest.strip_prefix('{') {
            Some(group) => first_segments(group, &mut names),
            None => drop(names.insert(identifier(rest))),
        }
    }
    names.remove("");
    names
}

fn first_segments(group: &str, names: &mut BTreeSet<String>) {
    let (mut depth, mut fresh) = (0_usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && !c.is_whitespace() => {
                names.insert(identifier(group.get(at..).unwrap_or("")));
                fresh = false;
            }
            _ => {}
        }
    }
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn trespasses(room: &str, text: &str, table: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let doors = table.get(room).copied().unwrap_or_default();
    named(text)
        .into_iter()
        .filter(|name| table.contains_key(name.as_str()) || ROOTS.contains(&name.as_str()))
        .filter(|name| name != room && name != "telemetry" && !doors.contains(&name.as_str()))
        .collect()
}

fn table() -> BTreeMap<&'static str, &'static [&'static str]> {
    ROOMS.iter().copied().collect()
}

#[test]
fn no_room_names_one_it_has_no_door_to() {
    let table = table();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !ROOTS.contains(&source.room.as_str())) {
        for name in trespasses(&source.room, &source.text, &table) {
            wrong.push(format!(
                "{}: `{}` may not name `{name}`",
                source.path.display(),
                source.room
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_directory_is_a_room_and_every_room_a_directory() {
    let directories: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| !ROOTS.contains(&name.as_str()))
        .collect();
    let rooms: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(directories, rooms);
}

#[test]
fn doors_lead_one_way() {
    let table = table();
    for (room, _) in ROOMS {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = table[room].to_vec();
        while let Some(next) = open.pop() {
            assert_ne!(&next, room, "{room} can be reached from itself");
            if seen.insert(next) {
                open.extend(table.get(next).copied().unwrap_or_default());
            }
        }
    }
}

#[test]
fn there_are_no_detours() {
    for source in sources() {
        for detour in ["super::super", "use crate::*", "#[path"] {
            assert!(!source.text.contains(detour), "{}: {detour}", source.path.display());
        }
    }
}

/// A word, the places where it may stand, and why.
fn lawful_place(word: &str, source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    match word {
        "expose_secret" => matches!(source.room.as_str(), "oauth" | "capi"),
        "std::env::" => path.ends_with("config/env.rs"),
        "reqwest::Client" => source.room == "upstream",
        "cfapi_sandbox" => path.ends_with("cli/sandbox.rs"),
        "anyhow" => matches!(source.room.as_str(), "main" | "cli"),
        "StatusCode" => STATUS.contains(&source.room.as_str()),
        "async fn" | "async move" => !matches!(source.room.as_str(), "policy" | "binding"),
        _ => unreachable!("no rule for {word}"),
    }
}

#[test]
fn words_have_homes() {
    let words = [
        "expose_secret",
        "std::env::",
        "reqwest::Client",
        "cfapi_sandbox",
        "anyhow",
        "StatusCode",
        "async fn",
        "async move",
    ];
    for source in sources() {
        let code = production(&source.path, &source.text);
        for word in words {
            // Target names of log lines may mention the sandbox's crate.
            let found =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                    line.contains(word) && !line.contains("starts_with(\"cfapi_sandbox\")")
                });
            assert!(!found || lawful_place(word, &source), "{}: {word}", source.path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for source in sources() {
        let lines = production(&source.path, &source.text).lines().count();
        if lines > LONG {
            println!("long: {} ({lines} lines without tests)", source.path.display());
        }
        assert!(lines <= LONGEST, "{}: {lines} lines without tests", source.path.display());
    }
}

#[test]
fn the_sandbox_knows_nothing_of_the_broker() {
    let manifest = fs::read_to_string(root().join("sandbox/Cargo.toml")).unwrap();
    assert!(!manifest.contains("cfapi-broker ="), "the fake must not agree with itself");
}

#[test]
fn the_reader_sees_a_trespass() {
    let text = "//! [`crate::routes`]\nuse crate::{oauth::Grant, capi::{self, model::Guid}, telemetry};\nfn f() { crate::http::x() }";
    let names: Vec<String> = named(text).into_iter().collect();
    assert_eq!(names, ["capi", "http", "oauth", "routes", "telemetry"]);
    assert_eq!(trespasses("token", text, &table()), ["capi", "http", "routes"]);
}
