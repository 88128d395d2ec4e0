//! The integration tests: one binary, so that they are linked once.

mod cli;
mod deploy;
mod gateway;
mod mosquitto;
mod mqtt;
mod proxy;
mod tidy;
