//! What a start needs of the system, asked for before anything begins: the runtime panics where it is refused.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::thread::{self, Builder, JoinHandle};

/// Threads beside one for each core: the journal has two or three, and the runtime some for files and names.
const THREADS: usize = 6;

/// Descriptors of the runtime, the journal, the broker's connections and the first requests.
const DESCRIPTORS: usize = 20;

/// Takes as many threads and descriptors as a start needs, and gives them back.
///
/// # Errors
/// What is scarce, and what to do about it.
pub fn check_resources() -> Result<(), String> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get) + THREADS;
    take_threads(threads).map_err(|error| {
        format!("{threads} threads are needed and the system refuses: {error}; raise TasksMax= or ulimit -u")
    })?;
    take_descriptors(DESCRIPTORS).map_err(|error| {
        format!(
            "{DESCRIPTORS} file descriptors are needed and the system refuses: {error}; raise LimitNOFILE= or ulimit -n"
        )
    })
}

/// So many at once.
fn take_threads(count: usize) -> io::Result<()> {
    let mut taken = Vec::with_capacity(count);
    let refused = (0..count).find_map(|_| match Builder::new().spawn(thread::park) {
        Ok(thread) => {
            taken.push(thread);
            None
        }
        Err(error) => Some(error),
    });
    taken.iter().map(JoinHandle::thread).for_each(thread::Thread::unpark);
    // They do nothing that could panic.
    taken.into_iter().for_each(|thread| drop(thread.join()));
    refused.map_or(Ok(()), Err)
}

/// So many at once.
fn take_descriptors(count: usize) -> io::Result<()> {
    (0..count).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<_>>>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_gives_is_given_back() {
        for _ in 0..100 {
            check_resources().expect("threads and descriptors");
        }
    }
}
