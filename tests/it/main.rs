//! The integration tests: one binary, so that they are linked once.

mod bridge;
mod deploy;
mod e2e;
mod mosquitto;
mod mqtt;
mod proxy;
mod publisher;
