//! The paths of the API that send nothing, so that a program that uses them can be tried: plausible answers, and
//! nothing that is remembered.
//!
//! A path wants the parameters that its documentation calls required, from the query or the body, in whatever case.
//! Every path also takes `delayMs`: the answer comes so much later.

use super::server::Shared;
use super::{BASE_PATH, connection::Payload};
use crate::model::{Method as CallMethod, percent_decoded};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Largest body of a call, in bytes: an upload.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One path with what it wants and what it answers as `data`, where `$name` stands for what it was given.
struct Path {
    method: CallMethod,
    path: &'static str,
    wants: &'static [&'static str],
    data: &'static str,
}

const fn path(method: CallMethod, path: &'static str, wants: &'static [&'static str], data: &'static str) -> Path {
    Path { method, path, wants, data }
}

const GET: CallMethod = CallMethod::Get;
const POST: CallMethod = CallMethod::Post;
const PUT: CallMethod = CallMethod::Put;
const DELETE: CallMethod = CallMethod::Delete;

const CONTACT: &str = r#"[{"avatar":"","conversation_id":"S:$wxId_7881300830190773","corp_id":"1970325134026788","nickname":"","position":"","realname":"","remark":"","sex":1,"user_id":"7881300830190773","username":"左脚","external_user_id":"wm_pretend","is_delete":false,"delete_time":null}]"#;
const COLLEAGUE: &str = r#"[{"avatar":"","conversation_id":"S:$wxId_1688850000000099","corp_id":"1970325000000001","nickname":"","position":"","realname":"李雷","remark":"","sex":1,"user_id":"1688850000000099","username":"李雷"}]"#;
const RELATION: &str = r#"{"ContactUserId":"7881300830190773","ExternalUserId":"wm_pretend","CorpId":"wwpretend","CorpIdOrigin":"1970325000000001","UnionId":"opretend","AddWay":0,"State":null,"CreateTime":"2024-01-08 13:51:22","AddWayDesc":"未知来源"}"#;
const SEARCH: &str = r#"{"contact_info":{"uin":"1688850000000099","name":"**雨"},"datalist":[{"contact_info":{"uin":"1688850000000099"},"contact_info_wx":{"uin":"7881300830190773","name":"左脚"},"openid":"opretend","wx_ticket":"pretend","relation":1,"search_status":1}],"error_code":0,"error_message":"","keyword":"$keyword","relation":1,"search_status":1}"#;
const GROUP: &str = r#"{"createruin":"$wxId","createtime":1686043629,"error_code":0,"error_message":"","failmem":[],"roomid":"10899855277130001","roomname":"","success_add_vidlist":[]}"#;
const GROUPS: &str = r#"[{"wx_id":null,"conversation_id":"R:10696052100030001","create_time":1632463343,"create_user_id":"$wxId","is_external":1,"nickname":"读书会","is_admin":0,"is_creator":1,"total":3}]"#;
const MEMBERS: &str = r#"{"conversation_id":"$conversationId","member_list":[{"acctid":"LiLei","avatar":"","corp_id":"1970325000000001","invite_user_id":"$wxId","is_admin":1,"join_scene":1,"join_time":1684230790,"nickname":"","user_id":"$wxId","username":"李雷"}],"page_num":1,"page_size":100000,"total":1,"total_page":1}"#;
const LABELS: &str = r#"[{"corpId":"1970325000000001","name":"老客户","labelId":"14073749589745780","labelGroupId":"14073749082601531","dataType":0,"labelType":2,"sortOrder":0,"business":0,"createTime":1666249551}]"#;
const PROGRAMS: &str = r#"[{"id":7,"username":"gh_pretend@app","appid":"wxpretend","appname":"小店","appicon":"","title":"看看","page_path":"pages/home/home.html","cover_path":"/gnapi/files/Cache/20240101/pretend.png","type":1}]"#;
const VIDEOS: &str = r#"[{"id":20,"cover_url":"","desc":"你好","feed_type":4,"nickname":"小号","thumb_url":"","url":"https://channels.weixin.qq.com/web/pages/feed?eid=pretend","extras":"","avatar":"","type":1}]"#;
const USERS: &str = r#"[{"id":"apps-1","username":"眠羊","createdAt":"2023-01-05 06:09:19","phone":null,"avatar":null,"Permissions":[2],"IsAdmin":true,"Remark":""}]"#;
const CONTAINER: &str = r#"{"qrcode":"/gnapi/files/20240101/pretend.jpg","hostname":"pretend","version":"1.3.0.13","createtime":"2024-01-08 13:51:22","wxPid":4242}"#;
const MEMORY: &str =
    r#"[{"WxId":"1688850000000001","UserName":"枫糖","HostName":"pretend","WxPid":4242,"Memory":137324}]"#;
const EXTERNAL: &str = r#"{"ExternalUserId":"wm_pretend"}"#;
const INTERNAL: &str = r#"{"ContactUserId":"7881300830190773"}"#;
const DETAILS: &str =
    r#"{"corp_remark":"","desc":"","phone_list":["18268181111"],"remark":"","status":1,"user_id":"$ContactId"}"#;
const LABELLED: &str = r#"[{"wx_id":"1688850000000001","user_id":"7881300830190773","conversation_id":"S:1688850000000001_7881300830190773","username":"左脚","is_delete":false,"LastChatTimestamp":1709711349450,"NewMsgCount":0}]"#;

/// All but the list of accounts, which knows what it lists, and the upload, which knows what it was given.
const PATHS: [Path; 42] = [
    path(POST, "/container/verify", &["hostname", "key", "code"], r#"{"errcode":0,"errmsg":"ok"}"#),
    path(POST, "/container/create", &["userId"], CONTAINER),
    path(POST, "/container/stop", &["hostname"], "null"),
    path(POST, "/container/start", &["hostname"], "null"),
    path(POST, "/container/remove", &["hostname"], "null"),
    path(POST, "/container/restart", &["hostname"], "null"),
    path(GET, "/container/memory", &[], MEMORY),
    path(GET, "/inner/user/list", &[], USERS),
    path(GET, "/contact/external/list", &["wxId"], CONTACT),
    path(GET, "/contact/extendinfo", &["wxId", "ContactId"], DETAILS),
    path(GET, "/contact/inner/list", &["wxId"], COLLEAGUE),
    path(PUT, "/contact/remark", &["wxId", "contactId", "remark"], "null"),
    path(PUT, "/contact/desc", &["wxId", "contactId", "desc"], "null"),
    path(PUT, "/contact/phone", &["wxId", "contactId", "phones"], "null"),
    path(POST, "/contact/remove", &["wxId", "ContactUserId"], "null"),
    path(POST, "/contact/external/query", &["ContactInfos"], CONTACT),
    path(GET, "/contact/search", &["wxId", "keyword"], SEARCH),
    path(POST, "/contact/search/add", &["wxId", "contactUserId", "openid", "wxticket", "verify"], "null"),
    path(POST, "/group", &["wxId", "memberWxIds"], GROUP),
    path(GET, "/group/list", &["wxId"], GROUPS),
    path(PUT, "/group/name", &["wxId", "conversationId", "name"], "null"),
    path(GET, "/group/member/list", &["wxId", "conversationId"], MEMBERS),
    path(POST, "/group/member", &["wxId", "conversationId", "memberWxIds"], "null"),
    path(DELETE, "/group/member", &["wxId", "conversationId", "memberWxIds"], "null"),
    path(POST, "/group/member/contact", &["wxId", "conversationId", "memberWxId"], "null"),
    path(POST, "/group/notice", &["wxId", "conversationId", "content"], "null"),
    path(POST, "/contact/externalUserId", &["wxId", "ContactUserId"], EXTERNAL),
    path(POST, "/contact/externalUserIdFromDb", &["wxId", "ContactUserId"], EXTERNAL),
    path(POST, "/contact/contactUserId", &["wxId", "ExternalUserId"], INTERNAL),
    path(POST, "/contact/contactUserIdFromDb", &["wxId", "ExternalUserId"], INTERNAL),
    path(POST, "/group/externalRoomId", &["wxId", "RoomId"], r#"{"ExternalRoomId":"wr-pretend"}"#),
    path(POST, "/group/RoomId", &["wxId", "ExternalRoomId"], r#"{"RoomId":"R:10892659985320001"}"#),
    path(GET, "/contact/relation", &["wxId"], RELATION),
    path(POST, "/contact/relation/sync", &["wxId", "ContactUserId"], RELATION),
    path(GET, "/label/all", &["wxId"], LABELS),
    path(POST, "/label/contact/setlabel", &["wxId", "contactUserId", "labelIds"], "null"),
    path(
        GET,
        "/label/contact/labels",
        &["wxId", "contactUserId"],
        r#"[{"name":"老客户","label_id":"14073749589745780"}]"#,
    ),
    path(POST, "/label/contact/search", &["wxids", "labelIds", "PageIndex", "PageSize"], LABELLED),
    path(GET, "/label/contacts", &["wxId", "labelId"], CONTACT),
    path(GET, "/miniprogram/list", &[], PROGRAMS),
    path(GET, "/videonum/list", &[], VIDEOS),
    path(POST, "/batchmsg/confirm", &["wxId"], "null"),
];

/// Answers a request to a path that sends nothing.
pub async fn handle(shared: &Shared, request: Request<Incoming>) -> Response<Payload> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "msg": "too large", "code": 413 })),
    };
    let path = head.uri.path().strip_prefix(BASE_PATH).unwrap_or_default();
    shared.state().book.count_call(&format!("{} {path}", head.method));
    let given = given(head.uri.query().unwrap_or_default(), &body);
    if let Some(delay) = given.get("delayms").and_then(|text| text.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if (&head.method, path) == (&Method::POST, "/file/upload") {
        return upload(head.headers.get(CONTENT_TYPE), &body);
    }
    let is_meant = |own: &&Path| own.method.as_str() == head.method.as_str() && own.path.eq_ignore_ascii_case(path);
    let Some(own) = PATHS.iter().find(is_meant) else {
        return answer(StatusCode::NOT_FOUND, &json!({ "msg": "no such path", "code": 404, "data": null }));
    };
    let (code, msg, data) = match refusal(shared, own, &given) {
        Some((code, msg)) => (code, msg, Value::Null),
        None => (0, String::new(), filled(own.data, &given)),
    };
    answer(StatusCode::OK, &json!({ "msg": msg, "code": code, "data": data }))
}

