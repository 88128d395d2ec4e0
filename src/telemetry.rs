//! One function per thing that happened.
//!
//! Levels are by who must act: ERROR means that a person has to do something now, WARN that somebody should look
//! today, INFO that a rare and normal thing happened, DEBUG everything per message. Message texts, recipients and
//! secrets are at no level. Every value that a stranger chose is passed with `?`, never with `%`: the text format
//! would print its line breaks and escapes.

use crate::model::Ticket;
use std::time::Duration;

// Broker connection.

pub fn broker_connected(client: &str, session_present: bool) {
    tracing::info!(client, session_present, "connected to the broker");
}

/// The connection ended or could not be made; the next attempt follows after `wait`.
pub fn broker_lost(client: &str, reason: &str, wait: Duration) {
    tracing::warn!(client, ?reason, retry_in = ?wait, "no connection to the broker");
}

/// The broker does not let us in, and will not until somebody changes its configuration or ours.
pub fn broker_refused(client: &str, reason: &str, wait: Duration) {
    tracing::error!(client, ?reason, retry_in = ?wait, "broker refuses the connection: check credentials and client id");
}

/// Another process connected with our client id.
pub fn broker_taken_over(client: &str, wait: Duration) {
    tracing::error!(client, retry_in = ?wait, "two processes use one client id: stop one of them");
}

/// That many connections in a row ended within a minute.
pub fn broker_connection_short_lived(client: &str, times: u32) {
    tracing::error!(client, times, "connections keep ending: does another process use this client id?");
}

pub fn subscribed(client: &str, filters: usize) {
    tracing::info!(client, filters, "subscribed");
}

pub fn subscribe_refused(filter: &str, reason: &str) {
    tracing::error!(?filter, ?reason, "broker refuses a subscription: check its ACL");
}

/// The broker refused something published, which is not repeated unless `retryable`.
pub fn publish_refused(token: u64, reason: &str, retryable: bool) {
    tracing::error!(token, ?reason, retryable, "broker refuses a publish: check its ACL and limits");
}

/// An acknowledgement came after its connection had ended, or twice.
pub fn stale_acknowledgement(ticket: Ticket) {
    tracing::debug!(generation = ticket.generation, packet = ticket.packet, "stale acknowledgement dropped");
}

// Intake.

// Sender.

// Journal.

// Bridge.

// Process.
