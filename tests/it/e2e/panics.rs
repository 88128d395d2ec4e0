//! A part that panics takes the whole process with it, and the next life recovers: half a bridge would take messages and
//! send none, or send and tell nobody.

use super::crash_points::{audit, begin};
use super::text;
use nix::sys::signal::Signal;
use sendbridge::crash::PANIC_AT;
use serde_json::json;
use std::os::unix::process::ExitStatusExt as _;

/// A point of each task and thread through which a message goes.
const PARTS: [&str; 6] = [
    // The connection that messages come over.
    "message_received",
    // The thread of the journal.
    "written:accepted",
    // The loop.
    "durable:accepted",
    // The task of one request.
    "request_begun",
    // That of one callback.
    "callback_received",
    // The connection that everything leaves over which is said.
    "publish_confirmed",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_any_part_ends_the_process_and_nothing_is_lost() {
    let (mut scene, http) = begin("report", |config| config).await;
    for part in PARTS {
        let earlier = scene.bridge.log().len();
        scene.bridge.start_to_end(&[(PANIC_AT, part)], http);
        scene.publisher.send(text("good", part, part)).await;
        let status = scene.bridge.wait();
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{part}: {status}");
        let said = format!("panic point {part}");
        assert!(scene.bridge.log()[earlier..].iter().any(|line| line.contains(&said)), "it did not panic at {part}");

        scene.bridge.start_again().await;
        let answer = scene.publisher.answer_to(part).await;
        let is_in_doubt = answer["error"]["code"] == "UNRESOLVED";
        match part {
            // The attempt was in the journal and its request had not left: nobody but this test can know that.
            "request_begun" => assert!(is_in_doubt, "{part}: {answer}"),
            // It may have come before the answer.
            "callback_received" => assert!(is_in_doubt || answer["msgId"].is_string(), "{part}: {answer}"),
            _ => assert!(answer["msgId"].is_string(), "{part}: {answer}"),
        }
        assert_eq!(scene.effects(part), u32::from(part != "request_begun"), "{part}");
        scene.bridge.kill();
    }
    scene.bridge.start_again().await;
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    scene.health().await;
    assert!(scene.bridge.terminate().success());
    let (code, report) = audit(&scene).await;
    assert_eq!((code, &report["held"]), (Some(0), &json!(true)), "{report:#}");
}
