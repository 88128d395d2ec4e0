//! Callbacks over real sockets, to a receiver of a few lines that keeps what comes and answers as it is told.

use super::*;
use crate::cli::pretend::{Act, Behaviour, Faults, Limits, Pretend, PretendAccount, Rule, Settings as PretendSettings};
use axum::Router;
use axum::http::StatusCode;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const ACCOUNT: &str = "1688850000000001";
const CONTACT: &str = "7881300000000002";

/// Takes callbacks until it is dropped.
struct Receiver {
    url: String,
    taken: mpsc::Receiver<Value>,
    /// The statuses of the next answers; 200 after them.
    statuses: Arc<Mutex<VecDeque<u16>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/callback/main/secret", listener.local_addr().expect("an address"));
        let (sender, taken) = mpsc::channel(100);
        let statuses = Arc::new(Mutex::new(VecDeque::new()));
        let answers = Arc::clone(&statuses);
        let take = move |body: Bytes| async move {
            let status = answers.lock().expect("no panic").pop_front().unwrap_or(200);
            // JSON of quntool's, or whatever another system sends, as text.
            let text = String::from_utf8_lossy(&body).into_owned();
            sender.try_send(serde_json::from_slice(&body).unwrap_or(Value::String(text))).expect("room");
            StatusCode::from_u16(status).expect("a status")
        };
        let router = Router::new().fallback(take);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { url, taken, statuses, serving }
    }

    fn answer(&self, statuses: &[u16]) {
        self.statuses.lock().expect("no panic").extend(statuses);
    }

    async fn next(&mut self) -> Value {
        self.taken.recv().await.expect("the receiver lives")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const NO_PAUSE: Retry = Retry { attempts_max: 3, pause: Duration::ZERO, answer_wait: Duration::from_secs(60) };

fn settings(url: &str) -> PretendSettings {
    let loose =
        Limits { account_interval: Duration::ZERO, corp_limit: u64::MAX, corp_window: Duration::from_secs(3600) };
    PretendSettings {
        accounts: vec![PretendAccount::online(ACCOUNT, "corp-1")],
        limits: loose,
        admin: true,
        callbacks: CallbackSettings { url: Some(Box::from(url)), retry: NO_PAUSE, ..CallbackSettings::default() },
        ..PretendSettings::default()
    }
}

async fn start() -> (Pretend, Receiver) {
    let receiver = Receiver::start().await;
    let pretend = Pretend::start(settings(&receiver.url)).await.expect("a port");
    (pretend, receiver)
}

/// The status and the body of the answer to a request of the API, or of a control path.
async fn post_to(pretend: &Pretend, path: &str, body: Value) -> Option<(u16, Value)> {
    let base = if path.starts_with("/sandbox/") { "" } else { "/gnapi/open" };
    let mut request = Genuine::json(body.to_string());
    request.headers.push(("apikey", "pretend".to_owned()));
    let (status, body) = pretend.request(&format!("http://{}{base}{path}", pretend.address()), request).await?;
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// Sends a text; the `msgId` of the answer.
async fn send(pretend: &Pretend, text: &str) -> Value {
    let conversation = format!("S:{ACCOUNT}_{CONTACT}");
    let body = json!({ "wxId": ACCOUNT, "conversationId": conversation, "content": text });
    let (status, answer) = post_to(pretend, "/msg/text", body).await.expect("an answer");
    assert_eq!(status, 200);
    answer["data"]["msgId"].clone()
}

fn order(pretend: &Pretend, behaviours: Vec<Behaviour>) {
    let rules = behaviours.into_iter().map(|behaviour| Rule::always(behaviour).times(1));
    pretend.set_faults(Faults::Rules(rules.collect()));
}

fn reported(report: Report) -> Behaviour {
    Behaviour::answer().reported(report)
}

#[tokio::test]
async fn a_message_that_was_sent_is_reported_with_the_id_of_its_answer() {
    let (pretend, mut receiver) = start().await;
    let msg_id = send(&pretend, "hello").await;
    let callback = receiver.next().await;
    assert_eq!(callback["sendMsgId"], msg_id);
    assert_eq!((&callback["type"], &callback["wxid"]), (&json!("text_msg"), &json!(ACCOUNT)));
    assert_eq!((&callback["source"], &callback["userId"]), (&json!("pretend"), &json!("apps-1")));
    assert_eq!(callback["msgId"].as_str().map(str::len), Some(36));
    assert!(callback["timestamp"].as_u64().is_some_and(|at| at > 1_600_000_000_000));
    let data = &callback["data"];
    assert_eq!(
        (&data["content"], &data["sender"], &data["receiver"]),
        (&json!("hello"), &json!(ACCOUNT), &json!(CONTACT))
    );
    assert_eq!(
        (&data["isOpenApi"], &data["error_code"], &data["error_message"]),
        (&json!(true), &json!(0), &json!(""))
    );
    pretend.wait_for_callbacks(CallbackLedger::is_settled).await;
    let ledger = pretend.stop().await.callbacks;
    assert_eq!((ledger.made, ledger.delivered, ledger.retries), (1, 1, 0));
    assert_eq!(ledger.entries[&0].send_msg_id.as_deref(), msg_id.as_str());
    assert_eq!(ledger.entries[&0].attempts, [Delivery::Answered(200)]);
}

#[tokio::test]
async fn every_path_that_sends_has_its_shape() {
    let (pretend, mut receiver) = start().await;
    let requests = json!({
        "/msg/text": { "content": "t" }, "/msg/roomAt": { "content": "hi {$@}and {$@}", "atList": ["7", "0"] },
        "/msg/image": { "fileUrl": "http://h/a.png" }, "/msg/file": { "FILEURL": "http://h/a.txt" },
        "/msg/gif": { "fileUrl": "http://h/a.gif" }, "/msg/video": { "fileUrl": "http://h/a.mp4" },
        "/msg/voice": { "fileUrl": "http://h/a.aac" }, "/msg/quote": { "content": "q", "serverId": "1" },
        "/msg/personCard": { "personCardUserId": "788", "nickName": "n", "avatar": "http://h" },
        "/msg/link": { "title": "l", "url": "http://h", "desc": "d", "imageUrl": "" },
        "/msg/miniProgram": { "username": "gh", "appid": "wx", "title": "m", "page_path": "p" },
        "/msg/videoNum": { "url": "http://v", "nickname": "v", "feed_type": 4 },
        "/miniProgram/send": { "miniProgramId": "17" }, "/videonum/send": { "videoNumId": "18" },
    });
    let mut shown = String::new();
    for (path, own) in requests.as_object().expect("an object") {
        let mut body = own.clone();
        body["wxid"] = json!(ACCOUNT);
        body["conversationId"] = json!("R:10896703172970003");
        let (_, answer) = post_to(&pretend, path, body).await.expect("an answer");
        let callback = receiver.next().await;
        assert_eq!(callback["sendMsgId"], answer["data"]["msgId"], "{path}");
        let mut data = callback["data"].clone();
        for (name, value) in [
            ("receiver", json!("10896703172970003")),
            ("sender", json!(ACCOUNT)),
            ("conversation_id", json!("R:10896703172970003")),
            ("content_type", json!(0)),
            ("is_pc", json!(1)),
            ("error_code", json!(0)),
            ("error_message", json!("")),
            ("isOpenApi", json!(true)),
        ] {
            assert_eq!(data[name], value, "{path}: {name}");
            data.as_object_mut().expect("an object").remove(name);
        }
        let time = data.as_object_mut().expect("an object").remove("send_time").expect("a time");
        let is_card = matches!(callback["type"].as_str(), Some("emoticon_msg" | "person_card_msg"));
        assert_eq!((time.is_string(), time.is_u64()), (is_card, !is_card), "{path}");
        assert!(data.as_object_mut().expect("an object").remove("server_id").is_some_and(|id| id.is_string()));
        shown += &format!("{path} {} {data}\n", callback["type"].as_str().expect("a type"));
    }
    assert_eq!(shown, SHAPES);
}

/// What is not the same for all, by path; after the vendor's samples of sent messages.
const SHAPES: &str = r#"/miniProgram/send mini_program_msg {"appicon":"","appid":"","appname":"","cdn_type":0,"cover_path":"","page_path":"","sendUserId":"apps-1","sendUserName":"眠羊","title":"17","username":""}
/msg/file file_msg {"cdn":{"aes_key":"656662","file_id":"305202","file_name":"a.txt","md5":"c91a30","size":53886},"cdn_type":0,"file_path":"/gnapi/files/Storage/20230614/39855b938f6b54afee4697cc7e36f6aa/a.txt","sendUserId":"apps-1","sendUserName":"眠羊"}
/msg/gif emoticon_msg {"height":240,"local_id":"0","url":"http://h/a.gif","width":240}
/msg/image image_msg {"cdn_type":0,"file_path":"/gnapi/files/Storage/20230614/39855b938f6b54afee4697cc7e36f6aa/a.png","height":200,"imgHeight":200,"imgWidth":200,"sendUserId":"apps-1","sendUserName":"眠羊","width":200}
/msg/link link_card_msg {"desc":"d","image_url":"","sendUserId":"apps-1","sendUserName":"眠羊","title":"l","url":"http://h"}
/msg/miniProgram mini_program_msg {"appicon":"","appid":"wx","appname":"","cdn_type":0,"cover_path":"","page_path":"p","sendUserId":"apps-1","sendUserName":"眠羊","title":"m","username":"gh"}
/msg/personCard person_card_msg {"avatar":"http://h","local_id":"0","nickname":"n","sendUserId":"apps-1","sendUserName":"眠羊","user_id":"788"}
/msg/quote text_msg {"at_list":[],"content":"q","sendUserId":"apps-1","sendUserName":"眠羊"}
/msg/roomAt text_msg {"at_list":["7","0"],"content":"hi @7 and @所有人 ","sendUserId":"apps-1","sendUserName":"眠羊"}
/msg/text text_msg {"at_list":[],"content":"t","sendUserId":"apps-1","sendUserName":"眠羊"}
/msg/video video_msg {"cdn_type":0,"file_path":"/gnapi/files/Storage/20230614/39855b938f6b54afee4697cc7e36f6aa/a.mp4","sendUserId":"apps-1","sendUserName":"眠羊","videoHeight":1280,"videoWidth":720}
/msg/videoNum video_num_msg {"avatar":"","cover_url":"","desc":"","extras":"","feed_type":4,"nickname":"v","sendUserId":"apps-1","sendUserName":"眠羊","thumb_url":"","url":"http://v"}
/msg/voice voice_msg {"cdn_type":0,"duration":4,"file_path":"/gnapi/files/Storage/20230614/39855b938f6b54afee4697cc7e36f6aa/a.aac","sendUserId":"apps-1","sendUserName":"眠羊"}
/videonum/send video_num_msg {"avatar":"","cover_url":"","desc":"18","extras":"","feed_type":4,"nickname":"","sendUserId":"apps-1","sendUserName":"眠羊","thumb_url":"","url":""}
"#;

#[tokio::test]
async fn an_early_callback_is_there_before_the_answer() {
    let (pretend, mut receiver) = start().await;
    receiver.answer(&[503]);
    order(&pretend, vec![reported(Report::when(When::Early))]);
    let msg_id = send(&pretend, "early").await;
    assert_eq!(pretend.with_ledger(|ledger| (ledger.callbacks.delivered, ledger.callbacks.retries)), (1, 1));
    assert_eq!(receiver.next().await["sendMsgId"], msg_id);
}

#[tokio::test]
async fn a_callback_comes_twice_never_or_out_of_order() {
    let (pretend, mut receiver) = start().await;
    order(
        &pretend,
        vec![reported(Report::twice()), reported(Report::when(When::Never)), reported(Report::when(When::AfterNext))],
    );
    send(&pretend, "twice").await;
    let first = receiver.next().await;
    assert_eq!(receiver.next().await, first);
    for text in ["never", "overtaken", "last"] {
        send(&pretend, text).await;
    }
    assert_eq!(receiver.next().await["data"]["content"], "last");
    assert_eq!(receiver.next().await["data"]["content"], "overtaken");
    pretend.wait_for_callbacks(CallbackLedger::is_settled).await;
    assert_eq!(pretend.ledger().callbacks.made, 4);
    assert_eq!(pretend.ledger().effects, 4);
}

#[tokio::test]
async fn a_late_callback_does_not_hold_up_the_others() {
    let (pretend, mut receiver) = start().await;
    order(
        &pretend,
        vec![reported(Report::late(Duration::from_secs(3600))), reported(Report::late(Duration::from_millis(1)))],
    );
    send(&pretend, "in an hour").await;
    send(&pretend, "soon").await;
    assert_eq!(receiver.next().await["data"]["content"], "soon");
    pretend.wait_for_callbacks(|ledger| ledger.delivered == 1).await;
    assert_eq!(pretend.ledger().callbacks.entries[&0].attempts, []);
}

#[tokio::test]
async fn who_got_no_answer_hears_by_callback_when_it_is_let_go() {
    let (pretend, mut receiver) = start().await;
    order(&pretend, vec![Behaviour::despite(Act::Silence).reported(Report::when(When::Held))]);
    {
        let waiting = send(&pretend, "silent");
        tokio::select! {
            answer = waiting => panic!("{answer}"),
            () = pretend.wait_for_callbacks(|ledger| ledger.made == 1) => {}
        }
    }
    pretend.release_callbacks();
    let callback = receiver.next().await;
    assert_eq!((&callback["data"]["content"], &callback["data"]["error_code"]), (&json!("silent"), &json!(0)));
    assert_eq!(callback["sendMsgId"].as_str().map(str::len), Some(36));
    assert_eq!(pretend.ledger().effects, 1);
}

#[tokio::test]
async fn a_callback_says_what_it_is_told_to() {
    let (pretend, mut receiver) = start().await;
    order(
        &pretend,
        vec![
            Behaviour::undelivered(-1_000_999, "Abnormal request frequency"),
            reported(Report { has_id: false, is_open_api: Some(false), ..Report::USUAL }),
            reported(Report { is_open_api: None, ..Report::USUAL }),
            Behaviour::too_frequent(),
        ],
    );
    assert!(send(&pretend, "a").await.is_string());
    let failed = receiver.next().await;
    assert_eq!(
        (&failed["data"]["error_code"], &failed["data"]["error_message"]),
        (&json!(-1_000_999), &json!("Abnormal request frequency"))
    );
    send(&pretend, "b").await;
    let without = receiver.next().await;
    assert_eq!((&without["sendMsgId"], &without["data"]["isOpenApi"]), (&Value::Null, &json!(false)));
    send(&pretend, "c").await;
    assert_eq!(receiver.next().await["data"].get("isOpenApi"), None);
    // What was refused is not reported.
    assert_eq!(send(&pretend, "d").await, Value::Null);
    assert_eq!((pretend.ledger().effects, pretend.ledger().callbacks.made), (2, 3));
}

#[tokio::test]
async fn what_meets_503_or_nobody_is_tried_again_and_nothing_else() {
    let (pretend, receiver) = start().await;
    receiver.answer(&[503, 503, 200, 401, 503, 503, 503]);
    for text in ["again", "refused", "given up"] {
        send(&pretend, text).await;
        pretend.wait_for_callbacks(CallbackLedger::is_settled).await;
    }
    drop(receiver);
    let ledger = pretend.ledger().callbacks;
    let attempts = |number| ledger.entries[&number].attempts.clone();
    let busy = Delivery::Answered(503);
    assert_eq!(attempts(0), [busy, busy, Delivery::Answered(200)]);
    assert_eq!(attempts(1), [Delivery::Answered(401)]);
    assert_eq!(attempts(2), [busy; 3]);
    assert_eq!((ledger.delivered, ledger.refused, ledger.given_up, ledger.retries), (1, 1, 1, 4));

    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    pretend.set_callback_url(&format!("http://{gone}/x")).expect("an address");
    send(&pretend, "nobody").await;
    pretend.wait_for_callbacks(CallbackLedger::is_settled).await;
    assert_eq!(pretend.ledger().callbacks.entries[&3].attempts, [Delivery::Unanswered; 3]);
}

#[tokio::test]
async fn an_account_that_is_offline_sends_nothing_until_it_logs_in() {
    let (pretend, mut receiver) = start().await;
    let account = Box::<str>::from(ACCOUNT);
    assert!(pretend.happen(&Happening::Offline { account: account.clone() }, &Report::USUAL).is_some());
    let offline = receiver.next().await;
    assert_eq!((&offline["type"], &offline["data"]), (&json!("user_offline"), &Value::Null));
    assert_eq!(send(&pretend, "x").await, Value::Null);
    let login = Happening::Login { account, corp: Some(Box::from("corp-2")) };
    pretend.happen(&login, &Report::USUAL);
    let login = receiver.next().await;
    assert_eq!((&login["data"]["corp_id"], &login["data"]["user_id"]), (&json!("corp-2"), &json!(ACCOUNT)));
    assert!(send(&pretend, "x").await.is_string());
    assert_eq!(pretend.ledger().corps["corp-2"].arrivals, 1);
}

#[tokio::test]
async fn without_an_address_nothing_is_made() {
    let quiet = PretendSettings { callbacks: CallbackSettings::default(), ..settings("") };
    let pretend = Pretend::start(quiet).await.expect("a port");
    send(&pretend, "x").await;
    let account = Box::<str>::from(ACCOUNT);
    assert_eq!(pretend.happen(&Happening::Offline { account }, &Report::USUAL), None);
    assert_eq!(send(&pretend, "y").await, Value::Null);
    assert_eq!(pretend.stop().await.callbacks, CallbackLedger::default());
    for wrong in ["", "https://h/x", "/callback/main", "ftp://h"] {
        let refused = Pretend::start(settings(wrong)).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(std::io::ErrorKind::InvalidInput), "{wrong}");
    }
}

#[tokio::test]
async fn events_are_ordered_by_hand() {
    let (pretend, mut receiver) = start().await;
    let room = "R:1";
    let orders = [
        (json!({ "event": "qrcode", "account": ACCOUNT, "status": 10 }), "qrcode_status_msg"),
        (json!({ "event": "safetyCheck", "account": ACCOUNT }), "safe_validate"),
        (json!({ "event": "received", "account": ACCOUNT, "from": CONTACT, "kind": "redPacket" }), "red_packet_msg"),
        (json!({ "event": "typed", "account": ACCOUNT, "conversation": room, "text": "t" }), "text_msg"),
        (
            json!({ "event": "contactAdded", "account": ACCOUNT, "contact": CONTACT, "name": "n" }),
            "notify_type_contact_add",
        ),
        (json!({ "event": "contactLost", "account": ACCOUNT, "contact": CONTACT }), "chat_gray_msg"),
        (json!({ "event": "systemText", "account": ACCOUNT, "conversation": room, "text": "t" }), "chat_gray_msg"),
        (
            json!({ "event": "groupCreated", "account": ACCOUNT, "conversation": room, "members": ["7"] }),
            "notify_type_room_create",
        ),
        (
            json!({ "event": "groupMembersAdded", "account": ACCOUNT, "conversation": room }),
            "notify_type_room_add_member",
        ),
        (
            json!({ "event": "groupMembersRemoved", "account": ACCOUNT, "conversation": room }),
            "notify_type_room_del_member",
        ),
        (
            json!({ "event": "groupMemberLeft", "account": ACCOUNT, "conversation": room, "by": "7" }),
            "notify_type_room_member_quit",
        ),
        (
            json!({ "event": "groupRenamed", "account": ACCOUNT, "conversation": room, "name": "n" }),
            "room_name_changed",
        ),
        (json!({ "event": "broadcastConfirm", "account": ACCOUNT, "title": "t" }), "batch_msg_confirm"),
        (json!({ "event": "other", "account": ACCOUNT, "type": "of_tomorrow", "data": { "x": 1 } }), "of_tomorrow"),
        (json!({ "event": "login", "account": ACCOUNT }), "user_login"),
        (json!({ "event": "offline", "account": ACCOUNT }), "user_offline"),
    ];
    for (order, kind) in orders {
        let (status, answer) = post_to(&pretend, "/sandbox/event", order.clone()).await.expect("an answer");
        assert_eq!(status, 200, "{order}: {answer}");
        let callback = receiver.next().await;
        assert_eq!((&callback["type"], &callback["msgId"]), (&json!(kind), &answer["msgId"]), "{order}");
        let is_before_login = kind == "qrcode_status_msg";
        assert_eq!(callback["wxid"], if is_before_login { "" } else { ACCOUNT });
        assert_eq!(callback.get("sendMsgId").is_none(), matches!(kind, "qrcode_status_msg" | "safe_validate"));
    }
    for wrong in [
        json!({ "event": "dance" }),
        json!({ "event": "offline" }),
        json!({ "event": "offline", "account": "a", "x": 1 }),
        json!({ "event": "groupRenamed", "account": "a", "conversation": "R:1", "x": 1 }),
    ] {
        let (status, answer) = post_to(&pretend, "/sandbox/event", wrong.clone()).await.expect("an answer");
        assert!(
            status == 400 && answer["message"].as_str().is_some_and(|text| text.starts_with("not an event: ")),
            "{wrong}: {answer}"
        );
    }
    let url = format!("http://{}/sandbox/callbacks", pretend.address());
    let get = Genuine { is_get: true, ..Genuine::json("") };
    let (_, shown) = pretend.request(&url, get).await.expect("an answer");
    let shown: Vec<Value> = serde_json::from_slice(&shown).expect("a list");
    assert_eq!((shown.len(), &shown[0]["type"]), (16, &json!("user_offline")));
}

#[tokio::test]
async fn other_systems_are_heard_by_hand() {
    let (pretend, mut receiver) = start().await;
    let (status, _) = post_to(&pretend, "/sandbox/yunxin", json!({})).await.expect("an answer");
    assert_eq!(status, 400);
    let url = Box::<str>::from(&*receiver.url);
    let side = WecomSide::new("token", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "corp").expect("a key");
    pretend.set_others(Others {
        yunxin: Some(Yunxin { url: url.clone(), app_key: Box::from("key"), app_secret: Box::from("secret") }),
        wecom: Some(Wecom { url: url.clone(), side }),
        guid: Some(url),
    });
    receiver.answer(&[401]);
    for (path, status) in [("yunxin", 401), ("guid", 200), ("wecom", 200), ("wecom/verify", 200)] {
        let (_, answer) =
            post_to(&pretend, &format!("/sandbox/{path}"), json!({ "x": path })).await.expect("an answer");
        assert_eq!((&answer["status"], &answer["answered"]), (&json!("ok"), &json!(status)), "{path}");
        let came = receiver.next().await;
        match path {
            "wecom" => assert!(came.as_str().is_some_and(|xml| xml.contains("<Encrypt><![CDATA[")), "{came}"),
            "wecom/verify" => assert_eq!(came, json!("")),
            _ => assert_eq!(came, json!({ "x": path })),
        }
    }
}