/// The parameters by their lower-cased names: those of the query, and those of a JSON body.
fn given(query: &str, body: &[u8]) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        given.insert(percent_decoded(name).to_ascii_lowercase(), percent_decoded(value));
    }
    if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        for (name, value) in members {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            given.insert(name.to_ascii_lowercase(), text);
        }
    }
    given
}

fn refusal(shared: &Shared, own: &Path, given: &BTreeMap<String, String>) -> Option<(i64, String)> {
    if let Some(missing) = own.wants.iter().find(|name| !given.contains_key(&name.to_ascii_lowercase())) {
        return Some((400, format!("{missing} is missing")));
    }
    let account = given.get("wxid").filter(|_| own.wants.contains(&"wxId"))?;
    let state = shared.state();
    match state.accounts.get(account.as_str()) {
        Some(known) if !known.online => Some((1, "企微不在线".to_owned())),
        None if state.default_corp.is_none() => Some((1, "账号不存在".to_owned())),
        Some(_) | None => None,
    }
}

/// The data with what was given in place of `$name`.
fn filled(data: &str, given: &BTreeMap<String, String>) -> Value {
    let mut text = data.to_owned();
    for name in ["wxId", "conversationId", "keyword", "ContactId"] {
        let value = given.get(&name.to_ascii_lowercase()).map_or("", String::as_str);
        let quoted = Value::from(value).to_string();
        text = text.replace(&format!("${name}"), quoted.trim_matches('"'));
    }
    serde_json::from_str(&text).unwrap_or_default()
}

