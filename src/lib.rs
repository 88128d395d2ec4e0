//! sendbridge takes chat messages that services publish over MQTT, keeps them safe, paces them so that no WeCom
//! account or company breaks the platform's limits, hands them to the HTTP API that sends them, and answers.
//!
//! # How a message flows
//!
//! ```text
//!        broker                                              sender API
//!      |        ^                                              ^
//!      v        |                                              |
//!  intake/   publisher/                                     sender/
//!      |        ^                                           ^    |
//!      |        | actions                           actions |    | verdict
//!      v        |                                           |    v
//!   ============|=== inputs (one bounded channel) ==========|=======
//!               |             |                             |
//!            bridge: inputs -> engine (pure) -> journal (durable) -> actions
//! ```
//!
//! The loop in [`bridge`] takes all waiting inputs, lets the [`engine`] decide once, makes all its records durable in
//! one commit of the [`journal`], and only then performs its actions. Nothing leaves before what it rests on is on
//! disk: not the acknowledgement to the broker, not the request to the sender, not the answer to the publisher.
//!
//! # Invariants
//!
//! - The engine is pure: time is an argument, nothing is awaited, the same inputs give the same outputs.
//! - The bridge is the only owner of the engine; every other room is reached through a channel.
//! - Edges never import each other; what they have in common is in [`model`].
//! - A failed commit is an unknown commit: the process stops and recovers from disk.
//!
//! # Deliberately absent
//!
//! Several machines on one journal, transformation of bodies, plug-ins, retries inside the HTTP client, and any
//! promise of exactly-once: the sender offers no idempotency key, so it cannot be kept by anyone.

#![forbid(unsafe_code)]

pub mod app;
pub mod bridge;
pub mod clock;
pub mod contain;
pub mod crash;
pub mod dump;
pub mod supervisor;
pub mod telemetry;

pub mod model;

pub mod engine;

pub mod journal;

pub mod mqtt;

pub mod intake;

pub mod sender;

pub mod publisher;

pub mod config;

pub mod cli;

#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

#[cfg(test)]
#[path = "../tests/golden/mod.rs"]
mod golden;
