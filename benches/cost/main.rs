//! What the bridge itself costs, without broker, sender and network: see benches/README.md.
//!
//! `work N` takes N messages through parser, engine, journal and payloads, always in the same way, so that what is
//! counted of it (instructions, by callgrind) says what a change costs, whatever else the machine is doing.
//! `decisions` shows how the cost of a decision grows with the accounts that have work,
//! `day` how much of its limits a company uses.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a measurement picks the few cases that it is about")]

mod day;
mod decisions;
mod settings;
mod work;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["work", messages] => work::run(messages.parse().expect("a number of messages")),
        ["decisions"] => decisions::run(1_000_000),
        ["decisions", accounts_max] => decisions::run(accounts_max.parse().expect("a number of accounts")),
        ["day"] => day::run(),
        _ => println!("usage: cost work MESSAGES | cost decisions [ACCOUNTS_MAX] | cost day"),
    }
}
