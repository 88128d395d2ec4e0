//! What every refusal must be.

use crate::plant;
use sendbridge::model::{Code, Fault};

/// Longest refusal, in bytes: what lists all commands or types is the longest.
const MESSAGE_BYTES_MAX: usize = 1500;

/// It says the rule and what to do, on one line of bounded length.
pub fn check(fault: &Fault) {
    let Fault { code, message, field, sender: _ } = fault;
    assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES_MAX, "{} bytes: {message}", message.len());
    assert!(message.contains(": "), "it does not say what to do: {message}");
    for text in [Some(&**message), field.as_deref()].into_iter().flatten() {
        assert!(!text.chars().any(char::is_control), "a control character: {text:?}");
    }
    assert!(field.as_deref().is_none_or(|field| field.len() <= 1000), "{field:?}");
    assert_ne!(*code, Code::Internal, "{message}");
}

/// It repeats nothing of what was planted.
pub fn check_silent(fault: &Fault) {
    assert!(!plant::is_in(&fault.message), "it repeats the content: {}", fault.message);
    assert!(!fault.field.as_deref().is_some_and(plant::is_in), "its field repeats the content: {:?}", fault.field);
}
