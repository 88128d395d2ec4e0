//! Keeps the memory of this process to itself: it holds messages, and the keys to the broker and the sender.
//!
//! Invariant: once [`forbid`] has returned, a crash leaves no picture of the memory behind, and only root may attach to
//! the process or read its environment.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::io;

const NO_CORE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };

/// Forbids core dumps and debuggers of the same user, for good.
///
/// # Errors
/// What the system says. Whatever of both could be forbidden is.
pub fn forbid() -> io::Result<()> {
    // A core dump can be piped into a program whatever the limit says, so the limit alone is not enough.
    let attached = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A service manager that has set the limit may forbid to set it again.
    let written = if getrlimit(Resource::Core) == NO_CORE { Ok(()) } else { setrlimit(Resource::Core, NO_CORE) };
    attached?;
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::dumpable_behavior;

    #[test]
    fn no_picture_of_the_memory_is_left_behind() {
        forbid().expect("nobody forbids it");
        assert_eq!(dumpable_behavior().expect("it can be asked"), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), NO_CORE);
        forbid().expect("again is no mistake");
    }
}
