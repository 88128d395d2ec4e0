//! The callback about a message that an account sent, from the request to send it. Pure.
//!
//! Shapes: the samples of sent messages in the vendor's text. Where they differ from each other, each type keeps its
//! own: `send_time` is a text for pictures that move and for cards, and the former do not say which user sent them.

use super::{Report, Said, SendMsgId};
use crate::model::Time;
use serde_json::{Map, Value, json};

/// The type of a callback, and what of its data only this type has.
pub type Content = (&'static str, Map<String, Value>);

/// A message on its way out.
pub struct Message<'a> {
    pub account: &'a str,
    pub conversation: &'a str,
    pub at: Time,
    /// `server_id`: WeCom's own number of the message.
    pub server_id: u64,
    /// The `msgId` of the answer, in lower case.
    pub msg_id: &'a str,
    pub user: &'a str,
}

/// What the callback about a message sent by `path` shows of it; `None` for a path whose callback no text shows.
/// `field` gives a field of the request by its name.
pub fn content(path: &str, field: &dyn Fn(&str) -> Option<Value>) -> Option<Content> {
    let get = |name: &str| field(name).unwrap_or_else(|| Value::from(""));
    let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), get(name))).collect::<Value>();
    let (kind, data) = match path {
        // A quote shows as the text that it comes with.
        "/msg/text" | "/msg/quote" => ("text_msg", json!({ "content": get("content"), "at_list": [] })),
        "/msg/roomAt" => ("text_msg", room_at(&get("content"), &get("atList"))),
        "/msg/image" => {
            let size = json!({ "imgWidth": 200, "imgHeight": 200, "width": 200, "height": 200 });
            ("image_msg", with(size, [("file_path", stored(&get("fileUrl"))), ("cdn_type", json!(0))]))
        }
        "/msg/file" => {
            let path = stored(&get("fileUrl"));
            let name = path.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let cdn =
                json!({ "aes_key": "656662", "file_id": "305202", "file_name": name, "md5": "c91a30", "size": 53886 });
            ("file_msg", json!({ "file_path": path, "cdn_type": 0, "cdn": cdn }))
        }
        "/msg/gif" => ("emoticon_msg", json!({ "url": get("fileUrl"), "width": 240, "height": 240 })),
        "/msg/video" => {
            let size = json!({ "videoWidth": 720, "videoHeight": 1280 });
            ("video_msg", with(size, [("file_path", stored(&get("fileUrl"))), ("cdn_type", json!(0))]))
        }
        "/msg/voice" => ("voice_msg", json!({ "duration": 4, "file_path": stored(&get("fileUrl")), "cdn_type": 0 })),
        "/msg/personCard" => {
            let card = json!({ "avatar": get("avatar"), "nickname": get("nickName") });
            ("person_card_msg", with(card, [("user_id", get("personCardUserId"))]))
        }
        "/msg/link" => {
            let link = json!({ "title": get("title"), "desc": get("desc"), "url": get("url") });
            ("link_card_msg", with(link, [("image_url", get("imageUrl"))]))
        }
        "/msg/miniProgram" => ("mini_program_msg", with(all(&PROGRAM), [("cdn_type", json!(0))])),
        "/msg/videoNum" => ("video_num_msg", all(&VIDEO)),
        // What is behind an id of the vendor's own list: here the id is its title.
        "/miniProgram/send" => {
            ("mini_program_msg", with(all(&PROGRAM), [("title", get("miniProgramId")), ("cdn_type", json!(0))]))
        }
        "/videonum/send" => {
            ("video_num_msg", with(all(&VIDEO), [("desc", get("videoNumId")), ("feed_type", json!(4))]))
        }
        _ => return None,
    };
    Some((kind, members(data)))
}

const PROGRAM: [&str; 7] = ["username", "appid", "appname", "appicon", "title", "page_path", "cover_path"];
const VIDEO: [&str; 8] = ["cover_url", "desc", "feed_type", "nickname", "thumb_url", "url", "extras", "avatar"];

/// The callback about `message`.
pub fn said(message: &Message<'_>, (kind, mut data): Content, report: &Report) -> Said {
    let seconds = message.at.as_millis() / 1000;
    let is_card = matches!(kind, "emoticon_msg" | "person_card_msg");
    let (code, words) = report.error.as_ref().map_or((0, ""), |(code, words)| (*code, &**words));
    let mut put = |name: &str, value: Value| drop(data.insert(name.to_owned(), value));
    put("content_type", json!(0));
    put("conversation_id", json!(message.conversation));
    put("is_pc", json!(1));
    put("receiver", json!(receiver(message.account, message.conversation)));
    put("send_time", if is_card { json!(seconds.to_string()) } else { json!(seconds) });
    put("sender", json!(message.account));
    put("server_id", json!(message.server_id.to_string()));
    if is_card {
        put("local_id", json!("0"));
    }
    if kind != "emoticon_msg" {
        put("sendUserId", json!(message.user));
        put("sendUserName", json!("眠羊"));
    }
    if let Some(is_open_api) = report.is_open_api {
        put("isOpenApi", json!(is_open_api));
    }
    put("error_code", json!(code));
    put("error_message", json!(words));
    let send_msg_id = if report.has_id { SendMsgId::Id(Box::from(message.msg_id)) } else { SendMsgId::Null };
    Said {
        kind: Box::from(kind),
        account: Box::from(message.account),
        data: Value::Object(data),
        send_msg_id,
        is_logged_in: true,
    }
}

/// Whoever of a chat of two is not the account, or the number of the group.
pub(super) fn receiver<'a>(account: &str, conversation: &'a str) -> &'a str {
    let (kind, parties) = conversation.split_once(':').unwrap_or(("", conversation));
    match parties.split_once('_') {
        Some((first, second)) if kind == "S" => {
            if first == account {
                second
            } else {
                first
            }
        }
        _ => parties,
    }
}

/// The path under which the sender keeps a file that it was told to fetch.
fn stored(url: &Value) -> Value {
    let name = url.as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    json!(format!("/gnapi/files/Storage/20230614/39855b938f6b54afee4697cc7e36f6aa/{name}"))
}

/// Each `{$@}` becomes the name of the next member; ids stand for names here, and `0` is everybody.
fn room_at(content: &Value, at_list: &Value) -> Value {
    let ids: Vec<&str> = at_list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = content.as_str().unwrap_or_default().to_owned();
    for id in &ids {
        let name = if *id == "0" { "所有人" } else { id };
        text = text.replacen("{$@}", &format!("@{name} "), 1);
    }
    json!({ "content": text, "at_list": ids })
}

fn with<const N: usize>(value: Value, more: [(&str, Value); N]) -> Value {
    let mut data = members(value);
    data.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(data)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
