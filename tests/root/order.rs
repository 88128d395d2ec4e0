//! The order of things, proven from the system calls of the real program: whatever leaves it rests on what is on disk.
//!
//! From the traced writes and syncs follows what a loss of power would have left at every moment. For each packet that
//! leaves, the journal as it would have been left when its first byte left is opened and asked.

use crate::bridge::Launcher;
use crate::judge::judge;
use crate::report::{figure, skipped};
use crate::scene::{Scene, server};
use crate::strace::is_allowed;
use crate::trace::{self, Call};
use crate::wire::{self, Packet};
use crate::{disks, mosquitto::Mosquitto};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const ACCOUNTS: usize = 7;
const MESSAGES: usize = 100;

/// The files of the journal by the ends of their names, as a loss of power would leave them.
#[derive(Default)]
struct Disk {
    /// What was written, and what of it was synced.
    files: BTreeMap<&'static str, (Vec<u8>, Vec<u8>)>,
    /// What the journal in it knows, until it changes.
    known: Option<Rc<Known>>,
    questions: usize,
}

/// The ids of messages that a journal knows.
#[derive(Debug, Default)]
struct Known {
    accepted: BTreeSet<String>,
    attempted: BTreeSet<String>,
    finished: BTreeSet<String>,
}

const FILES: [&str; 2] = ["journal.db", "journal.db-wal"];

impl Disk {
    fn perform(&mut self, call: &Call) {
        let Some(name) = FILES.into_iter().find(|name| call.about.ends_with(&format!("/{name}"))) else { return };
        let (written, durable) = self.files.entry(name).or_default();
        match call.name.as_str() {
            "pwrite64" => {
                let (from, length) =
                    (usize::try_from(call.last_number).expect("an offset"), call.returned.max(0) as usize);
                written.resize(written.len().max(from + length), 0);
                written[from..from + length].copy_from_slice(&call.data[..length]);
            }
            "ftruncate" => written.resize(usize::try_from(call.last_number).expect("a length"), 0),
            "fsync" | "fdatasync" if call.returned == 0 => {
                durable.clone_from(written);
                self.known = None;
            }
            _ => {}
        }
    }

    /// Asks the journal as a loss of power would leave it now.
    fn known(&mut self) -> Rc<Known> {
        if let Some(known) = &self.known {
            return Rc::clone(known);
        }
        self.questions += 1;
        let directory = tempfile::tempdir().expect("a directory");
        for (name, (_, durable)) in &self.files {
            std::fs::write(directory.path().join(name), durable).expect("a file");
        }
        let journal = directory.path().join(FILES[0]);
        let ids = |sql: &str| -> BTreeSet<String> {
            let ids = match disks::texts(&journal, sql) {
                // Before its tables are there it knows nothing.
                Err(error) if error.to_string().contains("no such table") => BTreeSet::new(),
                ids => ids.expect("a journal"),
            };
            ids.iter().map(|id| serde_json::from_str(id).expect("a string")).collect()
        };
        let known = Rc::new(Known {
            accepted: ids("SELECT id FROM message"),
            attempted: ids("SELECT m.id FROM attempt a JOIN message m ON m.seq = a.seq"),
            finished: ids("SELECT m.id FROM outcome o JOIN message m ON m.seq = o.seq"),
        });
        self.known = Some(Rc::clone(&known));
        known
    }
}

/// One direction of a connection: what is not parsed yet, and what was durable when its first byte went.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    known: Option<Rc<Known>>,
}

/// What left the program, counted; each of it was looked at.
#[derive(Debug, Default)]
struct Proof {
    acknowledgements: usize,
    requests: usize,
    answers: usize,
    events: usize,
}

/// Goes through a trace in the order of what happened.
struct Examination {
    disk: Disk,
    broker: String,
    server: String,
    streams: BTreeMap<(String, bool), Stream>,
    /// Which message the broker delivered, by connection and packet number.
    delivered: BTreeMap<(String, u16), String>,
    proof: Proof,
}

impl Examination {
    /// `broker` and `server` are ports.
    fn new(broker: u16, server: u16) -> Self {
        let end = |port: u16| format!("->127.0.0.1:{port}]");
        Self {
            disk: Disk::default(),
            broker: end(broker),
            server: end(server),
            streams: BTreeMap::new(),
            delivered: BTreeMap::new(),
            proof: Proof::default(),
        }
    }

    fn examine(mut self, calls: &[Call]) -> (Proof, usize) {
        // What leaves counts from where the call begins; what is written, synced or read when it has ended.
        let place = |call: &Call| if leaves(call) { call.begun } else { call.ended };
        let mut calls: Vec<&Call> = calls.iter().collect();
        calls.sort_by_key(|call| place(call));
        for call in calls {
            self.disk.perform(call);
            let from_us = leaves(call);
            if (from_us || comes(call)) && call.returned > 0 {
                let length = call.returned as usize;
                if call.about.ends_with(&self.broker) {
                    self.broker_bytes(call, &call.data[..length], from_us);
                } else if call.about.ends_with(&self.server) && from_us {
                    self.server_bytes(call, &call.data[..length]);
                }
            }
        }
        (self.proof, self.disk.questions)
    }

