//! The built binary's own commands, from outside.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Far above what anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(90);
/// What an end in order may take: far more than it does, and less than the waits of a stop that hangs somewhere.
const STOP_DEADLINE: Duration = Duration::from_secs(4);

/// A process of one test with a TMPDIR of its own, killed by its id when dropped.
struct Process {
    child: Option<Child>,
    folder: TempDir,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let child = Command::new(env!("CARGO_BIN_EXE_sendbridge"))
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        Self { child: Some(child), folder }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("running").id();
        kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("it is ours");
    }

    /// Its standard output up to the line that has `last`; the reader must be kept, or it cannot write on.
    fn read_until(&mut self, last: &str) -> (String, impl Read + use<>) {
        let child = self.child.as_mut().expect("running");
        let mut reader = BufReader::new(child.stdout.take().expect("piped"));
        let mut text = String::new();
        loop {
            let begin = text.len();
            if reader.read_line(&mut text).expect("text") == 0 {
                let mut errors = String::new();
                let _ = child.stderr.take().expect("piped").read_to_string(&mut errors);
                panic!("it ended before {last:?}: {text}\n{errors}");
            }
            if text[begin..].contains(last) {
                return (text, reader);
            }
        }
    }

    /// What it printed, once it has ended; it is killed when that takes longer than `within`.
    fn output(&mut self, within: Duration) -> Output {
        let child = self.child.take().expect("running");
        let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let (ended, end_seen) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || ended.send(child.wait_with_output()));
        match end_seen.recv_timeout(within) {
            Ok(output) => output.expect("its output"),
            Err(_) => {
                let _ = kill(id, Signal::SIGKILL);
                panic!("it did not end within {within:?}");
            }
        }
    }

    fn assert_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its end is certain, so there is nothing to do about an error.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The figures of the demo's summary by their names.
fn figures(summary: &str) -> BTreeMap<&str, f64> {
    let mut figures = BTreeMap::new();
    for line in summary.lines().filter(|line| line.starts_with("  ") && line.len() > 33) {
        let (name, rest) = line[2..].split_at(22);
        if let Some(Ok(number)) = rest.split_whitespace().next().map(str::parse) {
            figures.insert(name.trim(), number);
        }
    }
    figures
}

#[test]
fn the_demo_keeps_its_promises_and_leaves_nothing_behind() {
    let mut demo = Process::start(&["demo"]);
    let output = demo.output(DEADLINE);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", text(&output.stderr));
    assert!(shown.ends_with("\nPromises held: yes\n"), "{shown}");
    let summary = &shown[shown.find("What happened").expect("a summary")..];
    let figures = figures(summary);
    let figure = |name: &str| *figures.get(name).unwrap_or_else(|| panic!("no {name}: {summary}"));
    assert!(figure("published") >= 300.0, "{summary}");
    let answered = figure("answered sent") + figure("answered not sent") + figure("answered in doubt");
    assert_eq!(answered, figure("published"), "{summary}");
    assert_eq!((figure("lost"), figure("doubled"), figure("repeats")), (0.0, 0.0, 6.0), "{summary}");
    assert!(figure("smallest gap") >= 500.0, "{summary}");
    assert!(figure("hour of kiosk") <= 40.0, "{summary}");
    for what in ["INVALID_FIELD", "UNKNOWN_TYPE", "INVALID_JSON", "bridge: runs again"] {
        assert!(shown.contains(what), "{what}: {shown}");
    }
    demo.assert_nothing_left();
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let mut demo = Process::start(&["demo"]);
    let (_, rest) = demo.read_until(" s  answer");
    demo.signal(Signal::SIGINT);
    let reading = std::thread::spawn(move || std::io::read_to_string(rest));
    let output = demo.output(STOP_DEADLINE);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let shown = reading.join().expect("no panic").expect("text");
    assert!(shown.contains("Interrupted: nothing is judged"), "{shown}");
    demo.assert_nothing_left();
}

