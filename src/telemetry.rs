//! One function per thing that happened.
//!
//! Levels are by who must act: ERROR means that a person has to do something now, WARN that somebody should look
//! today, INFO that a rare and normal thing happened, DEBUG everything per message. Message texts, recipients and
//! secrets are at no level. Every value that a stranger chose is passed with `?`, never with `%`: the text format
//! would print its line breaks and escapes.

// Broker connection.

// Intake.

/// A publisher asked for its answer at a topic that `reply_topics` do not allow; the usual topic gets it all the same.
pub fn response_topic_refused(topic: &str) {
    let topic: String = topic.chars().take(128).collect();
    tracing::warn!(?topic, "response topic not allowed, it is ignored");
}

// Sender.

// Journal.

// Bridge.

// Process.