    fn stream(&mut self, call: &Call, bytes: &[u8], from_us: bool) -> (Stream, Option<Rc<Known>>) {
        let now = from_us.then(|| self.disk.known());
        let mut stream = self.streams.remove(&(call.about.clone(), from_us)).unwrap_or_default();
        if stream.bytes.is_empty() {
            stream.known.clone_from(&now);
        }
        stream.bytes.extend_from_slice(bytes);
        (stream, now)
    }

    fn broker_bytes(&mut self, call: &Call, bytes: &[u8], from_us: bool) {
        let (mut stream, now) = self.stream(call, bytes, from_us);
        while let Some(packet) = wire::mqtt(&mut stream.bytes) {
            match (&stream.known, packet) {
                (None, Packet::Publish { topic, number: Some(number), payload })
                    if topic.starts_with("SendMessage") =>
                {
                    self.delivered.insert((call.about.clone(), number), field(&payload, "id"));
                }
                (Some(known), Packet::Acknowledgement(number)) => {
                    // Commands have a connection of their own.
                    if let Some(id) = self.delivered.get(&(call.about.clone(), number)) {
                        assert!(known.accepted.contains(id), "{id} was acknowledged before it was durable");
                        self.proof.acknowledgements += 1;
                    }
                }
                (Some(known), Packet::Publish { topic, payload, .. }) => {
                    check_publish(known, &topic, &payload, &mut self.proof)
                }
                (_, _) => {}
            }
            stream.known.clone_from(&now);
        }
        self.streams.insert((call.about.clone(), from_us), stream);
    }

    fn server_bytes(&mut self, call: &Call, bytes: &[u8]) {
        let (mut stream, now) = self.stream(call, bytes, true);
        while let Some(body) = wire::http(&mut stream.bytes) {
            if !body.is_empty() {
                let id = field(&body, "content");
                let known = stream.known.as_ref().expect("it is ours");
                assert!(known.attempted.contains(&id), "{id} was requested before its attempt was durable");
                self.proof.requests += 1;
            }
            stream.known.clone_from(&now);
        }
        self.streams.insert((call.about.clone(), true), stream);
    }
}

fn check_publish(known: &Known, topic: &str, payload: &[u8], proof: &mut Proof) {
    let rests_on = match topic {
        "SendMessageResp" => &known.finished,
        "sendbridge/event/send/queued" => &known.accepted,
        "sendbridge/event/send/sending" => &known.attempted,
        "sendbridge/event/send/sent" => &known.finished,
        _ => return,
    };
    let id = field(payload, "id");
    assert!(rests_on.contains(&id), "{id} was told on {topic} before it was durable");
    if topic == "SendMessageResp" {
        proof.answers += 1;
    } else {
        proof.events += 1;
    }
}

fn leaves(call: &Call) -> bool {
    matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
}

fn comes(call: &Call) -> bool {
    matches!(call.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg")
}

fn field(json: &[u8], name: &str) -> String {
    let value: Value = serde_json::from_slice(json).expect("JSON");
    value[name].as_str().expect("a text").to_owned()
}

const CALLS: &str = "trace=pwrite64,ftruncate,fsync,fdatasync,write,writev,sendto,sendmsg,read,readv,recvfrom,recvmsg";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace"]
async fn whatever_leaves_the_program_was_durable_before_its_first_byte() {
    if let Err(why) = is_allowed() {
        return skipped("45, 46", "the order of writes and packets", &why);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("trace").display().to_string();
    let words = ["strace", "-D", "-qq", "-f", "-yy", "-xx", "-s", "1000000", "-e", CALLS, "-o", &file];
    let launcher = Launcher { before: words.map(str::to_owned).to_vec(), ..Launcher::default() };
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let (broker_port, mut scene) =
        (broker.port(), Scene::prepare(server(ACCOUNTS), broker, launcher, |config| config).await);
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    for _ in 0..MESSAGES {
        scene.send_next().await;
        // Some at once, some alone.
        if scene.published.len().is_multiple_of(5) {
            scene.all_answered().await;
        }
    }
    judge(&scene).await;
    // Its log ends when strace has ended too, and so has the trace.
    assert!(scene.bridge.terminate().success());
    let trace = std::fs::read_to_string(&file).expect("a trace");
    let calls = trace::read(&trace);
    let (proof, questions) = Examination::new(broker_port, scene.sender.address().port()).examine(&calls);
    assert_eq!((proof.acknowledgements, proof.requests, proof.answers), (MESSAGES, MESSAGES, MESSAGES), "{proof:?}");
    assert!(proof.events >= 2 * MESSAGES, "{proof:?}");
    let looked_at = proof.acknowledgements + proof.requests + proof.answers + proof.events;
    figure("order-proof", format!("{looked_at} of {looked_at} packets after their sync, {questions} disks looked at"));
}
