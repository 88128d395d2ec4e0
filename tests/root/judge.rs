//! What every test ends with: the publisher's words, the server's ledger and the journal's audit must agree.

use crate::publisher::Heard;
use crate::scene::Scene;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// What was found besides that nothing was broken.
#[derive(Debug, Default)]
pub struct Verdict {
    pub messages: usize,
    pub sent: usize,
    pub unresolved: BTreeSet<String>,
    /// Ends other than these, by the id and the code.
    pub others: BTreeSet<(String, String)>,
    /// What `sendbridge audit` says.
    pub audit: Value,
}

/// Everything that was published has its answer by now; holds the promises against what the server saw.
///
/// # Panics
/// When a message is lost, was sent twice, or was called what it is not.
pub async fn judge(scene: &Scene) -> Verdict {
    scene.all_answered().await;
    let verdict = judge_words(scene);
    Verdict { audit: audit(scene, verdict.messages), ..verdict }
}

fn judge_words(scene: &Scene) -> Verdict {
    let (seen, ledger) = (scene.publisher.seen(), scene.sender.ledger());
    let twice: Vec<&str> = ledger.repeated().collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let mut verdict = Verdict { messages: scene.published.len(), ..Verdict::default() };
    for id in &scene.published {
        let answers = seen.answers.get(&format!("{id:?}")).unwrap_or_else(|| panic!("{id} is lost"));
        let word = only_word(id, answers);
        let (arrivals, effects) =
            ledger.messages.get(id.as_str()).map_or((0, 0), |entry| (entry.arrivals, entry.effects));
        match word.as_str() {
            "sent" => {
                assert_eq!(effects, 1, "{id} was answered as sent");
                verdict.sent += 1;
            }
            "UNRESOLVED" => {
                assert!(arrivals <= 1, "{id} is in doubt and was requested {arrivals} times");
                verdict.unresolved.insert(id.clone());
            }
            other => {
                assert_eq!(effects, 0, "{id} was answered {other}");
                verdict.others.insert((id.clone(), other.to_owned()));
            }
        }
    }
    verdict
}

/// `sent`, or the code of the error. All answers to one message must be the same.
fn only_word(id: &str, answers: &[Heard]) -> String {
    let first = &answers[0];
    for later in answers {
        assert_eq!(later.text(), first.text(), "two answers to {id} differ");
    }
    first.json()["error"]["code"].as_str().unwrap_or("sent").to_owned()
}

/// What the program itself proves from the journal, which must hold `messages` and no others.
fn audit(scene: &Scene, messages: usize) -> Value {
    let found = audit_now(scene);
    assert_eq!(
        (&found["balanced"], &found["open"], &found["perhapsTwice"], &found["messages"]),
        (&Value::Bool(true), &Value::from(0), &Value::from(0), &Value::from(messages)),
        "{found}"
    );
    found
}

/// The same while messages are open.
pub fn audit_now(scene: &Scene) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_sendbridge"))
        .args(["audit", "--json", "--config"])
        .arg(scene.bridge.path("bridge.toml"))
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    let found: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(found["held"], true, "{found}");
    found
}
