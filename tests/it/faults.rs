//! The table of faults names tests and dialogues that there are, and leaves no number out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROWS: usize = 82;

/// What stands right behind the name of a test that `cargo test` passes over: who runs it.
const MARKS: [&str; 3] = [" (root", " (last)", " (release)"];

/// The test that plays every dialogue there is. What it shows depends on which there are, so whoever rests on it names
/// them.
const DIALOGUES: &str = "the_engine_decides_as_written";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A function that is marked as a test, and whether it is ignored unless it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    name: String,
    is_ignored: bool,
}

/// The names of all functions below a folder that are marked as tests.
pub fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    let mut tests = BTreeSet::new();
    collect(folder, &mut tests);
    names.extend(tests.into_iter().map(|test| test.name));
}

fn collect(folder: &Path, tests: &mut BTreeSet<Test>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests.extend(tests_in(&std::fs::read_to_string(&path).expect("text")));
        }
    }
}

fn tests_in(text: &str) -> Vec<Test> {
    let (mut is_marked, mut is_ignored) = (false, false);
    let mut tests = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            (is_marked, is_ignored) = (true, false);
        } else if line.starts_with("#[ignore") {
            is_ignored = true;
        } else if let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ")
            && let Some((name, _)) = name.split_once('(')
            && std::mem::take(&mut is_marked)
        {
            tests.push(Test { name: name.to_owned(), is_ignored });
        }
    }
    tests
}

/// What stands between backticks.
pub fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

/// The same, each with what stands behind it.
fn quoted_and_behind(row: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = row.split('`').collect();
    (1..parts.len()).step_by(2).map(move |at| (parts[at], parts.get(at + 1).copied().unwrap_or_default()))
}

/// What is wrong with how a cell rests on the dialogues of `tests/data/engine`: it names those that it means, by their
/// files, and each is there and decides something.
pub fn mistakes_about_dialogues(shown: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let named: Vec<&str> = quoted(shown).filter(|name| is_dialogue(name)).collect();
    if quoted(shown).any(|name| name == DIALOGUES) == named.is_empty() {
        wrong.push(format!("{DIALOGUES} and the dialogues that are meant are to be named together"));
    }
    for name in named {
        let text = std::fs::read_to_string(root().join("tests/data/engine").join(name)).unwrap_or_default();
        if !text.lines().any(|line| line.starts_with("    ")) {
            wrong.push(format!("{name} is no dialogue in which the engine decides something"));
        }
    }
    wrong
}

pub fn is_dialogue(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "txt")
}

/// What is wrong with the last cell of a row.
fn mistakes(shown: &str, tests: &BTreeSet<Test>) -> Vec<String> {
    let mut wrong = mistakes_about_dialogues(shown);
    let mut names_tests = false;
    for (name, behind) in quoted_and_behind(shown).filter(|(name, _)| !is_dialogue(name)) {
        let is_marked = MARKS.iter().any(|mark| behind.starts_with(mark));
        match tests.iter().find(|test| test.name == name) {
            None => wrong.push(format!("{name} is no test")),
            Some(test) if test.is_ignored != is_marked => {
                wrong.push(format!("{name} is ignored: {}, and marked as such: {is_marked}", test.is_ignored));
            }
            Some(_) => names_tests = true,
        }
    }
    let (open, untried) = (shown.contains("**Open**: "), shown.split_once("Not tried: "));
    if untried.is_some_and(|(_, what)| !what.contains("because ")) {
        wrong.push("it does not say why it is not tried".to_owned());
    }
    if !names_tests && !open && untried.is_none() {
        wrong.push("it names no test, and does not say that it is open or not tried".to_owned());
    }
    wrong
}

#[test]
fn every_fault_has_a_row_that_names_its_tests_or_says_that_it_is_open() {
    let text = std::fs::read_to_string(root().join("tests/FAULTS.md")).expect("the table");
    let mut tests = BTreeSet::new();
    collect(&root().join("src"), &mut tests);
    collect(&root().join("tests"), &mut tests);
    let rows: Vec<(usize, &str)> = text
        .lines()
        .filter_map(|line| {
            let (number, _) = line.strip_prefix("| ")?.split_once(" |")?;
            Some((number.parse().ok()?, line))
        })
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
    for (number, row) in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        assert_eq!(mistakes(shown, &tests), [""; 0], "row {number}");
    }
}

#[test]
fn the_reader_of_tests_sees_marked_functions_only() {
    let text =
        "#[test]\nfn one() {\n}\nfn two() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore = \"y\"]\nasync fn three() {}\n";
    let seen: Vec<_> = tests_in(text).into_iter().map(|test| (test.name, test.is_ignored)).collect();
    assert_eq!(seen, [("one".to_owned(), false), ("three".to_owned(), true)]);
    assert_eq!(quoted("a `b` and `c`").collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn a_row_that_shows_nothing_is_found() {
    let test = |name: &str, is_ignored| Test { name: name.to_owned(), is_ignored };
    let tests = BTreeSet::from([test("usual", false), test("rare", true), test(DIALOGUES, false)]);
    for good in [
        "`usual`, seeded",
        "`rare` (root)",
        "`usual`, `rare` (root; the long form)",
        "`the_engine_decides_as_written` (`dedup.txt`, `crash.txt`), seeded",
        "`rare` (last)",
        "`rare` (release)",
        "**Open**: nothing yet",
        "Not tried: floods, because there are none",
        "`usual`. Not tried: floods, because there are none",
    ] {
        assert_eq!(mistakes(good, &tests), [""; 0], "{good}");
    }
    for bad in [
        "as 48",
        "seeded, was seen",
        "`unusual`",
        "`rare`",
        "`rare`, `usual` (root)",
        "`usual` (root)",
        "open",
        "`usual`. Not tried: floods",
        "`the_engine_decides_as_written`, seeded",
        "`the_engine_decides_as_written` (`no such dialogue.txt`)",
        "`usual`, `dedup.txt`",
    ] {
        assert_ne!(mistakes(bad, &tests), [""; 0], "{bad}");
    }
}
