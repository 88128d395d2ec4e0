//! What is ordered by hand, over HTTP, below `/sandbox/`: faults, events, callbacks of other systems.

use super::admin;
use super::callback::{self, Delivery, Happening, Report, System};
use super::connection::Payload;
use super::server::{Shared, json, read_body};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use std::fmt;
use std::sync::Arc;

/// Answers one order.
pub async fn handle(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Payload> {
    let (head, body) = request.into_parts();
    let body = read_body(body).await.unwrap_or_default();
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/sandbox/fault") => match admin::parse_faults(&body) {
            Ok(faults) => {
                shared.state().faults = faults;
                json(StatusCode::OK, r#"{"status":"ok"}"#)
            }
            Err(error) => refused(&error),
        },
        (&Method::POST, "/sandbox/event") => match serde_json::from_slice::<Happening>(&body) {
            Ok(happening) => {
                let msg_id = shared.happen(&happening, &Report::USUAL);
                json(StatusCode::OK, serde_json::json!({ "status": "ok", "msgId": msg_id }).to_string())
            }
            Err(error) => refused(&format_args!("not an event: {error}")),
        },
        (&Method::POST, "/sandbox/release") => {
            callback::release(shared);
            json(StatusCode::OK, r#"{"status":"ok"}"#)
        }
        (&Method::POST, "/sandbox/yunxin") => other(shared, System::Yunxin, body).await,
        (&Method::POST, "/sandbox/wecom") => other(shared, System::Wecom, body).await,
        (&Method::POST, "/sandbox/wecom/verify") => other(shared, System::WecomVerification, body).await,
        (&Method::POST, "/sandbox/guid") => other(shared, System::Guid, body).await,
        (&Method::GET, "/sandbox/ledger") => json(StatusCode::OK, admin::summary(shared.state().book.ledger())),
        (&Method::GET, "/sandbox/requests") => json(StatusCode::OK, admin::requests(shared.state().book.ledger())),
        (&Method::GET, "/sandbox/callbacks") => {
            json(StatusCode::OK, callbacks(shared.state().book.ledger().callbacks.entries.iter()))
        }
        _ => json(StatusCode::NOT_FOUND, r#"{"status":"error","message":"no such path"}"#),
    }
}

/// Makes a genuine request of another system, and shows how it was answered.
async fn other(shared: &Arc<Shared>, system: System, body: Bytes) -> Response<Payload> {
    let others = shared.state().outbox.others.clone();
    let Some((url, genuine)) = others.genuine(system, body, shared.clock.now()) else {
        return refused(&"there is no address for callbacks of this system, or the body is not text");
    };
    match shared.courier.exchange(url, genuine).await {
        Some((status, body)) => {
            let body = String::from_utf8_lossy(&body);
            json(StatusCode::OK, serde_json::json!({ "status": "ok", "answered": status, "body": body }).to_string())
        }
        None => json(StatusCode::BAD_GATEWAY, r#"{"status":"error","message":"nobody answered the callback"}"#),
    }
}

fn refused(error: &dyn fmt::Display) -> Response<Payload> {
    let answer = serde_json::json!({ "status": "error", "message": error.to_string() });
    json(StatusCode::BAD_REQUEST, answer.to_string())
}

/// The newest callbacks, the newest first.
const SHOWN_MAX: usize = 100;

fn callbacks<'a>(entries: impl DoubleEndedIterator<Item = (&'a u64, &'a callback::CallbackEntry)>) -> String {
    let attempt = |delivery: &Delivery| match delivery {
        Delivery::Answered(status) => serde_json::json!(status),
        Delivery::Unanswered => serde_json::Value::Null,
    };
    let shown = entries.rev().take(SHOWN_MAX).map(|(number, entry)| {
        serde_json::json!({
            "number": number,
            "type": entry.kind,
            "account": entry.account,
            "msgId": entry.msg_id,
            "sendMsgId": entry.send_msg_id,
            "answered": entry.attempts.iter().map(attempt).collect::<Vec<_>>(),
        })
    });
    serde_json::Value::Array(shown.collect()).to_string()
}
