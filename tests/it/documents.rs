//! The documents and the code agree: links resolve, nothing outside the repository is cited, the
//! rows of faults that the code names exist, and the map shows the modules there are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::modules::MODULES;

/// Folders that hold nothing of ours.
const SKIPPED: &[&str] = &["target", "node_modules", ".git", "corpus"];

/// Endings of files that are read for citations.
const TEXTS: &[&str] =
    &["rs", "toml", "md", "sh", "py", "js", "mjs", "cjs", "yml", "yaml", "http", "json"];

/// A text file of the repository.
struct Text {
    path: PathBuf,
    content: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all text files with one of these endings.
fn texts(endings: &[&str]) -> Vec<Text> {
    let mut found = Vec::new();
    collect(&root(), endings, &mut found);
    assert!(found.len() > 20, "too few files: {}", found.len());
    found
}

fn collect(dir: &Path, endings: &[&str], found: &mut Vec<Text>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let ending = path.extension().map(|end| end.to_string_lossy().into_owned());
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_str()) {
            collect(&path, endings, found);
        } else if ending.is_some_and(|end| endings.contains(&end.as_str()))
            && name != "package-lock.json"
        {
            let content = fs::read_to_string(&path).unwrap();
            found.push(Text { path, content });
        }
    }
}

/// Returns the targets of Markdown links: `[text](target)`.
fn links(markdown: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in markdown.match_indices("](") {
        let rest = markdown.get(at + 2..).unwrap_or("");
        if let Some((target, _)) = rest.split_once(')') {
            found.push(target);
        }
    }
    found
}

/// Returns the anchors of a page, as the usual viewers make them from headings.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_a_document_resolves() {
    let mut wrong = Vec::new();
    for text in texts(&["md"]) {
        for link in links(&text.content) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => text.path.clone(),
                _ => text.path.parent().unwrap().join(file),
            };
            let is_there = match anchor {
                "" => target.exists(),
                _ => fs::read_to_string(&target).is_ok_and(|page| anchors(&page).contains(anchor)),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", text.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the names of Markdown files in a text, with the path that stands before them.
fn cited_pages(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '_' | '-');
    let words = text.split(|c: char| !is_part(c));
    let pages = words.filter_map(|word| word.trim_end_matches('.').strip_suffix(".md"));
    pages.filter(|name| !name.is_empty()).map(|name| format!("{name}.md")).collect()
}

#[test]
fn every_page_that_is_cited_is_in_the_repository() {
    let mut wrong = Vec::new();
    for text in texts(TEXTS) {
        // This file names pages that do not exist.
        if text.path.ends_with("tests/it/documents.rs") {
            continue;
        }
        for page in cited_pages(&text.content) {
            let beside = text.path.parent().unwrap().join(&page);
            // The text of a link names the page without its folder; links have their own test.
            let is_link = text.content.contains(&format!("[{page}]("));
            if !root().join(&page).exists() && !beside.exists() && !is_link {
                wrong.push(format!("{}: {page}", text.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the codes in a text: one capital letter and one or two digits, as words of their own.
fn codes(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '%' | '-' | '+' | '.' | '/');
    let is_code = |word: &&str| {
        let digits = word.get(1..).unwrap_or("");
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && matches!(digits.len(), 1 | 2)
            && digits.bytes().all(|c| c.is_ascii_digit())
    };
    let words = text.split(|c: char| !is_word(c)).map(|word| word.trim_end_matches('.'));
    words.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn every_code_in_a_comment_is_a_row_of_the_table_of_faults() {
    let table = fs::read_to_string(root().join("docs/reference/uaa-faults.md")).unwrap();
    let rows: BTreeSet<String> =
        table.lines().filter(|line| line.starts_with("| **F")).flat_map(codes).collect();
    assert!(rows.len() >= 26, "{rows:?}");
    let mut wrong = Vec::new();
    for text in texts(&["rs"]) {
        let comments = text.content.lines().filter_map(|line| line.split_once("//"));
        for code in comments.flat_map(|(_, comment)| codes(comment)) {
            if !rows.contains(&code) {
                wrong.push(format!("{}: {code}", text.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn comments_are_as_wide_as_the_code() {
    for file in texts(&["rs"]) {
        for (number, line) in file.content.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            let place = format!("{}:{}", file.path.display(), number + 1);
            assert!(!is_comment || line.chars().count() <= 100, "{place}: over 100 characters");
        }
    }
}

#[test]
fn the_map_names_exactly_the_modules() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, rest) = page.split_once("```mermaid").unwrap();
    let (picture, _) = rest.split_once("```").unwrap();
    let nodes: BTreeSet<&str> = picture
        .match_indices('[')
        .filter_map(|(at, _)| picture.get(..at)?.split_whitespace().last())
        .collect();
    let modules: BTreeSet<&str> = MODULES.iter().map(|(name, _)| *name).collect();
    let shown: BTreeSet<&str> = nodes.iter().copied().filter(|name| *name != "outside").collect();
    assert_eq!(shown, modules);
}

#[test]
fn the_table_of_modules_is_that_of_the_test() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for (module, dependencies) in MODULES {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{module}` |")));
        let row = row.unwrap_or_else(|| panic!("no row for {module}"));
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: BTreeSet<&str> = last.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, dependencies.iter().copied().collect(), "{module}");
    }
}

/// Returns whether a path in backticks exists, from the root or below `src/`, with or without
/// `.rs`.
fn is_path(path: &str) -> bool {
    let starts = [root(), root().join("src")];
    let spellings = [path.to_owned(), format!("{path}.rs"), format!("{path}/mod.rs")];
    starts.iter().any(|start| spellings.iter().any(|spelling| start.join(spelling).exists()))
}

#[test]
fn every_file_that_the_map_names_exists() {
    let mut wrong = Vec::new();
    for page in ["docs/ARCHITECTURE.md", "docs/CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let first = quoted.split('/').next().unwrap_or_default();
            // What a build makes may not exist yet.
            let is_ours = !matches!(first, "" | "target") && is_path(first) && quoted.contains('/');
            let is_plain = !quoted.contains([' ', '*', '{', '\n']);
            if is_ours && is_plain && !is_path(quoted) {
                wrong.push(format!("{page}: {quoted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `benches/spaces.sh` measures is what a deployment has.
#[test]
fn the_descriptors_and_the_bench_set_the_same_threshold_of_the_allocator() {
    let found = ["manifest.yml", "mta.yaml", "benches/spaces.sh"].map(|name| {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let (_, value) = text.split_once("MALLOC_MMAP_THRESHOLD_").unwrap();
        let digits = value.trim_start_matches([':', '=', ' ', '"']).chars();
        digits.take_while(char::is_ascii_digit).collect::<String>()
    });
    assert_eq!(found, ["131072"; 3]);
}

#[test]
fn the_readers_see_links_pages_and_codes() {
    assert_eq!(links("a [b](c.md#d) and [e](f)"), ["c.md#d", "f"]);
    assert!(anchors("## What is *not* here, and why").contains("what-is-not-here-and-why"));
    let pages: Vec<_> =
        cited_pages("see `x.md`, docs/y.md. Not .md or z.mdx").into_iter().collect();
    assert_eq!(pages, ["docs/y.md", "x.md"]);
    let found: Vec<_> = codes("T8, (R18) and F3. Not %C3, ES256, P-256, V3x").into_iter().collect();
    assert_eq!(found, ["F3", "R18", "T8"]);
}