/// The path of a file, as the API makes it: with a digest of its bytes, by which a test knows them again.
fn upload(content_type: Option<&HeaderValue>, body: &[u8]) -> Response<Payload> {
    let boundary = content_type.and_then(|value| value.to_str().ok()?.strip_prefix("multipart/form-data; boundary="));
    let file = boundary.and_then(|boundary| file_in(body, boundary));
    let Some((name, bytes)) = file else {
        return answer(StatusCode::OK, &json!({ "msg": "file is missing", "code": 400, "data": null }));
    };
    let mut digest = String::new();
    for byte in &Sha256::digest(bytes)[..16] {
        write!(digest, "{byte:02x}").expect("a string takes everything");
    }
    answer(StatusCode::OK, &json!({ "msg": "", "code": 0, "data": format!("/gnapi/Files/20240101/{digest}/{name}") }))
}

/// The one file of a form: its name and its bytes.
fn file_in<'a>(body: &'a [u8], boundary: &str) -> Option<(String, &'a [u8])> {
    let rest = body.strip_prefix(format!("--{boundary}\r\n").as_bytes())?;
    let head_end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&rest[..head_end]).ok()?;
    let bytes = rest[head_end + 4..].strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes())?;
    let (_, name) = head.split_once("name=\"file\"; filename=\"")?;
    Some((percent_decoded(name.split('"').next()?), bytes))
}

fn answer(status: StatusCode, body: &Value) -> Response<Payload> {
    let mut answer = Response::new(Payload::whole(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OFFERED;

    #[test]
    fn every_path_that_may_be_called_is_answered() {
        for own in OFFERED.iter().filter(|own| !matches!(own.path, "/file/upload" | "/inner/user/wx/list")) {
            let found = PATHS.iter().filter(|path| (path.method, path.path) == (own.method, own.path));
            assert_eq!(found.count(), 1, "{} {}", own.method.as_str(), own.path);
        }
        let given = BTreeMap::from([("wxid".to_owned(), "16\"88".to_owned())]);
        for path in &PATHS {
            let data = filled(path.data, &given);
            assert_eq!(data.is_null(), path.data == "null", "{}", path.path);
            assert!(!data.to_string().contains('$'), "{data}");
        }
        assert_eq!(filled(GROUPS, &given)[0]["create_user_id"], "16\"88");
    }

    #[test]
    fn parameters_come_from_the_query_and_the_body() {
        let given = given("WxId=1%202&delayMs=5&flag", br#"{"Name":"a","list":[1]}"#);
        let pairs: Vec<(&str, &str)> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("delayms", "5"), ("flag", ""), ("list", "[1]"), ("name", "a"), ("wxid", "1 2")]);
    }

    #[test]
    fn the_file_is_found_in_its_form() {
        let body =
            b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a%22.txt\"\r\n\r\nx\r\n\r\n--b--\r\n";
        assert_eq!(file_in(body, "b"), Some(("a\".txt".to_owned(), &b"x\r\n"[..])));
        assert_eq!(file_in(body, "c"), None);
        assert_eq!(file_in(b"--b\r\n", "b"), None);
    }
}
