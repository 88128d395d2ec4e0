//! The integration tests: one binary, so that they are linked once.

mod bridge;
mod canary;
mod cli;
mod container;
mod deploy;
mod e2e;
mod events;
mod faults;
mod gateway;
mod mosquitto;
mod mqtt;
mod oracles;
mod proxy;
mod publisher;
mod readme;
#[path = "../root/report.rs"]
#[allow(dead_code, reason = "shared with the tests that need root")]
mod report;
mod schema;
mod security;
mod send;
mod statuses;
mod terminal;
mod tidy;
