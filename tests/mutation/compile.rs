//! One binary of all mutants: what the compiler does not take is left out, until it takes all that is left.

use crate::list::Mutant;
use crate::rewrite::{extents, rewrite};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Compiled {
    pub binary: PathBuf,
    /// Each mutant in it, with its site.
    pub sites: BTreeMap<usize, usize>,
    /// What is no program.
    pub unviable: BTreeSet<usize>,
}

/// Compiles the tests of the package in `into`, whose source is that of `from` with all `mutants` in it.
pub fn compile(from: &Path, into: &Path, mutants: &[Mutant]) -> Compiled {
    let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        files.entry(&mutant.file).or_default().push(mutant);
    }
    let mut unviable = BTreeSet::new();
    loop {
        let mut sites = BTreeMap::new();
        for (file, mutants) in &files {
            let wanted: Vec<&Mutant> =
                mutants.iter().copied().filter(|mutant| !unviable.contains(&mutant.number)).collect();
            let source = fs::read_to_string(from.join(file)).expect("a source is there");
            let rewritten = rewrite(&source, &wanted);
            fs::write(into.join(file), rewritten.text).expect("a source is written");
            sites.extend(rewritten.sites);
            unviable.extend(rewritten.unviable);
        }
        let refused = refused(into);
        eprintln!("{} mutants in one binary, {} of them do not compile", sites.len(), refused.len());
        unviable.extend(&refused);
        if refused.is_empty() {
            sites.retain(|mutant, _| !unviable.contains(mutant));
            let binary = build(into).expect("what passes the check compiles");
            // What is compiled alone takes its name.
            let own = into.join("target/all");
            fs::copy(binary, &own).expect("there is room for a binary");
            return Compiled { binary: own, sites, unviable };
        }
    }
}

fn cargo(folder: &Path, arguments: &[&str]) -> (bool, Vec<Value>) {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).args(["--lib", "--locked", "--message-format=json"]);
    let run = cargo.current_dir(folder).stderr(Stdio::null()).output();
    let run = run.expect("cargo runs");
    let lines = String::from_utf8(run.stdout).expect("cargo prints text");
    (run.status.success(), lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The mutants that the compiler does not take.
fn refused(folder: &Path) -> BTreeSet<usize> {
    let (is_good, messages) = cargo(folder, &["check"]);
    let mut known = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for error in messages.iter().map(|message| &message["message"]).filter(|message| message["level"] == "error") {
        let spans = error["spans"].as_array().into_iter().flatten();
        for span in spans.filter(|span| span["is_primary"] == true) {
            let file = span["file_name"].as_str().expect("a span has a file");
            let start = span["byte_start"].as_u64().expect("a span has a start") as usize;
            let read = || extents(&fs::read_to_string(folder.join(file)).expect("a rewritten file is there"));
            let around = known.entry(file).or_insert_with(read).iter().filter(|(extent, _)| extent.contains(&start));
            let innermost = around.min_by_key(|(extent, _)| extent.len());
            let Some((_, mutants)) = innermost else { panic!("about no mutant: {}", error["rendered"]) };
            refused.extend(mutants);
        }
    }
    assert!(is_good || !refused.is_empty(), "it does not compile, and nothing says why: {messages:?}");
    refused
}

/// The tests of one mutant alone, compiled in the package that it is a mutant of, as a file of their own; nothing, if
/// they do not compile.
pub fn compile_alone(folder: &Path, mutant: &Mutant) -> Option<PathBuf> {
    let path = folder.join(&mutant.file);
    let source = fs::read_to_string(&path).expect("a source is there");
    fs::write(&path, mutant.change(&source)).expect("a source is written");
    let binary = build(folder);
    fs::write(&path, source).expect("a source is written");
    let own = folder.join("target").join(format!("mutant-{}", mutant.number));
    binary.map(|binary| {
        fs::copy(binary, &own).expect("there is room for a binary");
        own
    })
}

/// The test binary, if it compiles.
fn build(folder: &Path) -> Option<PathBuf> {
    let (is_good, messages) = cargo(folder, &["test", "--no-run"]);
    let binary = messages.iter().rev().find_map(|message| message["executable"].as_str());
    is_good.then(|| binary.expect("the tests are a program").into())
}
