//! The shape of the source: who may import whom, and how long a file may get.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file outside of the tests at its end.
const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 120;

/// What each room may import of ours, beside itself. Arrows only go down: edges never know each other.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        (
            "app",
            &[
                "bridge",
                "broker",
                "clock",
                "config",
                "crash",
                "engine",
                "intake",
                "journal",
                "model",
                "mqtt",
                "publisher",
                "sender",
                "supervisor",
                "telemetry",
            ][..],
        ),
        ("bridge", &["clock", "contain", "crash", "engine", "journal", "model", "telemetry"]),
        ("clock", &["model"]),
        ("config", &["model"]),
        ("contain", &[]),
        ("crash", &["model"]),
        ("dump", &[]),
        ("engine", &["model"]),
        ("intake", &["clock", "contain", "crash", "model", "mqtt", "telemetry"]),
        ("journal", &["crash", "model"]),
        ("model", &[]),
        ("mqtt", &["clock", "crash", "model", "telemetry"]),
        ("publisher", &["clock", "contain", "model", "mqtt", "telemetry"]),
        ("sender", &["clock", "crash", "model", "telemetry"]),
        ("supervisor", &["model"]),
        ("telemetry", &["engine", "model"]),
    ])
}

fn source_files() -> Vec<PathBuf> {
    let files = files_below("src");
    assert!(files.len() > 50, "the source was not found");
    files
}

/// Every file of Rust below a folder of the project.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Below `src`, or else below the project.
fn relative(path: &Path) -> String {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = path.strip_prefix(project).expect("a path of the project");
    path.strip_prefix("src").unwrap_or(path).display().to_string()
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("tests.rs")
        || path.ends_with("scripted.rs")
}

/// The part of a file before its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// The rooms that a text names after `crate::`, also inside a nested `use crate::{…}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        rooms.extend(first_word(part));
                    }
                    depth += part.matches('{').count();
                    match (part.contains('}'), depth) {
                        (true, 0) => break,
                        (true, _) => depth -= 1,
                        (false, _) => {}
                    }
                }
            }
            None => rooms.extend(first_word(rest)),
        }
    }
    rooms
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for path in source_files() {
        let name = relative(&path);
        let room = name.split(['/', '.']).next().unwrap_or_default();
        if matches!(room, "main" | "lib" | "cli") || is_test_file(&name) {
            continue;
        }
        let below = allowed.get(room).unwrap_or_else(|| panic!("{name}: the room {room} has no row in this table"));
        let text = fs::read_to_string(&path).expect("a readable file");
        let code: String = without_tests(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for named in rooms_named(&code) {
            if named != room && !below.contains(&named.as_str()) {
                wrong.push(format!("{name} imports {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_configuration_is_taken_apart_in_one_place() {
    for path in source_files() {
        let name = relative(&path);
        let room = name.split(['/', '.']).next().unwrap_or_default();
        if matches!(room, "app" | "main" | "config" | "cli") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable file");
        assert!(!rooms_named(&text).contains("config"), "{name} knows the configuration");
    }
}

#[test]
fn files_stay_short_and_lines_too() {
    let mut wrong = Vec::new();
    for path in source_files().into_iter().chain(files_below("tests")).chain(files_below("benches")) {
        let name = relative(&path);
        let text = fs::read_to_string(&path).expect("a readable file");
        let lines = without_tests(&text).lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{name} has {lines} lines"));
        }
        for (number, line) in text.lines().enumerate().filter(|_| !is_test_file(&name)) {
            // The formatter leaves text in quotes as it is.
            if line.chars().count() > COLUMNS_MAX && !line.contains('"') {
                wrong.push(format!("{name}:{} has {} columns", number + 1, line.chars().count()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_clock_reads_time_and_the_engine_waits_for_nothing() {
    for path in source_files() {
        let name = relative(&path);
        let text = fs::read_to_string(&path).expect("a readable file");
        let code = without_tests(&text);
        if name != "clock.rs" && !is_test_file(&name) {
            for banned in ["Instant::now()", "SystemTime::now()"] {
                assert!(!code.contains(banned), "{name} reads a clock: {banned}");
            }
        }
        if name.starts_with("engine") {
            for banned in ["async ", ".await", "tokio", "std::fs", "std::net", "std::time::Instant", "Uuid"] {
                assert!(!code.contains(banned), "{name} is not pure: {banned}");
            }
        }
    }
}

#[test]
fn the_reader_of_imports_sees_nested_ones() {
    let rooms = rooms_named("use crate::{clock, model::{Time, Seq}, mqtt};\nlet x = crate::engine::Engine::new();");
    assert_eq!(rooms.into_iter().collect::<Vec<_>>(), ["clock", "engine", "model", "mqtt"]);
}
