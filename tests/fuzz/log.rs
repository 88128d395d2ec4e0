//! What is logged while something is done, as the text format writes it: the one in which lines could be forged.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Does something, and tells what was logged meanwhile by this thread: one line for each event, or it panics.
pub fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let format = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(|| Keeper);
        format.with_max_level(tracing::Level::TRACE).init();
    });
    WRITTEN.take();
    let done = work();
    let log = String::from_utf8(WRITTEN.take()).expect("a log is text");
    for line in log.lines() {
        let level = line.split_whitespace().next().unwrap_or_default();
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "a forged line: {line:?}");
        assert!(!line.chars().any(char::is_control), "a control character in the log: {line:?}");
    }
    (done, log)
}
