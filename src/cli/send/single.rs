//! One message, and its answer.

use super::json::Members;
use super::plan::Item;
use super::results::Outcome;
use super::{EXIT_INTERRUPTED, EXIT_NOT_SENT, EXIT_TEMPORARY, EXIT_UNAVAILABLE};
use crate::cli::client::{Client, News};
use crate::cli::stop::StopSignals;
use crate::cli::{print_error, print_foreign};
use crate::model::MessageId;
use std::time::Duration;

/// Publishes a message, prints its answer as it came, and returns the exit code.
pub(super) async fn send(
    client: Client,
    topic: &str,
    answer_topic: &str,
    item: &Item,
    wait: Duration,
    stop: &mut StopSignals,
) -> u8 {
    let mut exchange = Exchange { client, topic, answer_topic, item, published: false, trouble: None };
    let code = tokio::select! {
        code = exchange.answer() => code,
        () = tokio::time::sleep(wait) => exchange.overdue(wait),
        () = stop.requested() => EXIT_INTERRUPTED,
    };
    exchange.client.close().await;
    code
}

struct Exchange<'a> {
    client: Client,
    topic: &'a str,
    answer_topic: &'a str,
    item: &'a Item,
    published: bool,
    trouble: Option<String>,
}

impl Exchange<'_> {
    async fn answer(&mut self) -> u8 {
        loop {
            match self.client.next().await {
                News::Connected => self.trouble = None,
                News::Disconnected { why } => self.trouble = Some(why.to_string()),
                // Not before, because the answer may come at once.
                News::Subscribed { .. } => {
                    // After a lost session the answer may be lost with it; the bridge knows the message by its id.
                    self.client.publish(self.topic, self.item.payload.clone());
                    self.published = true;
                }
                News::SubscribeRefused { filter, reason } => return refused(&filter, &reason),
                News::Acknowledged { refusal: Some(refusal), .. } if !refusal.retryable => {
                    return refused(self.topic, &refusal.reason);
                }
                News::Acknowledged { refusal: Some(_), .. } => {
                    self.client.publish(self.topic, self.item.payload.clone());
                }
                News::Acknowledged { refusal: None, .. } => {}
                News::Unfit { why, .. } => return refused(self.topic, &format!("{why:?}")),
                News::Packet(packet) => {
                    self.client.acknowledge(&packet);
                    if packet.topic == self.answer_topic
                        && let Some(code) = self.read(&packet.payload)
                    {
                        return code;
                    }
                }
            }
        }
    }

    /// The exit code, if this is the answer.
    fn read(&self, payload: &[u8]) -> Option<u8> {
        let text = std::str::from_utf8(payload).ok()?;
        if MessageId::from_json(Members::parse(text).ok()?.get("id")?).key() != self.item.key() {
            return None;
        }
        let outcome = Outcome::of_answer(&serde_json::from_str(text).ok()?)?;
        print_foreign(&format!("{text}\n"));
        Some(if outcome.is_sent() { 0 } else { EXIT_NOT_SENT })
    }

    fn overdue(&self, wait: Duration) -> u8 {
        let wait = humantime::format_duration(wait);
        if !self.client.is_connected() {
            let why = self.trouble.as_deref().unwrap_or("it does not answer");
            print_error(&format!("sendbridge send: no broker within {wait}: {why}\n"));
            return EXIT_UNAVAILABLE;
        }
        let id = &self.item.id;
        print_error(&format!(
            "sendbridge send: no answer within {wait}. The message may still be sent: wait longer with --wait, or run \
             this again with --id {id}, which does not send it twice\n"
        ));
        EXIT_TEMPORARY
    }
}

fn refused(topic: &str, reason: &str) -> u8 {
    print_error(&format!("sendbridge send: the broker refuses {topic}: {reason}\n"));
    EXIT_UNAVAILABLE
}
