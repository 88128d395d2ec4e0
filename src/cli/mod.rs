//! The commands beside the service itself.

pub mod audit;

pub mod check;

pub mod demo;

pub mod sandbox;

pub mod pretend;

mod broker;

mod client;

pub mod schema;

mod workbench;

pub mod send;

pub mod simulate;

pub mod watch;

pub mod stop;

use std::io::Write;

/// Prints to standard output. A reader that has gone away is no reason to fail.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints to standard error.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