/// The port on which the line of the instructions with this beginning says that it listens.
fn port_after(instructions: &str, begin: &str) -> u16 {
    let at = instructions.find(begin).unwrap_or_else(|| panic!("no {begin:?}: {instructions}")) + begin.len();
    let digits: String = instructions[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}

/// Publishes a message; its answer, and what its callback became.
async fn ask(port: u16, payload: &str) -> (String, String) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("asking", "127.0.0.1", port), 10);
    let (mut answer, mut event, mut granted) = (None, None, 0);
    for topic in ["SendMessageResp", "sendbridge/event/message/sent"] {
        client.subscribe(topic, QoS::AtLeastOnce).await.expect("room");
    }
    loop {
        match events.poll().await.expect("a connection") {
            Event::Incoming(Packet::SubAck(_)) => {
                granted += 1;
                if granted == 2 {
                    client.publish("SendMessage", QoS::AtLeastOnce, false, payload.to_owned()).await.expect("room");
                }
            }
            Event::Incoming(Packet::Publish(said)) => {
                let place = if said.topic == "SendMessageResp" { &mut answer } else { &mut event };
                *place = Some(text(&said.payload));
                if let (Some(answer), Some(event)) = (&answer, &event) {
                    return (answer.clone(), event.clone());
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

#[tokio::test]
async fn the_sandbox_answers_hears_callbacks_and_ends_in_order() {
    let any = "127.0.0.1:0";
    let mut sandbox = Process::start(&["sandbox", "--mqtt", any, "--http", any, "--listen", any]);
    let (instructions, _rest) = sandbox.read_until("Ctrl-C ends it.");
    assert!(instructions.contains("mosquitto_pub -h 127.0.0.1 -p "), "{instructions}");
    assert!(instructions.contains("/sandbox/fault") && instructions.contains("[[callbacks]]"), "{instructions}");
    let port = port_after(&instructions, "a broker on 127.0.0.1:");
    let begin = instructions.find("-m '").expect("a message") + 4;
    let message = &instructions[begin..begin + instructions[begin..].find('\'').expect("its end")];
    let asked = tokio::time::timeout(DEADLINE, ask(port, message)).await;
    let (answer, event) = asked.expect("an answer and an event");
    assert!(answer.starts_with(r#"{"id":"1","msgId":""#), "{answer}");
    assert!(event.contains(r#""source":"pretend""#) && event.contains(r#""content":"hello""#), "{event}");
    sandbox.signal(Signal::SIGTERM);
    let output = sandbox.output(STOP_DEADLINE);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    sandbox.assert_nothing_left();
}

#[test]
fn an_address_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for wrong in ["--mqtt", "--http", "--listen"] {
        let mut arguments = vec!["sandbox"];
        for flag in ["--mqtt", "--http", "--listen"] {
            arguments.extend([flag, if flag == wrong { &address } else { "127.0.0.1:0" }]);
        }
        let mut sandbox = Process::start(&arguments);
        let output = sandbox.output(DEADLINE);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let expected = format!("cannot listen on {address}: ");
        assert!(errors.contains(&expected) && errors.contains(&format!("another address with {wrong}")), "{errors}");
        sandbox.assert_nothing_left();
    }
}

#[test]
fn callbacks_go_to_an_address_or_the_sandbox_does_not_start() {
    let mut sandbox = Process::start(&["sandbox", "--callback", "https://example.com/x"]);
    let output = sandbox.output(DEADLINE);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("--callback") && errors.contains("begins with http://"), "{errors}");
    sandbox.assert_nothing_left();
}

#[test]
fn the_sandbox_keeps_its_journal_where_it_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().to_str().expect("text");
    let any = "127.0.0.1:0";
    let arguments = ["sandbox", "--mqtt", any, "--http", any, "--listen", any, "--data", path];
    let mut sandbox = Process::start(&arguments);
    let (_, _rest) = sandbox.read_until("Ctrl-C ends it.");
    sandbox.signal(Signal::SIGTERM);
    assert_eq!(sandbox.output(STOP_DEADLINE).status.code(), Some(0));
    assert!(Path::new(path).join("sendbridge.db").is_file());
}
