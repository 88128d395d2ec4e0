//! What needs root, or tools that fail on purpose: the real program on a disk that loses power, under system calls that
//! fail, with a clock that is set, behind a network that is gone. `tests/root/run` installs the tools and runs all of it;
//! every test is ignored otherwise.
//!
//! - A guard that makes something of the system (a mount, a namespace, a group) undoes it when it is dropped.
//! - What the machine does not let a test do is skipped, with the reason, and says so in the report.

#[path = "../it/bridge.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod bridge;
#[path = "../it/mosquitto.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod mosquitto;
#[path = "../it/publisher.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod publisher;

mod judge;
mod report;
mod scene;

mod disks;
mod power;
mod readonly;

mod calls;
mod strace;

mod order;
mod trace;
mod wire;

mod expiry;
mod times;

mod frozen;
mod network;
mod scarcity;
mod versions;

/// What bridges give away is searched for secrets by the integration tests; here it is not about words.
mod canary {
    pub const API_KEY: &str = "key";

    #[allow(dead_code, reason = "shared with the integration tests")]
    #[derive(Clone, Copy)]
    pub enum Way {
        Log,
        Topic,
        Http,
    }

    pub fn keep(_: Way, _: &str, _: &[u8]) {}

    pub fn feed(_: &[u8]) {}

    pub fn keep_process(_: u32) {}
}

/// Payloads are held to their schemas by the integration tests; here it is not about words.
mod schema {
    pub fn check(_topic: &str, _payload: &[u8]) -> Result<(), String> {
        Ok(())
    }
}
