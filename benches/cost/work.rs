//! Messages through parser, engine, journal and payloads, in turns like those of the bridge under load.

use crate::settings;
use bytes::Bytes;
use sendbridge::engine::Engine;
use sendbridge::intake::{self, PacketMeta, parse_request};
use sendbridge::journal::{Batch, Journal, Settings};
use sendbridge::model::{
    Action, Input, LastNumbers, Message, Outcome, Outgoing, Ready, Record, Seq, Ticket, Time, Verdict,
};
use sendbridge::mqtt::topics::Topics;
use sendbridge::publisher::payload;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ACCOUNTS: u32 = 2000;
const CORPS: u32 = 20;
/// Messages that begin in one turn: about as many as under load.
const PER_TURN: u64 = 32;
/// Between two turns, so that every account may send again when its turn comes.
const TURN: Duration = Duration::from_millis(10);

/// Takes `messages` through, to the end of each, and checks that all of it happened.
pub fn run(messages: u64) {
    let directory = Directory::make();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answered = runtime.block_on(drive(messages, &directory.0));
    assert_eq!(answered, messages, "every message is answered once");
    println!("messages {messages}");
}

/// In memory where that is to be had: what is counted is the work and not the disk.
struct Directory(std::path::PathBuf);

impl Directory {
    fn make() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
        let path = parent.join(format!("sendbridge-cost-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left behind does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn drive(messages: u64, directory: &Path) -> u64 {
    let journal = Journal::open(Settings {
        path: directory.join("sendbridge.db"),
        retention: Duration::from_secs(7 * 86_400),
        body_retention: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(3600),
        low_space_bytes: 0,
    })
    .expect("a journal");
    let reading = intake::Settings {
        max_message: 256 * 1024,
        extra_types: Vec::new(),
        topics: Arc::new(
            Topics::new(&["SendMessage".to_owned()], "SendMessageResp", "sendbridge", &["reply/#".to_owned()])
                .expect("topics"),
        ),
    };
    let mut now = Time::from_millis(1_700_000_000_000);
    let limits = settings::engine(ACCOUNTS, CORPS, Duration::from_millis(1), 100_000_000);
    let mut engine = Engine::new(limits, now, LastNumbers::default());
    engine.start(now);
    engine.handle(Input::Connected(true), now);
    let mut desk = Desk { journal, engine, letters: BTreeMap::new(), due: Vec::new(), now, answered: 0 };
    let mut number = 0;
    while number < messages || !desk.due.is_empty() {
        for input in std::mem::take(&mut desk.due) {
            desk.engine.handle(input, now);
        }
        for _ in 0..PER_TURN.min(messages - number) {
            let packet = u16::try_from(number % 1000).expect("a packet id") + 1;
            let meta = PacketMeta { qos: 1, ticket: Some(Ticket { generation: 1, packet }), ..PacketMeta::default() };
            let input = parse_request(&reading, None, meta, text(number).as_bytes());
            desk.engine.handle(input, now);
            number += 1;
        }
        let ready = desk.engine.poll_ready(now);
        desk.carry_out(ready).await;
        now = now + TURN;
        desk.now = now;
    }
    desk.journal.close().await.expect("a clean end");
    desk.answered
}

/// About 280 bytes, as in the other bench.
fn text(number: u64) -> String {
    let account = settings::account(u32::try_from(number % u64::from(ACCOUNTS)).expect("few accounts"));
    format!(
        r#"{{"wxId":"{account}","conversationId":"S:{account}_7881301954974667","content":"订单已经发货，请注意查收。Your order has been shipped and will reach you within three working days; thank you.","type":"text","note":"{number:032}","id":"m1-{number}"}}"#
    )
}

/// What the loop of the bridge does, as far as it costs anything.
struct Desk {
    journal: Journal,
    engine: Engine,
    letters: BTreeMap<Seq, (Arc<Message>, Option<Outcome>)>,
    /// What the edges will say next.
    due: Vec<Input>,
    now: Time,
    answered: u64,
}

impl Desk {
    async fn carry_out(&mut self, ready: Ready) {
        let Ready { records, actions } = ready;
        for record in &records {
            match record {
                Record::Accepted(message) => {
                    self.letters.insert(message.seq, (Arc::clone(message), None));
                }
                Record::Finished { seq, outcome } => {
                    self.letters.get_mut(seq).expect("accepted before").1 = Some(outcome.clone());
                }
                Record::Answered { seq, .. } => {
                    self.letters.remove(seq);
                    self.answered += 1;
                }
                // What else there is needs nothing of the loop.
                _ => {}
            }
        }
        if !records.is_empty() {
            self.journal.commit(Batch { records, ..Batch::default() }).await.expect("a commit");
        }
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send { seq, attempt, .. } => {
                black_box(&self.letters[&seq].0.request.body);
                let verdict = Verdict::Confirmed { msg_id: Some(Box::from(format!("7B8D35DA-{:012}", seq.0))) };
                self.due.push(Input::Ended { seq, attempt, at: self.now, verdict });
            }
            Action::Publish(what @ Outgoing::Answer(seq)) => {
                let (message, outcome) = &self.letters[&seq];
                let outcome = outcome.as_ref().expect("finished before");
                black_box::<Bytes>(payload::answer(&message.request.id, outcome));
                self.due.push(Input::Published { what, refused: None });
            }
            Action::Event(event) => {
                let message = event.seq.and_then(|seq| self.letters.get(&seq)).map(|(message, _)| &**message);
                black_box::<Bytes>(payload::send_event(&event, message));
            }
            other => {
                black_box(other);
            }
        }
    }
}
