//! The table of faults names tests that there are, and leaves no number out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROWS: usize = 82;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all functions below a folder that are marked as tests.
pub fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            names.extend(tests_in(&text).map(str::to_owned));
        }
    }
}

fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_marked = true;
            return None;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ")?;
        let name = name.split_once('(')?.0;
        std::mem::take(&mut is_marked).then_some(name)
    })
}

/// What stands between backticks.
pub fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

#[test]
fn every_fault_has_a_row_that_names_its_tests_or_says_that_it_is_open() {
    let text = std::fs::read_to_string(root().join("tests/FAULTS.md")).expect("the table");
    let mut tests = BTreeSet::new();
    tests_below(&root().join("src"), &mut tests);
    tests_below(&root().join("tests"), &mut tests);
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
        let missing: Vec<&str> = quoted(shown).filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "row {number} names what is no test: {missing:?}");
        let says = quoted(shown).next().is_some()
            || ["**open:**", "seeded", "as "].iter().any(|w| shown.to_lowercase().contains(w));
        assert!(says, "row {number} names no test and does not say that it is open");
    }
}

#[test]
fn the_reader_of_tests_sees_marked_functions_only() {
    let text = "#[test]\nfn one() {\n}\nfn two() {}\n#[tokio::test(flavor = \"x\")]\nasync fn three() {}\n";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), ["one", "three"]);
    assert_eq!(quoted("a `b` and `c`").collect::<Vec<_>>(), ["b", "c"]);
}
