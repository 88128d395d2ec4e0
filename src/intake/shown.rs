//! What a message shows in its chat, as a digest that is equal for the request and for the callback about it.
//!
//! Only for types whose content comes back as it went out. A file comes back under a path of the sender's own, and a
//! text with `{$@}` comes back with names in it: these prove nothing.

use crate::model::Shown;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Fields by their names in a request and in a callback.
type Fields = &'static [(&'static str, &'static str)];

/// For each type: its name in a request, its name in a callback, and the fields that come back, by both names.
const COMPARABLE: [(&str, &str, Fields); 5] = [
    ("text", "text_msg", &[("content", "content")]),
    ("link", "link_card_msg", &[("title", "title"), ("url", "url")]),
    ("personCard", "person_card_msg", &[("personCardUserId", "user_id")]),
    (
        "miniProgram",
        "mini_program_msg",
        &[("username", "username"), ("appid", "appid"), ("title", "title"), ("page_path", "page_path")],
    ),
    ("videoNum", "video_num_msg", &[("url", "url"), ("nickname", "nickname")]),
];

/// What comes back as a text, by its names in a request: one of them must not be taken for another.
const TEXTS: [&str; 3] = ["text", "quote", "roomAt"];

/// Stands in a text for names that the sender puts there.
const PLACEHOLDER: &str = "{$@}";

/// Of a request of this type. `field` gives the text of a field by its name; `None` where it is missing.
pub fn of_request<'a>(kind: &str, field: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Shown> {
    let kind = if TEXTS.contains(&kind) { TEXTS[0] } else { kind };
    if kind == TEXTS[0] && field("content").is_some_and(|content| content.contains(PLACEHOLDER)) {
        return None;
    }
    let (kind, _, fields) = COMPARABLE.iter().find(|(name, _, _)| *name == kind)?;
    digest(kind, fields.iter().map(|(name, _)| field(name)))
}

/// Of a callback of this type.
pub fn of_callback<'a>(kind: &str, field: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Shown> {
    let (kind, _, fields) = COMPARABLE.iter().find(|(_, name, _)| *name == kind)?;
    digest(kind, fields.iter().map(|(_, name)| field(name)))
}

fn digest<'a>(kind: &str, fields: impl Iterator<Item = Option<Cow<'a, str>>>) -> Option<Shown> {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for field in fields {
        let field = field?;
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let mut shown = Shown::default();
    shown.copy_from_slice(&hash.finalize()[..16]);
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_callback_show_the_same() {
        let request = of_request("personCard", |name| (name == "personCardUserId").then_some(Cow::Borrowed("788")));
        let callback = of_callback("person_card_msg", |name| (name == "user_id").then_some(Cow::Borrowed("788")));
        assert!(request.is_some());
        assert_eq!(request, callback);
    }

    #[test]
    fn another_type_another_text_and_a_missing_field_differ() {
        let of = |text: &str| of_request("text", |_| Some(Cow::Borrowed(text)));
        assert_ne!(of("a"), of("b"));
        assert_eq!(of_request("quote", |_| Some(Cow::Borrowed("a"))), of("a"), "it comes back as a text");
        assert_eq!(of_request("roomAt", |_| Some(Cow::Borrowed("{$@} a"))), None);
        assert_ne!(of("a"), of_request("personCard", |_| Some(Cow::Borrowed("a"))));
        assert_eq!(of_request("link", |name| (name == "title").then_some(Cow::Borrowed(""))), None);
        assert_eq!(
            (of_request("image", |_| Some(Cow::Borrowed(""))), of_callback("voice_msg", |_| None)),
            (None, None)
        );
    }
}
