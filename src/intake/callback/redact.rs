//! What of an original does not go onto a topic.

use serde_json::Value;

/// Never published: whoever has one of these can act in somebody's name, or read what was not sent to them.
pub(super) const SECRETS: [&str; 12] = [
    "aes_key",
    "auth_key",
    "authcode",
    "auth_deviceid",
    "file_id",
    "permanentcode",
    "suiteticket",
    "welcomecode",
    "activecode",
    "previousactivecode",
    "sdkbuff",
    // Reads a customer service's messages.
    "token",
];

/// Published only where the configuration says so.
pub(super) const PERSONAL: [&str; 11] = [
    // The login name at the vendor, often an address.
    "account",
    "bizmail",
    "document_root",
    "email",
    "mobile",
    "openid",
    "phone",
    "real_name",
    "realname",
    "telephone",
    "unionid",
];

/// Whether a member of this name can be withheld: its value must not be shown under another one.
pub(super) fn is_named(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.contains(&name.as_str()) || PERSONAL.contains(&name.as_str())
}

/// Takes out of `data`, at any depth, what must not be published, and returns the paths of what it took.
pub(super) fn withhold(data: &mut Value, with_personal: bool) -> Vec<String> {
    let mut withheld = Vec::new();
    walk(data, "", with_personal, &mut withheld);
    withheld
}

fn walk(value: &mut Value, path: &str, with_personal: bool, withheld: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let is_withheld = |name: &str, value: &Value| {
                let name = name.to_ascii_lowercase();
                let is_empty = matches!(value, Value::Null) || value.as_str() == Some("");
                !is_empty && (SECRETS.contains(&name.as_str()) || (!with_personal && PERSONAL.contains(&name.as_str())))
            };
            let names: Vec<String> =
                members.iter().filter(|(name, value)| is_withheld(name, value)).map(|(name, _)| name.clone()).collect();
            for name in names {
                members.remove(&name);
                withheld.push(join(path, &name));
            }
            for (name, member) in members {
                walk(member, &join(path, name), with_personal, withheld);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &join(path, &index.to_string()), with_personal, withheld);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn original() -> Value {
        json!({ "cdn": { "aes_key": "k", "size": 1 }, "Mobile": "139", "email": "", "list": [{ "phone": "1" }], "a": 1 })
    }

    #[test]
    fn secrets_go_always_and_personal_data_unless_configured() {
        let mut data = original();
        assert_eq!(withhold(&mut data, false), ["Mobile", "cdn.aes_key", "list.0.phone"]);
        assert_eq!(data, json!({ "cdn": { "size": 1 }, "email": "", "list": [{}], "a": 1 }));

        let mut data = original();
        assert_eq!(withhold(&mut data, true), ["cdn.aes_key"]);
        assert_eq!(data["Mobile"], "139");
    }
}
