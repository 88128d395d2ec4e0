//! How deep what comes from elsewhere may be nested where it is told on inside of something of ours.

use serde_json::Value;

/// Levels of lists and objects. Common readers give up at 128, and what is told on stands a few levels deep itself.
pub const TOLD_NESTING_MAX: usize = 100;

/// Whether it is nested deeper than [`TOLD_NESTING_MAX`], so that some readers could not read what it stands in.
pub fn is_too_deep(value: &Value) -> bool {
    goes_beyond(value, TOLD_NESTING_MAX)
}

fn goes_beyond(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| goes_beyond(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| goes_beyond(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_levels_are_not_too_deep() {
        let nested = |levels: usize| -> Value {
            serde_json::from_str(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels))).expect("JSON")
        };
        assert!(!is_too_deep(&nested(TOLD_NESTING_MAX)));
        assert!(is_too_deep(&nested(TOLD_NESTING_MAX + 1)));
        assert!(is_too_deep(&serde_json::json!({ "a": [nested(TOLD_NESTING_MAX - 1)] })));
    }
}
