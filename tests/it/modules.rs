//! The structure of `src/` as a test: which module may name which, where some words may stand, and
//! one meaning for each type name.
//!
//! `docs/ARCHITECTURE.md` explains the modules. This file checks what the compiler cannot. It reads
//! the sources as text, documentation links included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each module with its dependencies: the modules that it may name besides itself and `telemetry`.
pub(crate) const MODULES: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("upstream", &[]),
    ("binding", &["upstream"]),
    ("oauth", &["upstream"]),
    ("destination", &["oauth", "upstream", "binding"]),
    ("token", &["destination", "oauth", "upstream", "binding"]),
    ("capi", &["token", "destination", "upstream"]),
    ("auth", &["upstream", "binding"]),
    ("login", &["auth", "oauth", "upstream"]),
    ("policy", &["auth"]),
    ("proxy", &["policy", "capi", "auth"]),
    ("routes", &["capi", "destination", "policy", "auth", "upstream"]),
    ("overview", &["capi", "routes"]),
    ("pages", &["capi", "overview"]),
    (
        "http",
        &[
            "overview",
            "pages",
            "routes",
            "proxy",
            "policy",
            "capi",
            "auth",
            "login",
            "token",
            "destination",
            "upstream",
        ],
    ),
    (
        "config",
        &[
            "server",
            "binding",
            "upstream",
            "destination",
            "token",
            "auth",
            "login",
            "policy",
            "routes",
        ],
    ),
    ("cli", &["app", "config", "lifecycle"]),
];

/// Files beside the modules. They may name every module.
const ROOTS: &[&str] = &["app", "lib", "lifecycle", "main", "server"];

/// Modules that may use HTTP statuses: those that read an upstream's answer, and `http`.
const STATUS: &[&str] = &["upstream", "oauth", "destination", "capi", "auth", "proxy", "http"];

/// A file with more lines without tests must be split by meaning.
const LONGEST: usize = 600;

/// A file with more lines without tests is printed: worth a look.
const LONG: usize = 400;

/// Type names that many modules use by convention, with one meaning.
const CONVENTIONS: &[&str] = &["Settings"];

struct Source {
    module: String,
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), &root().join("src"), &mut found);
    found
}

fn collect(top: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(top, &path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let inside = path.strip_prefix(top).unwrap();
            let first =
                inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { module, path, text });
        }
    }
}

