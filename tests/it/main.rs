//! The integration tests: one binary, so that they are linked once.

mod bridge;
mod cli;
mod deploy;
mod e2e;
mod gateway;
mod mosquitto;
mod mqtt;
mod proxy;
mod publisher;
mod terminal;
mod tidy;
