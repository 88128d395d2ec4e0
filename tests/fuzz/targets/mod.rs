//! What is fuzzed: each parser that strangers reach, and what must hold whatever comes in.
//!
//! A target gets bytes, has them read, and panics where a promise is broken. The default tests run all of them over the
//! corpora and over inputs made from these (`tests/fuzz/main.rs`); the long run is led by coverage (`tests/fuzz/run`).

mod address;
mod answer;
mod callback;
mod command;
mod config;
mod fault;
mod json;
mod request;
mod topics;

use std::fs;
use std::path::{Path, PathBuf};

/// One parser.
pub struct Target {
    /// Of the folder of its corpus below `tests/data/fuzz`, too.
    pub name: &'static str,
    /// Has the input read, and panics where a promise is broken.
    pub check: fn(&[u8]),
    /// Longest input that is tried, in bytes.
    pub bytes_max: usize,
    /// Words that mean something in its format, separated by white space; `␠` stands for a space in one.
    pub words: &'static str,
    /// Inputs that the repository has for other tests.
    seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 12] = [
    Target { name: "request", check: request::check, bytes_max: 4096, words: request::WORDS, seeds: request::seeds },
    Target { name: "command", check: command::check, bytes_max: 4096, words: command::WORDS, seeds: command::seeds },
    Target {
        name: "callback-quntool",
        check: callback::quntool,
        bytes_max: 4096,
        words: callback::QUNTOOL_WORDS,
        seeds: || blocks("quntool.txt"),
    },
    Target {
        name: "callback-guid",
        check: callback::guid,
        bytes_max: 8192,
        words: callback::GUID_WORDS,
        seeds: || blocks("guid.txt"),
    },
    Target {
        name: "callback-yunxin",
        check: callback::yunxin,
        bytes_max: 4096,
        words: callback::YUNXIN_WORDS,
        seeds: || blocks("yunxin.txt"),
    },
    Target {
        name: "callback-wecom",
        check: callback::wecom,
        bytes_max: 4096,
        words: callback::WECOM_WORDS,
        seeds: || blocks("wecom.txt"),
    },
    Target { name: "send-answer", check: answer::send, bytes_max: 4096, words: answer::WORDS, seeds: Vec::new },
    Target { name: "call-answer", check: answer::call, bytes_max: 4096, words: answer::WORDS, seeds: Vec::new },
    Target { name: "account-list", check: answer::list, bytes_max: 4096, words: answer::LIST_WORDS, seeds: Vec::new },
    Target { name: "config", check: config::check, bytes_max: 8192, words: config::WORDS, seeds: config::seeds },
    Target { name: "topics", check: topics::check, bytes_max: 2048, words: topics::WORDS, seeds: Vec::new },
    Target { name: "address", check: address::check, bytes_max: 1024, words: address::WORDS, seeds: Vec::new },
];

impl Target {
    /// Where its own corpus is.
    pub fn folder(&self) -> PathBuf {
        Path::new(crate::ROOT).join("tests/data/fuzz").join(self.name)
    }

    /// Every input that is known: the corpus, with the paths of its files, and what other tests have.
    pub fn corpus(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut corpus = files(&self.folder());
        corpus.extend((self.seeds)().into_iter().map(|seed| (PathBuf::from("another test's data"), seed)));
        corpus.retain(|(_, input)| input.len() <= self.bytes_max);
        corpus
    }

    /// The words of its format.
    pub fn words(&self) -> Vec<Vec<u8>> {
        self.words.split_whitespace().map(|word| word.replace('␠', " ").into_bytes()).collect()
    }
}

/// The files of a folder in the order of their names; none where there is no folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("a readable file"))).collect()
}

/// The originals of callbacks that other tests have.
fn blocks(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(crate::ROOT).join("tests/data/callbacks").join(file);
    let text = fs::read_to_string(path).expect("the originals");
    text.split("\n\n").filter_map(|block| block.lines().nth(1)).map(|line| line.as_bytes().to_vec()).collect()
}
