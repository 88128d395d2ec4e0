//! A terminal of one test: a pseudo-terminal, and an emulator that shows what would be seen on it.

use crate::bridge::{DEADLINE, wait_bounded};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use tokio::sync::watch;

/// The program in a terminal, killed by its id when dropped.
pub struct Terminal {
    child: Option<Child>,
    keyboard: File,
    /// Kept open, so that the terminal is there to be looked at when the program has ended.
    line: OwnedFd,
    before: Termios,
    screen: watch::Sender<vt100::Parser>,
}

impl Terminal {
    /// Starts the program with these arguments in a terminal of its own, of that many lines and columns.
    pub fn start(arguments: &[&str], lines: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudo-terminal");
        let before = tcgetattr(&pair.slave).expect("its settings");
        let stdio = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        // A session of its own makes it the terminal that /dev/tty is, whoever runs the tests. It becomes the program
        // and keeps its id.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(env!("CARGO_BIN_EXE_sendbridge"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("these tests need setsid, of util-linux");
        let screen = watch::Sender::new(vt100::Parser::new(whole(lines), whole(columns), 0));
        let mut output = File::from(pair.master);
        let keyboard = output.try_clone().expect("a descriptor");
        std::thread::spawn({
            let screen = screen.clone();
            move || {
                let mut bytes = [0; 4096];
                // Ends with the last one that has the terminal open.
                while let Ok(length @ 1..) = output.read(&mut bytes) {
                    screen.send_modify(|screen| screen.process(&bytes[..length]));
                }
            }
        });
        Self { child: Some(child), keyboard, line: pair.slave, before, screen }
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// What is seen.
    pub fn text(&self) -> String {
        self.screen.borrow().screen().contents()
    }

    /// Returns once `is_there` holds of what is seen.
    pub async fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let mut screen = self.screen.subscribe();
        let seen = screen.wait_for(|screen| is_there(&screen.screen().contents()));
        let waited = tokio::time::timeout(DEADLINE, seen).await.is_ok();
        assert!(waited, "{what}: not seen in time:\n{}", self.text());
    }

    /// Returns once this text is seen.
    pub async fn sees(&self, text: &str) {
        self.wait(text, |seen| seen.contains(text)).await;
    }

    /// Makes the terminal that large.
    pub fn resize(&self, lines: u16, columns: u16) {
        self.screen.send_modify(|screen| screen.screen_mut().set_size(whole(lines), whole(columns)));
        let line = Stdio::from(self.line.try_clone().expect("a descriptor"));
        let (lines, columns) = (lines.to_string(), columns.to_string());
        let arguments = ["rows", &lines, "cols", &columns];
        let done = Command::new("stty").args(arguments).stdin(line).status().expect("stty, of coreutils");
        assert!(done.success());
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("running").id();
        kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("it is ours");
    }

    /// Waits for the end of the program, and holds it to leaving the terminal as it was.
    pub async fn ends(&mut self) -> ExitStatus {
        let child = self.child.take().expect("running");
        let Some(status) = tokio::task::block_in_place(|| wait_bounded(child)) else {
            panic!("it did not end:\n{}", self.text());
        };
        assert_eq!(tcgetattr(&self.line).expect("its settings"), self.before, "the line is as it was");
        let mut screen = self.screen.subscribe();
        let given_back = screen.wait_for(|screen| {
            let screen = screen.screen();
            !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
        });
        let given_back = tokio::time::timeout(DEADLINE, given_back).await.is_ok();
        assert!(given_back, "the terminal was not given back:\n{}", self.text());
        status
    }
}

fn whole(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("a terminal has lines and columns")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its end is certain, so there is nothing to do about an error.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
