//! What happens to an account beside the messages that it is told to send. Pure. Shapes: the vendor's samples.

use super::message::{self, Message};
use super::{ReceivedKind, Report, Said, SendMsgId};
use crate::model::Time;
use serde::Deserialize;
use serde_json::{Value, json};

/// One thing that happens, as it is ordered: `{"event":"offline","account":"1688850000000001"}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Happening {
    /// Logged out, logged in elsewhere or crashed; what is sent through it from now on is refused.
    Offline {
        account: Box<str>,
    },
    /// Logged in, and sends again. `corp` is its company from now on; left out, it stays.
    Login {
        account: Box<str>,
        corp: Option<Box<str>>,
    },
    /// The QR code to log in with is shown, was scanned, ran out; 10 asks for the code that the phone shows.
    Qrcode {
        account: Box<str>,
        #[serde(default = "shown")]
        status: u8,
    },
    /// The account's phone must scan another code, some time after the first login on a machine.
    SafetyCheck {
        account: Box<str>,
    },
    /// A message comes in.
    Received {
        account: Box<str>,
        from: Box<str>,
        /// Left out, the chat of the two.
        conversation: Option<Box<str>>,
        #[serde(default)]
        kind: ReceivedKind,
        #[serde(default)]
        text: Box<str>,
    },
    /// A person types a text in the account's client. It has a `sendMsgId`, too, and no `isOpenApi`.
    Typed {
        account: Box<str>,
        conversation: Box<str>,
        text: Box<str>,
    },
    ContactAdded {
        account: Box<str>,
        contact: Box<str>,
        name: Box<str>,
    },
    /// The contact has deleted the account: the grey line that says so.
    ContactLost {
        account: Box<str>,
        contact: Box<str>,
    },
    /// Any other grey line in a chat.
    SystemText {
        account: Box<str>,
        conversation: Box<str>,
        text: Box<str>,
    },
    GroupCreated(Group),
    GroupMembersAdded(Group),
    GroupMembersRemoved(Group),
    /// `by` is who left.
    GroupMemberLeft(Group),
    GroupRenamed(Group),
    /// A mass message of the company waits for the account to confirm it.
    BroadcastConfirm {
        account: Box<str>,
        title: Box<str>,
    },
    /// A callback of any other type.
    Other {
        account: Box<str>,
        #[serde(rename = "type")]
        kind: Box<str>,
        #[serde(default)]
        data: Value,
    },
}

/// Something that happens in a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    pub account: Box<str>,
    /// `R:` and its number.
    pub conversation: Box<str>,
    #[serde(default)]
    pub name: Box<str>,
    /// Who does it; left out, the account.
    pub by: Option<Box<str>>,
    #[serde(default)]
    pub members: Vec<Box<str>>,
}

const fn shown() -> u8 {
    1
}

/// What the account's machine knows beside the event itself.
pub struct Scene<'a> {
    pub at: Time,
    pub server_id: u64,
    pub user: &'a str,
    /// The company of the account.
    pub corp: &'a str,
    /// For what a person sends.
    pub msg_id: &'a str,
}

impl Happening {
    pub fn account(&self) -> &str {
        match self {
            Self::Offline { account }
            | Self::Login { account, .. }
            | Self::Qrcode { account, .. }
            | Self::SafetyCheck { account }
            | Self::Received { account, .. }
            | Self::Typed { account, .. }
            | Self::ContactAdded { account, .. }
            | Self::ContactLost { account, .. }
            | Self::SystemText { account, .. }
            | Self::BroadcastConfirm { account, .. }
            | Self::Other { account, .. } => account,
            Self::GroupCreated(group)
            | Self::GroupMembersAdded(group)
            | Self::GroupMembersRemoved(group)
            | Self::GroupMemberLeft(group)
            | Self::GroupRenamed(group) => &group.account,
        }
    }

    /// The callback about it. `report` matters to what a person sends alone.
    pub fn said(&self, scene: &Scene<'_>, report: &Report) -> Said {
        let account = self.account();
        let notice = |kind: &str, data: Value| Said {
            kind: Box::from(kind),
            account: Box::from(account),
            data,
            send_msg_id: SendMsgId::Null,
            is_logged_in: true,
        };
        match self {
            Self::Offline { .. } => notice("user_offline", Value::Null),
            Self::Login { .. } => notice("user_login", login(account, scene)),
            Self::Qrcode { status, .. } => {
                let said = notice("qrcode_status_msg", qrcode(account, *status, scene));
                Said { send_msg_id: SendMsgId::Absent, is_logged_in: false, ..said }
            }
            Self::SafetyCheck { .. } => {
                let data = json!({ "Qrcode": "/gnapi/files/cache/pretend.jpg", "UserName": account });
                Said { send_msg_id: SendMsgId::Absent, ..notice("safe_validate", data) }
            }
            Self::Received { from, conversation, kind, text, .. } => {
                let (name, content_type) = kind.names();
                let conversation = conversation.clone().unwrap_or_else(|| private(account, from));
                let mut data = incoming(scene, account, from, &conversation, content_type);
                merge(&mut data, kind.content(text));
                notice(name, data)
            }
            Self::Typed { conversation, text, .. } => {
                let Scene { at, server_id, user, msg_id, .. } = *scene;
                let message = Message { account, conversation, at, server_id, msg_id, user };
                let typed = |name: &str| (name == "content").then(|| json!(text));
                let content = message::content("/msg/text", &typed).unwrap_or_default();
                message::said(&message, content, &Report { is_open_api: None, ..report.clone() })
            }
            Self::ContactAdded { contact, name, .. } => {
                notice("notify_type_contact_add", contact_added(account, contact, name))
            }
            Self::ContactLost { contact, .. } => {
                let text = "对方开启了联系人验证,你还不是他(她)的联系人。请先发送联系人验证请求,对方验证通过后,才能聊天。 发送联系人验证";
                let data = grey(scene, account, &private(account, contact), text, "CAUQo5ABGOLw4emLMSAC_need_verify");
                notice("chat_gray_msg", data)
            }
            Self::SystemText { conversation, text, .. } => {
                notice("chat_gray_msg", grey(scene, account, conversation, text, "CAUQo5ABGOLw4emLMSAC"))
            }
            Self::GroupCreated(group) => notice("notify_type_room_create", group.with_members()),
            Self::GroupMembersAdded(group) => notice("notify_type_room_add_member", group.with_members()),
            Self::GroupMembersRemoved(group) => notice("notify_type_room_del_member", group.with_members()),
            Self::GroupMemberLeft(group) => notice("notify_type_room_member_quit", group.data()),
            Self::GroupRenamed(group) => notice("room_name_changed", group.renamed()),
            Self::BroadcastConfirm { title, .. } => notice("batch_msg_confirm", confirm(title, scene)),
            Self::Other { kind, data, .. } => notice(kind, data.clone()),
        }
    }
}

