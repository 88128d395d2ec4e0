//! One function per thing that happened.
//!
//! Levels are by who must act: ERROR means that a person has to do something now, WARN that somebody should look
//! today, INFO that a rare and normal thing happened, DEBUG everything per message. Message texts, recipients and
//! secrets are at no level. Every value that a stranger chose is passed with `?`, never with `%`: the text format
//! would print its line breaks and escapes.

use crate::model::{SenderName, SenderTrouble, Seq, Verdict};

// Broker connection.

// Intake.

// Sender.

/// An attempt ended. The sender's own words stay out of it: they may repeat the message.
pub fn attempt_ended(sender: &SenderName, seq: Seq, attempt: u32, verdict: &Verdict) {
    let (verdict, why) = match verdict {
        Verdict::Confirmed { msg_id: Some(_) } => ("confirmed", ""),
        Verdict::Confirmed { msg_id: None } => ("confirmed", "without msgId"),
        Verdict::Refused { .. } => ("refused", ""),
        Verdict::NotSent { why, .. } => ("not_sent", why.as_str()),
        Verdict::Unknown { why, .. } => ("unknown", why.as_str()),
    };
    tracing::debug!(?sender, seq = seq.0, attempt, verdict, why, "attempt ended");
}

pub fn directory_read(sender: &SenderName, accounts: usize) {
    tracing::debug!(?sender, accounts, "account list read");
}

pub fn directory_failed(sender: &SenderName, trouble: SenderTrouble, detail: &str) {
    tracing::warn!(?sender, ?trouble, ?detail, "account list could not be read");
}

// Journal.

// Bridge.

// Process.
