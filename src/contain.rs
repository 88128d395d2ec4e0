//! Panics that must not end the process at once: what one message did wrong, the others must not pay for.
//!
//! The program's panic hook ends the process, because half a bridge is worse than none; it leaves alone what happens
//! in here.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is caught and dealt with.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Does something, or returns `None` when that panicked. What it worked on may be half done then: the caller throws it
/// away.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = CONTAINED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_contained_and_only_inside() {
        assert_eq!(contained(|| (is_contained(), 1)), Some((true, 1)));
        assert_eq!(contained(|| -> u8 { panic!("a bug") }), None);
        assert!(!is_contained());
    }
}