/// Returns the part of a file before its test module. A file that its parent declares for tests
/// only has none.
fn production<'a>(path: &Path, text: &'a str) -> &'a str {
    if path.components().any(|part| part.as_os_str() == "tests") || is_for_tests(path) {
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

/// Returns whether the parent of a file declares it with `#[cfg(test)]`.
fn is_for_tests(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    let folder = path.parent().unwrap();
    let parents = [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")];
    let declares = |parent: &PathBuf| {
        let text = fs::read_to_string(parent).unwrap_or_default();
        ["mod", "pub mod", "pub(crate) mod", "pub(super) mod"]
            .iter()
            .any(|keyword| text.contains(&format!("#[cfg(test)]\n{keyword} {name};")))
    };
    parents.iter().any(declares)
}

/// Returns the names that follow `crate::`, also inside a group.
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

/// Returns the modules that `text` names although `module` has no such dependency.
fn forbidden(module: &str, text: &str, table: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let dependencies = table.get(module).copied().unwrap_or_default();
    named(text)
        .into_iter()
        .filter(|name| table.contains_key(name.as_str()) || ROOTS.contains(&name.as_str()))
        .filter(|name| {
            name != module && name != "telemetry" && !dependencies.contains(&name.as_str())
        })
        .collect()
}

fn table() -> BTreeMap<&'static str, &'static [&'static str]> {
    MODULES.iter().copied().collect()
}

#[test]
fn a_module_names_only_its_dependencies() {
    let table = table();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !ROOTS.contains(&source.module.as_str())) {
        for name in forbidden(&source.module, &source.text, &table) {
            wrong.push(format!(
                "{}: `{}` may not name `{name}`",
                source.path.display(),
                source.module
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_directory_is_a_module_of_the_table() {
    let directories: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| !ROOTS.contains(&name.as_str()))
        .collect();
    let modules: BTreeSet<String> =
        MODULES.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(directories, modules);
}

#[test]
fn dependencies_have_no_circle() {
    let table = table();
    for (module, _) in MODULES {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = table[module].to_vec();
        while let Some(next) = open.pop() {
            assert_ne!(&next, module, "{module} depends on itself");
            if seen.insert(next) {
                open.extend(table.get(next).copied().unwrap_or_default());
            }
        }
    }
}

#[test]
fn no_path_avoids_the_table() {
    for source in sources() {
        for detour in ["super::super", "use crate::*", "#[path"] {
            assert!(!source.text.contains(detour), "{}: {detour}", source.path.display());
        }
    }
}

/// Modules whose files are checked for circles.
const NO_CIRCLES: &[&str] = &["destination", "token"];

/// Returns the paths that follow `prefix` in `text`, one for each leaf of a group.
fn paths(text: &str, prefix: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        leaves(text.get(at + prefix.len()..).unwrap_or(""), &[], &mut found);
    }
    found
}

/// Reads one use tree after `stem`; returns how many bytes it took.
fn leaves(text: &str, stem: &[String], found: &mut Vec<Vec<String>>) -> usize {
    if !text.starts_with('{') {
        let name = identifier(text);
        let path: Vec<String> = stem.iter().cloned().chain([name.clone()]).collect();
        let rest = text.get(name.len()..).unwrap_or("");
        if let Some(deeper) = rest.strip_prefix("::") {
            return name.len() + 2 + leaves(deeper, &path, found);
        }
        found.push(path);
        return name.len();
    }
    let mut at = 1;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match c {
            '}' => return at + 1,
            c if c.is_alphanumeric() || c == '_' || c == '{' => {
                at += leaves(text.get(at..).unwrap_or(""), stem, found);
            }
            c => at += c.len_utf8(),
        }
    }
    at
}

/// The path of a file inside its module: empty for `mod.rs`.
fn inner_path(source: &Source, top: &Path) -> Vec<String> {
    let inside = source.path.strip_prefix(top).unwrap().with_extension("");
    let parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

/// Returns each file of a module with the files of the module that it names.
fn files_of(module: &str, sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let top = root().join("src").join(module);
    let inside = sources.iter().filter(|source| source.path.starts_with(&top));
    let code: BTreeMap<Vec<String>, &str> = inside
        .map(|source| (inner_path(source, &top), production(&source.path, &source.text)))
        .filter(|(_, code)| !code.is_empty())
        .collect();
    let file_of = |path: &[String]| {
        let known = (0..=path.len()).rev().map(|end| path[..end].to_vec());
        known.into_iter().find(|path| code.contains_key(path)).unwrap_or_default()
    };
    let names = |file: &Vec<String>, text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text = code.collect::<Vec<_>>().join("\n").replace("pub(in crate::", "");
        let parent = file.split_last().map_or(&[][..], |(_, parent)| parent);
        let from = |stem: &[String], path: Vec<String>| file_of(&[stem, &path].concat());
        let above = paths(&text, "super::").into_iter().map(|path| from(parent, path));
        let of_crate = paths(&text, "crate::").into_iter();
        let own = of_crate.filter(|path| path.first().is_some_and(|first| first == module));
        let absolute = own.map(|path| from(&[], path[1..].to_vec()));
        let mut named: BTreeSet<Vec<String>> = above.chain(absolute).collect();
        for line in text.lines().map(str::trim) {
            if let Some((_, child)) =
                line.strip_suffix(';').and_then(|line| line.split_once("mod "))
            {
                named.insert(from(file, vec![child.to_owned()]));
            }
        }
        named.remove(file);
        named
    };
    code.iter().map(|(file, text)| (file.clone(), names(file, text))).collect()
}

/// Returns the files that name themselves through others.
fn circles(files: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.keys() {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = files[file].iter().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(files.get(next).into_iter().flatten());
            }
        }
        if seen.contains(file) {
            found.push(format!("{} ({:?})", file.join("/"), files[file]));
        }
    }
    found
}

#[test]
fn files_have_no_circle() {
    let sources = sources();
    for module in NO_CIRCLES {
        let files = files_of(module, &sources);
        assert!(files.len() > 5, "{module}: {files:?}");
        let found = circles(&files);
        assert!(found.is_empty(), "{module}:\n{}", found.join("\n"));
    }
}

/// Returns whether `word` may stand in this file.
fn may_use(word: &str, source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    match word {
        "expose_secret" => source.module == "oauth",
        "std::env::" => path.ends_with("config/env.rs"),
        "reqwest::Client" => source.module == "upstream",
        "cfapi_sandbox" => path.ends_with("cli/sandbox.rs"),
        "StatusCode" => STATUS.contains(&source.module.as_str()),
        "async fn" | "async move" => !matches!(source.module.as_str(), "policy" | "binding"),
        _ => unreachable!("no rule for {word}"),
    }
}

#[test]
fn some_words_stand_in_their_modules_only() {
    let words = [
        "expose_secret",
        "std::env::",
        "reqwest::Client",
        "cfapi_sandbox",
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
            assert!(!found || may_use(word, &source), "{}: {word}", source.path.display());
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

/// Returns the names of the types that `text` declares, at any depth. Associated types do not
/// count.
fn declared(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let is_top = !line.starts_with(' ');
        let mut words =
            line.split_whitespace().skip_while(|word| word.starts_with("pub")).peekable();
        // `pub(in crate::auth)` is two words.
        words.next_if(|word| word.ends_with(')'));
        let kind = words.next().unwrap_or_default();
        if matches!(kind, "struct" | "enum" | "trait" | "union") || (kind == "type" && is_top) {
            names.insert(identifier(words.next().unwrap_or_default()));
        }
    }
    // In a macro the name is a parameter.
    names.remove("");
    names
}

/// Asserts that no type name is declared by two of these files.
fn assert_one_meaning(sources: &[Source]) {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        for name in declared(production(&source.path, &source.text)) {
            places.entry(name).or_default().push(source.path.display().to_string());
        }
    }
    let twice = |(name, files): &(&String, &Vec<String>)| {
        files.len() > 1 && !CONVENTIONS.contains(&name.as_str())
    };
    let wrong: Vec<_> =
        places.iter().filter(twice).map(|(name, files)| format!("{name}: {files:?}")).collect();
    assert!(wrong.is_empty(), "one name, one meaning:\n{}", wrong.join("\n"));
}

#[test]
fn a_type_name_means_one_thing() {
    assert_one_meaning(&sources());
}

#[test]
fn a_type_name_of_the_sandbox_means_one_thing() {
    let mut found = Vec::new();
    collect(&root().join("sandbox/src"), &root().join("sandbox/src"), &mut found);
    assert_one_meaning(&found);
}

#[test]
fn the_reader_sees_a_forbidden_name() {
    let text = "//! [`crate::routes`]\nuse crate::{oauth::Grant, capi::{self, model::Guid}, telemetry};\nfn f() { crate::http::x() }";
    let names: Vec<String> = named(text).into_iter().collect();
    assert_eq!(names, ["capi", "http", "oauth", "routes", "telemetry"]);
    assert_eq!(forbidden("token", text, &table()), ["capi", "http", "routes"]);
}

#[test]
fn the_reader_sees_a_circle_of_files() {
    let source = |path: &str, text: &str| Source {
        module: "m".to_owned(),
        path: root().join("src/m").join(path),
        text: text.to_owned(),
    };
    let with = |b: &str| {
        let files = [
            source("mod.rs", "mod a;\nmod b;\npub use a::A;"),
            source("a.rs", "use super::{\n    b::{self, c::C},\n};\nmod e;"),
            source("a/e.rs", "use crate::m::b;"),
            source("b.rs", b),
        ];
        circles(&files_of("m", &files))
    };
    assert_eq!(with("//! [`super::a`]\nfn f() {}"), Vec::<String>::new());
    assert_eq!(with("use crate::m::a::A;").len(), 3);
    assert_eq!(with("use crate::{m::a::A, x};").len(), 3);
    assert_eq!(with("fn f(x: super::A) {}").len(), 4, "what `mod.rs` gives counts as `mod.rs`");
}

#[test]
fn the_reader_sees_every_kind_of_type() {
    let text = "pub struct A {\npub(crate) enum B<T> {\ntrait C: Send {\npub(in crate::auth) struct D;\n    type Error = E;\ntype F = G;\n    struct H(u8);\n// struct I";
    let names: Vec<String> = declared(text).into_iter().collect();
    assert_eq!(names, ["A", "B", "C", "D", "F", "H"]);
}