impl Group {
    fn actor(&self) -> &str {
        self.by.as_deref().unwrap_or(&self.account)
    }

    fn data(&self) -> Value {
        json!({
            "op_user_id": self.actor(),
            "op_user_name": self.actor(),
            "room_conversation_id": self.conversation,
            "room_name": self.name,
        })
    }

    fn with_members(&self) -> Value {
        let mut data = self.data();
        let members = self.members.iter().map(|member| json!({ "name": member, "user_id": member }));
        data["member_list"] = members.collect();
        data
    }

    fn renamed(&self) -> Value {
        json!({ "op_user_id": self.actor(), "room_conversation_id": self.conversation, "room_name": self.name })
    }
}

/// The chat of two: the smaller number first.
fn private(account: &str, contact: &str) -> Box<str> {
    let number = |id: &str| id.parse::<u64>().unwrap_or(u64::MAX);
    let is_first = (number(account), account) <= (number(contact), contact);
    let (first, second) = if is_first { (account, contact) } else { (contact, account) };
    format!("S:{first}_{second}").into_boxed_str()
}

fn login(account: &str, scene: &Scene<'_>) -> Value {
    json!({
        "account": "pretend@example.com", "acctid": "pretend", "avatar": "https://wework.qpic.cn/wwpic/pretend/0",
        "corp_id": scene.corp, "document_root": format!("C:\\Users\\Pretend\\Documents\\WXWork\\{account}"),
        "email": "", "job_name": "", "mobile": "18250000000", "nickname": "", "pid": 36632, "position": "", "sex": 1,
        "user_id": account, "username": account,
    })
}

fn qrcode(account: &str, status: u8, scene: &Scene<'_>) -> Value {
    json!({
        "auth_deviceid": "baab90ef80ca9f2f", "corpid": scene.corp, "gid": "2251802343725191",
        "icon_url": "https://wework.qpic.cn/wwpic/pretend/0", "is_bind_wx": true, "keep_sec": 600, "lang_type": 1,
        "logo": "https://p.qlogo.cn/bizmail/pretend/0", "nick_name": account,
        "qrcode_key": "6E16C7042D0A4E832114E839EB1694CE", "status": status, "vid": account,
    })
}

fn contact_added(account: &str, contact: &str, name: &str) -> Value {
    json!({
        "acctid": "", "avatar": "http://wx.qlogo.cn/mmhead/pretend/0", "conversation_id": private(account, contact),
        // The contact's company, which is WeChat's own for all who are in none.
        "corp_id": "1970325134026788",
        "mobile": "", "nickname": "", "position": "", "realname": "", "remark": "", "sex": 1,
        "unionid": "ozynqsoD1_pretend", "user_id": contact, "username": name,
    })
}

fn confirm(title: &str, scene: &Scene<'_>) -> Value {
    let content = json!({ "main_title": { "title": title } }).to_string();
    json!({ "appinfo": "KHGSC_1", "content": content, "sendtime": scene.at.as_millis() / 1000, "title": title })
}

/// What every message that comes in says of itself.
fn incoming(scene: &Scene<'_>, account: &str, from: &str, conversation: &str, content_type: u32) -> Value {
    json!({
        "appinfo": scene.server_id.wrapping_mul(5_079_167_612_398_453).to_string(),
        "content_type": content_type,
        "conversation_id": conversation,
        "is_pc": 0,
        "local_id": scene.server_id.to_string(),
        "receiver": account,
        "send_time": (scene.at.as_millis() / 1000).to_string(),
        "sender": from,
        "sender_name": from,
        "server_id": scene.server_id.to_string(),
    })
}

fn grey(scene: &Scene<'_>, account: &str, conversation: &str, text: &str, appinfo: &str) -> Value {
    json!({
        "appinfo": appinfo, "content": text, "content_type": 1011, "conversation_id": conversation, "is_pc": 0,
        "receiver": message::receiver(account, conversation), "send_time": (scene.at.as_millis() / 1000).to_string(),
        "sender": account, "sender_name": "", "server_id": scene.server_id.to_string(),
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
