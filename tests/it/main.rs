//! The integration tests: one binary, so that they are linked once.

mod mosquitto;
mod mqtt;
mod proxy;
