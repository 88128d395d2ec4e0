//! The answer to `message/get`: what the journal holds of an id, with what the engine knows of what still waits.

use super::query::{Attempt, Reader, Row};
use crate::model::{Code, Fault, Lookup, Reply, Verdict};
use serde_json::{Value, json};

impl Reader {
    /// Answers a question about one id.
    pub fn answer(&self, lookup: Lookup) -> Reply {
        let Lookup { origin, id, account, live } = lookup;
        let seqs: Vec<_> = live.iter().map(|(seq, _)| *seq).collect();
        let found = match self.find(&id, account.as_ref(), &seqs) {
            Ok(found) => found,
            Err(_) => {
                let fault = Fault::new(Code::Internal, "the journal could not be read; ask again");
                return Reply { origin, result: Err(fault) };
            }
        };
        if found.rows.is_empty() {
            let message =
                "no message with this id is known; the outcomes of older ones are deleted after store.retention";
            return Reply { origin, result: Err(Fault::of_field(Code::NotFound, "id", message)) };
        }
        let messages: Vec<Value> = found
            .rows
            .iter()
            .map(|row| {
                let mut data = describe(row);
                let waiting = live.iter().find(|(seq, _)| *seq == row.seq).map(|(_, waiting)| waiting);
                if let (Some(data), Some(Value::Object(waiting))) = (data.as_object_mut(), waiting) {
                    data.extend(waiting.clone());
                }
                data
            })
            .collect();
        Reply { origin, result: Ok(json!({ "messages": messages, "complete": found.complete })) }
    }
}

fn describe(row: &Row) -> Value {
    // A number that JSON's usual reader would change is shown as its text.
    let written = row.id.as_json();
    let id: Value = serde_json::from_str(written).unwrap_or_default();
    let shown = id.to_string();
    let id = if id.is_string() || shown == written { id } else { json!(written) };
    let mut data = json!({
        "seq": row.seq.0,
        "id": id,
        "account": row.account.as_str(),
        "type": row.kind,
        "tag": row.tag,
        "receivedAt": row.received_at.to_string(),
        "state": row.state.as_str(),
        "possiblyDuplicate": row.possibly_duplicate,
        "attempts": row.attempts.len(),
        "history": row.attempts.iter().map(describe_attempt).collect::<Vec<_>>(),
    });
    let Some(object) = data.as_object_mut() else { return data };
    if let Some(at) = row.finished_at {
        object.insert("finishedAt".to_owned(), json!(at.to_string()));
        object.insert("answered".to_owned(), json!(row.answered));
    }
    if let Some(msg_id) = &row.msg_id {
        object.insert("msgId".to_owned(), json!(msg_id));
    }
    if let Some(fault) = &row.fault {
        object.insert("error".to_owned(), json!({ "code": fault.code.as_str(), "message": fault.message }));
    }
    data
}

fn describe_attempt(attempt: &Attempt) -> Value {
    let (ended_at, result, why) = match &attempt.end {
        None => (None, "open", None),
        Some((at, verdict)) => {
            let (result, why) = match verdict {
                Verdict::Confirmed { .. } => ("confirmed", None),
                Verdict::Refused { .. } => ("refused", None),
                Verdict::NotSent { why, .. } => ("not_sent", Some(why.as_str())),
                Verdict::Unknown { why, .. } => ("unknown", Some(why.as_str())),
            };
            (Some(at.to_string()), result, why)
        }
    };
    json!({
        "attempt": attempt.attempt,
        "corp": attempt.corp.as_str(),
        "startedAt": attempt.started_at.to_string(),
        "endedAt": ended_at,
        "result": result,
        "why": why,
    })
}
