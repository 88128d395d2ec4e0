//! Every parser that strangers reach, over everything in the corpora and over inputs made from it: the same ones in
//! every run. The long run, led by coverage, is `tests/fuzz/run`; what it finds becomes a file of the corpus.
//!
//! An input at which a promise breaks is printed and kept in `target/fuzz-failures`: copied to the folder of its target
//! below `tests/data/fuzz` it is tried in every run from then on.

mod log;
mod mutate;
mod plant;
mod random;
mod targets;

use mutate::{Stock, mutate};
use random::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use targets::{TARGETS, Target};

/// Where `tests/data` is.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Inputs that are made for each target; another number of them with `SENDBRIDGE_FUZZ_INPUTS`.
const INPUTS: u64 = 30_000;

/// Runs one input. `what` says where it came from.
fn try_one(target: &Target, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.check)(input))).is_ok() {
        return;
    }
    let sum = input.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(0x100_0000_01B3) ^ u64::from(*byte));
    let folder = Path::new(ROOT).join("target/fuzz-failures");
    let path = folder.join(format!("{}-{sum:016x}", target.name));
    let is_kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)).is_ok();
    let kept = if is_kept { path.display().to_string() } else { "nowhere: the disk did not take it".to_owned() };
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = target.folder();
    panic!("{what} breaks {}\nkept in {kept}\ncopy it into {}\nin hex: {hex}", target.name, folder.display());
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = target.corpus();
    for (path, input) in &corpus {
        try_one(target, input, &path.display().to_string());
    }
    let others: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let words = target.words();
    let stock = Stock { words: &words, others: &others, bytes_max: target.bytes_max };
    let inputs = std::env::var("SENDBRIDGE_FUZZ_INPUTS").map_or(INPUTS, |text| text.parse().expect("a number"));
    for number in 0..inputs {
        let mut random = Random::new(number);
        let known = random.pick(&others).clone();
        try_one(target, &mutate(&known, &stock, &mut random), &format!("input {number}"));
    }
}

#[test]
fn any_request_is_refused_or_forwarded_as_it_was_written() {
    run("request");
}

#[test]
fn any_command_is_refused_or_understood_and_calls_nothing_that_sends() {
    run("command");
}

#[test]
fn any_callback_of_quntool_is_read_or_refused() {
    run("callback-quntool");
}

#[test]
fn any_callbacks_of_a_guid_are_read_or_refused() {
    run("callback-guid");
}

#[test]
fn only_what_yunxin_signed_is_taken() {
    run("callback-yunxin");
}

#[test]
fn only_what_wecom_signed_is_taken() {
    run("callback-wecom");
}

#[test]
fn any_answer_to_a_send_proves_no_more_than_it_says() {
    run("send-answer");
}

#[test]
fn any_answer_to_a_call_proves_no_more_than_it_says() {
    run("call-answer");
}

#[test]
fn any_account_list_is_read_or_refused() {
    run("account-list");
}

#[test]
fn any_configuration_is_loaded_or_refused_without_a_secret() {
    run("config");
}

#[test]
fn no_names_of_topics_make_the_bridge_hear_itself() {
    run("topics");
}

#[test]
fn no_address_leads_where_it_may_not() {
    run("address");
}

#[test]
fn every_target_is_run_and_has_a_corpus() {
    let own = include_str!("main.rs");
    for target in &TARGETS {
        assert!(own.contains(&format!("run(\"{}\");", target.name)), "{} is not run", target.name);
        assert!(fs::read_dir(target.folder()).is_ok_and(|files| files.count() > 0), "{} has no corpus", target.name);
    }
}
