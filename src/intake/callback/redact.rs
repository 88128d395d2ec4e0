//! What of an original does not go onto a topic.

use serde_json::Value;
use std::fmt;

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

/// So many bytes of paths are listed, at most: names can be long, and what is withheld below them much.
const LISTED_BYTES_MAX: usize = 16 * 1024;

/// Stands at the end of a list that goes on.
const AND_SO_ON: &str = "…";

/// Takes out of `data`, at any depth, what must not be published, and returns the paths of what it took; where these
/// are too many, the first of them and `…`.
pub(super) fn withhold(data: &mut Value, with_personal: bool) -> Vec<String> {
    let mut withheld = Withheld { with_personal, paths: Vec::new(), bytes: 0 };
    withheld.walk(data, None);
    withheld.paths
}

/// Where something is: written out only when something is withheld there.
struct Place<'a> {
    within: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

struct Withheld {
    with_personal: bool,
    paths: Vec<String>,
    bytes: usize,
}

impl Withheld {
    fn walk(&mut self, value: &mut Value, within: Option<&Place<'_>>) {
        match value {
            Value::Object(members) => {
                let names: Vec<String> = members
                    .iter()
                    .filter(|(name, value)| self.is_withheld(name, value))
                    .map(|(name, _)| name.clone())
                    .collect();
                for name in names {
                    members.remove(&name);
                    self.list(&Place { within, step: Step::Member(&name) });
                }
                for (name, member) in members {
                    self.walk(member, Some(&Place { within, step: Step::Member(name) }));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(item, Some(&Place { within, step: Step::Item(index) }));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn is_withheld(&self, name: &str, value: &Value) -> bool {
        let name = name.to_ascii_lowercase();
        let is_empty = matches!(value, Value::Null) || value.as_str() == Some("");
        !is_empty && (SECRETS.contains(&name.as_str()) || (!self.with_personal && PERSONAL.contains(&name.as_str())))
    }

    fn list(&mut self, place: &Place<'_>) {
        if self.bytes > LISTED_BYTES_MAX {
            return;
        }
        self.bytes += place.bytes();
        self.paths.push(if self.bytes > LISTED_BYTES_MAX { AND_SO_ON.to_owned() } else { place.to_string() });
    }
}

impl Place<'_> {
    /// As long as its text, or a little longer.
    fn bytes(&self) -> usize {
        let own = match self.step {
            Step::Member(name) => name.len(),
            Step::Item(_) => 8,
        };
        own + 1 + self.within.map_or(0, Place::bytes)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            write!(f, "{within}.")?;
        }
        match self.step {
            Step::Member(name) => f.write_str(name),
            Step::Item(index) => write!(f, "{index}"),
        }
    }
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

    #[test]
    fn a_list_without_end_is_cut_and_everything_is_withheld() {
        let phones: Vec<Value> = (0..10_000).map(|_| json!({ "phone": "1" })).collect();
        let mut data = json!({ ("n".repeat(1000)): phones });
        let withheld = withhold(&mut data, false);
        assert_eq!((withheld.len(), withheld.last().map(String::as_str)), (17, Some(AND_SO_ON)));
        assert!(!data.to_string().contains("phone"));
    }
}
