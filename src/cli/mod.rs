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

use crate::telemetry;
use std::io::Write;

/// Prints to standard output. A reader that has gone away is no reason to fail.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints what others have written: nothing in it moves the cursor, colours what follows, or turns text around. What is
/// JSON says the same afterwards.
pub fn print_foreign(text: &str) {
    print(&harmless(text));
}

/// Prints to standard error, also what others have written.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().write_all(harmless(text).as_bytes());
}

fn harmless(text: &str) -> String {
    text.split_inclusive('\n').map(telemetry::harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_and_not_obeyed() {
        let answer = "{\"id\":\"1\",\"error\":{\"message\":\"no\u{9b}2J\u{202e}\"}}\n";
        let shown = harmless(answer);
        assert_eq!(shown, "{\"id\":\"1\",\"error\":{\"message\":\"no\\u009b2J\\u202e\"}}\n");
        assert_eq!(harmless("one\ntwo\u{1b}[31m\n"), "one\ntwo\\u001b[31m\n");
    }
}
