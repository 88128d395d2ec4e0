//! Calls of the sender's API while the bridge dies at every point: none is made twice, and nobody is told that one was
//! made which was not.

use super::Scene;
use crate::canary;
use crate::publisher::{Message, Seen};
use serde_json::{Value, json};

/// What the server counts these calls as.
const CHANGE: &str = "PUT /contact/remark";
/// The bridge knows 10,000 orders, and a round makes six at most: of calls from so many rounds ago it may know no more,
/// and would make them again.
const ROUNDS_KNOWN: u64 = 1_500;

fn transaction(life: usize) -> String {
    format!("call-{life}")
}

/// The call of a life that changes something.
fn change(life: usize) -> Message {
    let body = json!({ "wxId": "good", "contactId": "788", "remark": canary::CALLED });
    let order = json!({ "path": "/contact/remark", "body": body, "by": "li", "transaction": transaction(life) });
    Message::new("sendbridge/request/sender/call", order.to_string())
}

/// Orders the calls of a round. The one that changes something is the same in each round of a life: however often it is
/// ordered, it may be made once.
pub(super) async fn order(scene: &Scene, life: usize, point: &str) {
    scene.publisher.publish(change(life)).await;
    // At the points of a call the first one ends the life. There, and in the lives before, from which an order may come
    // again, it is to be one that leaves a record.
    if !point.contains(':') {
        let read = json!({ "path": "/group/list", "query": { "wxId": "good" } });
        scene.publisher.publish(Message::new("sendbridge/request/sender/call", read.to_string())).await;
    }
}

/// What was told of the call of a life, in what was heard from `start` on.
fn told(seen: &Seen, start: usize, life: usize) -> Option<Value> {
    let heard = seen.all[start..].iter().filter(|heard| heard.topic == "sendbridge/response/sender/call");
    heard.map(|heard| heard.json()).find(|reply| reply["transaction"] == transaction(life))
}

/// Orders the call of each life once more, and holds what is told of it against what the server saw. One that never
/// reached the bridge is made now. `lives` says before which round each began, and `round` is the last one.
pub(super) async fn judge(scene: &Scene, lives: &[u64], round: u64) {
    let (mut done, mut unknown) = (0, 0);
    for life in (0..lives.len()).filter(|life| lives[*life] + ROUNDS_KNOWN >= round) {
        let start = scene.publisher.look(|seen| seen.all.len());
        scene.publisher.publish(change(life)).await;
        scene.publisher.wait(&transaction(life), |seen| told(seen, start, life).is_some()).await;
        let reply = scene.publisher.look(|seen| told(seen, start, life)).expect("waited for");
        match reply["error"]["code"].as_str() {
            None => done += 1,
            Some("UNRESOLVED") => unknown += 1,
            Some(_) => panic!("the call of life {life} was never refused: {reply}"),
        }
    }
    let made = scene.sender.with_ledger(|ledger| ledger.calls.get(CHANGE).copied().unwrap_or_default());
    let made = usize::try_from(made).expect("few");
    assert!(made <= lives.len(), "{made} calls were made for {} orders", lives.len());
    assert!(made >= done, "{made} calls were made, and {done} are called done");
    // At two points a call dies that has begun, and nobody hears of its end.
    assert!(unknown >= 2, "{unknown} calls are not known");
}
