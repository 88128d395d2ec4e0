//! A message that comes to an account, as its callback shows it. Pure. Shapes: the vendor's samples of what is
//! received.

use serde::Deserialize;
use serde_json::{Value, json};

/// The twelve types of messages. Two of them, a place and a red packet, are only ever received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReceivedKind {
    #[default]
    Text,
    Image,
    Video,
    Voice,
    File,
    Location,
    Link,
    Emoticon,
    RedPacket,
    PersonCard,
    MiniProgram,
    VideoNum,
}

impl ReceivedKind {
    pub const ALL: [Self; 12] = [
        Self::Text,
        Self::Image,
        Self::Video,
        Self::Voice,
        Self::File,
        Self::Location,
        Self::Link,
        Self::Emoticon,
        Self::RedPacket,
        Self::PersonCard,
        Self::MiniProgram,
        Self::VideoNum,
    ];

    /// The callback's `type` and its `content_type`.
    pub const fn names(self) -> (&'static str, u32) {
        match self {
            Self::Text => ("text_msg", 2),
            Self::Image => ("image_msg", 101),
            Self::Video => ("video_msg", 103),
            Self::Voice => ("voice_msg", 16),
            Self::File => ("file_msg", 102),
            Self::Location => ("location_msg", 6),
            Self::Link => ("link_card_msg", 13),
            Self::Emoticon => ("emoticon_msg", 29),
            Self::RedPacket => ("red_packet_msg", 26),
            Self::PersonCard => ("person_card_msg", 41),
            Self::MiniProgram => ("mini_program_msg", 78),
            Self::VideoNum => ("video_num_msg", 141),
        }
    }

    /// What only this type has. `text` is what a person reads of it: the text, a title, a name.
    pub fn content(self, text: &str) -> Value {
        let cdn = json!({ "aes_key": "f4fc952536b0206a", "auth_key": "v1_40ce011f", "file_name": "", "size": 149_248 });
        let path = |name: &str| format!("/gnapi/files/Cache/20230614/43aee759371c4216b26340ce41d618c4/{name}");
        match self {
            Self::Text => json!({ "content": text, "at_list": [] }),
            Self::Image => {
                json!({ "cdn": cdn, "cdn_type": 1, "imgWidth": 1279, "imgHeight": 1706, "file_path": path("a.jpg") })
            }
            Self::Video => json!({
                "cdn": cdn, "cdn_type": 1, "duration": 29, "width": 0, "height": 0,
                "videoWidth": 368, "videoHeight": 640, "file_path": path("a.mp4"),
            }),
            Self::Voice => json!({ "cdn": cdn, "cdn_type": 2, "duration": 3, "file_path": path("a.aac") }),
            Self::File => json!({ "cdn": cdn, "cdn_type": 1, "file_path": path(text), "file_size": 3_375_050 }),
            Self::Location => json!({
                "address": "浙江省杭州市西湖区余杭塘路866号", "title": text,
                "latitude": 30.30261, "longitude": 120.08213, "zoom": 15,
            }),
            Self::Link => json!({ "title": text, "desc": "", "image_url": "", "url": "https://example.com" }),
            Self::Emoticon => json!({
                "name": text, "url": "https://wework.qpic.cn/wwpic/pretend/0", "width": 240, "height": 240,
                "source_type": 101, "type": 2,
            }),
            Self::RedPacket => {
                json!({ "desc": text, "money": 1, "packet_id": "1800008896202306147404849530015", "remark": "" })
            }
            Self::PersonCard => json!({
                "nickname": text, "user_id": "7881301954970000", "avatar": "http://wx.qlogo.cn/mmhead/pretend/0",
                "corp_id": 0, "corp_name": "微信", "source": "微信",
            }),
            Self::MiniProgram => json!({
                "title": text, "username": "gh_7a080f2e543d@app", "appid": "wx8f98d076d3459dd6", "appname": "pretend",
                "appicon": "http://mmbiz.qpic.cn/pretend", "page_path": "pages/index.html", "cdn_type": 2,
                "cover_path": path("cover.png"), "thumb_width": 630, "thumb_height": 504,
            }),
            Self::VideoNum => json!({
                "desc": text, "nickname": "pretend", "avatar": "http://wx.qlogo.cn/finderhead/pretend/0",
                "cover_url": path("cover"), "thumb_url": "http://wxapp.tc.qq.com/pretend", "extras": "CAEQ",
                "url": "https://channels.weixin.qq.com/web/pages/feed?eid=pretend", "feed_type": 4,
                "object_id": "14149299402708355092", "object_nonce_id": "14419861684357443117_0_0_0_0_0",
            }),
        }
    }
}
