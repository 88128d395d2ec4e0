//! The plain program that somebody would write instead: subscribe, POST, publish the answer.
//!
//! It is fast because it promises nothing: a message is acknowledged to the broker as soon as it has been read, and
//! what it holds is gone with the process. There are no limits per account or company, no order, no repeats noticed.

use crate::client;
use rumqttc::{Event, Packet, Publish, QoS};
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Requests at once.
const REQUESTS_MAX: usize = 256;

/// Runs until the process is ended. `url` is where the sender's API begins. With a `log` it appends a page to that and
/// syncs it before each request, and once more before each answer: what two syncs cost at the pace of the messages, and
/// nothing else of what a durable program would do.
pub fn run(broker_port: u16, url: &str, log: Option<&Path>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let log = log.map(|path| Arc::new(Mutex::new(File::create(path).expect("a file"))));
    runtime.block_on(serve(broker_port, Arc::from(url), log));
}

fn sync(log: Option<&Arc<Mutex<File>>>) {
    if let Some(log) = log {
        let mut log = log.lock().expect("not poisoned");
        log.write_all(&[b'x'; 4096]).expect("room on the disk");
        log.sync_data().expect("a disk that works");
    }
}

async fn serve(broker_port: u16, url: Arc<str>, log: Option<Arc<Mutex<File>>>) {
    let mut options = client::options("plain", broker_port, 1000);
    // What it has not read yet stays with the broker while it is away.
    options.set_clean_session(false);
    options.set_max_packet_size(1024 * 1024, 1024 * 1024);
    let (client, mut event_loop) = client::connect(options);
    client.subscribe("SendMessage", QoS::AtLeastOnce).await.expect("room in the queue");
    let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let event = event_loop.poll().await.expect("a connection");
        let Event::Incoming(Packet::Publish(message)) = event else { continue };
        let (client, http, slots, url) = (client.clone(), http.clone(), Arc::clone(&slots), Arc::clone(&url));
        let log = log.clone();
        tokio::spawn(async move {
            let _slot = slots.acquire().await.expect("never closed");
            sync(log.as_ref());
            let answer = post(&http, &url, &message).await;
            sync(log.as_ref());
            client.publish("SendMessageResp", QoS::AtLeastOnce, false, answer).await.expect("a running loop");
        });
    }
}

async fn post(http: &reqwest::Client, url: &str, message: &Publish) -> String {
    let mut body: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let fields = body.as_object_mut().expect("an object");
    let id = fields.remove("id").unwrap_or_default();
    let kind = fields.remove("type").unwrap_or_default();
    let url = format!("{url}/msg/{}", kind.as_str().unwrap_or_default());
    let request = http.post(url).header("apikey", "key").header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.expect("an answer").bytes().await.expect("its body");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    let id = id.as_str().unwrap_or_default();
    match (answer["code"].as_i64(), answer["data"]["msgId"].as_str()) {
        (Some(0), Some(msg_id)) => serde_json::json!({ "id": id, "msgId": msg_id }).to_string(),
        _ => serde_json::json!({ "id": id, "error": answer["msg"] }).to_string(),
    }
}
