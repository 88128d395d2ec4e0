//! The integration tests: one binary, so that they are linked once.

mod bridge;
mod cli;
mod deploy;
mod e2e;
mod faults;
mod gateway;
mod mosquitto;
mod mqtt;
mod oracles;
mod proxy;
mod publisher;
mod readme;
mod schema;
mod send;
mod statuses;
mod terminal;
mod tidy;
