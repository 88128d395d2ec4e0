//! System calls that fail when we say so, in one thread of the running bridge.

use crate::bridge::{DEADLINE, wait_bounded};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use tempfile::TempDir;

/// Whether calls can be traced here.
///
/// # Errors
/// Why not.
pub fn is_allowed() -> Result<(), String> {
    crate::disks::run(&["strace", "-qq", "-e", "trace=none", "true"]).map(drop)
}

/// One thread under strace. Left alone again when dropped.
pub struct Tracer {
    child: Option<Child>,
    directory: TempDir,
}

impl Tracer {
    /// Attaches to one thread and to no other, so that calls are counted from now on and by themselves.
    ///
    /// `rule` is what strace injects: `fsync:error=EIO:when=3`.
    pub fn attach(thread: u32, rule: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let call = rule.split(':').next().expect("a call");
        let mut child = Command::new("strace")
            .args([
                "-y",
                "-p",
                &thread.to_string(),
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={rule}"),
                "-o",
            ])
            .arg(directory.path().join("trace"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let stderr = child.stderr.take().expect("piped");
        let (attached, is_attached) = sync_channel(1);
        // Reads to the end, so that strace never waits for somebody to read.
        std::thread::spawn(move || {
            let mut attached = Some(attached);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(" attached")
                    && let Some(attached) = attached.take()
                {
                    let _ = attached.send(());
                }
            }
        });
        is_attached.recv_timeout(DEADLINE).expect("strace attaches");
        Self { child: Some(child), directory }
    }

    fn trace(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// Lets go of the thread. How many calls were seen, and those of them that failed by our order and have to end the
    /// process: nothing rests on what is noted in the lock file.
    pub fn detach(mut self) -> (usize, Vec<String>) {
        self.end();
        let trace = std::fs::read_to_string(self.trace()).expect("a trace");
        let calls = trace.lines().filter(|line| line.contains('(')).count();
        let failed = |line: &&str| line.contains("(INJECTED)") && !line.contains(".lock>");
        (calls, trace.lines().filter(failed).map(str::to_owned).collect())
    }

    fn end(&mut self) {
        if let Some(child) = self.child.take() {
            // It may have ended with the process that it looked at; its number is its own until it is waited for.
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGINT);
            let _ = wait_bounded(child);
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The number of the thread of a process that has this name.
pub fn thread_named(process: u32, name: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let mut threads = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |thread: &u32| {
        std::fs::read_to_string(format!("/proc/{process}/task/{thread}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    threads.find(is_it).unwrap_or_else(|| panic!("no thread {name}"))
}
