//! The targets under libFuzzer, which keeps what reaches new code. See `tests/fuzz/run`.
//!
//! `SENDBRIDGE_FUZZ_TARGET` names the target. With `SENDBRIDGE_FUZZ_INTO=FOLDER` nothing is run: the known inputs of
//! the target go into the folder, its words beside it as `FOLDER.dict`, and its longest input is printed; without a
//! target the names of all are printed.

#![no_main]

mod log;
mod mutate;
mod plant;
mod random;
mod targets;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mutate::{Stock, mutate};
use random::Random;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use targets::{TARGETS, Target};

/// Where `tests/data` is.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

static TARGET: LazyLock<Option<&Target>> = LazyLock::new(|| {
    let name = std::env::var("SENDBRIDGE_FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name)
});
static WORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| TARGET.map(Target::words).unwrap_or_default());
static OTHERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let corpus = TARGET.map(Target::corpus).unwrap_or_default();
    corpus.into_iter().map(|(_, input)| input).collect()
});

fuzz_target!(init: prepare(), |input: &[u8]| {
    if let Some(target) = *TARGET {
        (target.check)(input);
    }
});

// Half of the new inputs are made in the words of the format, the others as libFuzzer makes them.
fuzz_mutator!(|data: &mut [u8], size: usize, bytes_max: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, bytes_max);
    }
    let stock = Stock { words: &WORDS, others: &OTHERS, bytes_max };
    let made = mutate(&data[..size], &stock, &mut Random::new(seed.into()));
    let bytes = made.len().min(bytes_max);
    data[..bytes].copy_from_slice(&made[..bytes]);
    bytes
});

fn prepare() {
    let Some(target) = *TARGET else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let Some(folder) = std::env::var_os("SENDBRIDGE_FUZZ_INTO").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("a folder");
    for (number, input) in OTHERS.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}")), input).expect("written");
    }
    let quoted = |word: &Vec<u8>| word.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let words: String = WORDS.iter().map(|word| format!("\"{}\"\n", quoted(word))).collect();
    fs::write(folder.with_extension("dict"), words).expect("written");
    println!("{}", target.bytes_max);
    std::process::exit(0);
}
