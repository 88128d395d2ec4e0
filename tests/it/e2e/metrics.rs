//! `/metrics`, read by the real Prometheus and its tools, and the rules and the dashboard that rest on it.
//!
//! Where Prometheus is not installed the tests that need it say so and pass; `tests/run` fetches it.

use super::{Scene, server, text};
use crate::canary;
use crate::mosquitto::free_port;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A bridge that has done a little of everything: sent, rejected, repeated, and heard what the broker says.
async fn busy() -> Scene {
    let scene = Scene::start(server(&[canary::ACCOUNT]), |config| config).await;
    for id in ["m1", "m2", "m3"] {
        scene.publisher.send(text(canary::ACCOUNT, id, "content")).await;
        assert!(scene.publisher.answer_to(id).await["msgId"].is_string());
    }
    scene.publisher.send(text(canary::ACCOUNT, "m1", "content")).await;
    scene.publisher.send(text(canary::ACCOUNT, "m2", "another content")).await;
    scene.publisher.send(r#"{"no":"message"}"#).await;
    let heard =
        |health: &Value| health["received"] == 6 && health["answersOpen"] == 0 && health["broker"]["dropped"].is_u64();
    scene.publisher.ask_until("health", serde_json::json!({}), heard).await;
    scene
}

/// The metrics once they show all of that.
async fn settled(scene: &Scene, accept: &str) -> (String, String) {
    showing(scene, accept, "sendbridge_answers_acknowledged_total 6").await
}

/// The metrics once this line is in them: what is asked for within a second shows what was seen last.
pub(super) async fn showing(scene: &Scene, accept: &str, wanted: &str) -> (String, String) {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let looking = async {
        loop {
            looks.tick().await;
            let (status, head, body) = scene.bridge.get_as("/metrics", accept).await;
            assert_eq!(status, 200);
            if body.lines().any(|line| line == wanted) {
                return (head, body);
            }
        }
    };
    tokio::time::timeout(crate::bridge::DEADLINE, looking).await.expect("the metrics in time")
}

/// The samples of a text by name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value")).map(|(name, value)| (name, number(value))).collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_what_happened_and_nothing_that_is_private() {
    let scene = busy().await;
    let (head, body) = settled(&scene, "*/*").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let seen = samples(&body);
    let value = |name: &str| *seen.get(name).unwrap_or_else(|| panic!("{name} is not in\n{body}"));
    assert_eq!(value("sendbridge_messages_received_total"), 6.0);
    assert_eq!(value("sendbridge_messages_accepted_total"), 3.0);
    assert_eq!(value("sendbridge_messages_duplicate_total"), 1.0);
    assert_eq!(value("sendbridge_messages_rejected_total"), 2.0);
    assert_eq!(value(r#"sendbridge_messages_finished_total{state="sent"}"#), 3.0);
    assert_eq!(value(r#"sendbridge_messages_finished_total{state="unresolved"}"#), 0.0);
    assert_eq!(value(r#"sendbridge_rejections_total{code="ID_CONFLICT"}"#), 1.0);
    assert_eq!(value(r#"sendbridge_attempts_total{result="confirmed",reason=""}"#), 3.0);
    assert_eq!(value(r#"sendbridge_messages{state="queued"}"#), 0.0);
    assert_eq!(value(r#"sendbridge_corp_hour_used{corp="corp"}"#), 3.0);
    assert_eq!(value(r#"sendbridge_corp_hour_limit{corp="corp"}"#), 50_000.0);
    assert_eq!(value(r#"sendbridge_sender_up{sender="main"}"#), 1.0);
    assert_eq!(value(r#"sendbridge_broker_link_up{link="outgoing"}"#), 1.0);
    assert_eq!(value("sendbridge_balanced"), 1.0);
    assert_eq!(value("sendbridge_answers_open"), 0.0);
    assert_eq!(value("sendbridge_intake_to_answer_seconds_count"), 3.0);
    assert_eq!(value("sendbridge_sender_request_seconds_count"), 3.0);
    assert!(value("sendbridge_journal_commit_seconds_count") >= 3.0);
    assert!(value("sendbridge_journal_commit_seconds_sum") > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("sendbridge_journal_bytes") > 0.0 && value("sendbridge_journal_free_bytes") > 0.0);
    assert!(value("sendbridge_snapshot_age_seconds") < 60.0);
    let version = format!(r#"sendbridge_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&version), 1.0);
    let (head, open) = settled(&scene, OPEN_METRICS).await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(open.ends_with("# EOF\n"));
    assert_eq!(samples(&open).len(), seen.len());
    for text in [body, open] {
        assert!(!text.contains("canary"), "{text}");
    }
}

/// The reply to `health` holds what only the process can measure too.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_report_tells_how_long_things_take() {
    let scene = busy().await;
    let health = scene.health().await;
    for (kind, least) in [("intakeToAnswer", 3), ("sender", 3), ("commit", 3)] {
        let seen = &health["latency"][kind];
        assert!(seen["count"].as_u64() >= Some(least), "{kind}: {health}");
        let (p50, max) = (seen["p50Ms"].as_f64().expect("p50"), seen["maxMs"].as_f64().expect("max"));
        assert!(p50 > 0.0 && p50 <= max && max < 60_000.0, "{kind}: {health}");
    }
    assert!(health["residentBytes"].as_u64() > Some(1_000_000), "{health}");
    assert!(health["journalBytes"].as_u64() > Some(0) && health["journalFreeBytes"].as_u64() > Some(0), "{health}");
    assert_eq!(health["noticesDropped"], 0);
    assert_eq!(health["mode"], "running");
    assert_eq!(health["states"]["sent"], 3);
    assert_eq!(health["unbalancedCorps"], serde_json::json!([]));
    assert!(health["rates"]["received"].as_f64() > Some(0.0), "{health}");
    assert!(health["broker"]["version"].as_str().is_some_and(|said| said.starts_with("mosquitto version")), "{health}");
    assert!(health["broker"]["stored"].is_u64(), "{health}");
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Whether a program of Prometheus is there; without it these tests are about nothing.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed; tests/run fetches it");
    }
    found
}

fn promtool(arguments: &[&str], input: Option<&str>) {
    let mut command = Command::new("promtool");
    let mut process = command
        .args(arguments)
        .current_dir(deploy("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = process.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, input.unwrap_or_default().as_bytes()).expect("it reads");
    drop(stdin);
    let output = process.wait_with_output().expect("its end");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    assert!(input.is_none() || said.is_empty(), "promtool {arguments:?}: {said}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_files() {
    if !is_there("promtool") {
        return;
    }
    promtool(&["check", "rules", "rules.yml"], None);
    promtool(&["check", "config", "prometheus.yml"], None);
    promtool(&["test", "rules", "rules_test.yml"], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !is_there("promtool") {
        return;
    }
    let scene = busy().await;
    let (_, body) = settled(&scene, "*/*").await;
    tokio::task::block_in_place(|| promtool(&["check", "metrics"], Some(&body)));
}

/// Every name in a text that looks like a metric of ours.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let ours = words.filter(|word| word.starts_with("sendbridge_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// The queries of a dashboard, wherever they stand in it.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) if matches!(key.as_str(), "expr" | "query" | "definition") => {
                        found.push(text.clone());
                    }
                    Value::String(_)
                    | Value::Object(_)
                    | Value::Array(_)
                    | Value::Null
                    | Value::Bool(_)
                    | Value::Number(_) => {
                        queries(value, found);
                    }
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn dashboard_queries() -> Vec<String> {
    let text = fs::read_to_string(deploy("grafana/sendbridge.json")).expect("the dashboard");
    let mut found = Vec::new();
    queries(&serde_json::from_str(&text).expect("JSON"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_use_only_metrics_that_there_are() {
    let scene = busy().await;
    let (_, body) = settled(&scene, "*/*").await;
    let mut known: BTreeSet<&str> =
        body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    known.extend(samples(&body).keys().map(|name| name.split('{').next().unwrap_or_default()));
    let rules = fs::read_to_string(deploy("prometheus/rules.yml")).expect("the rules");
    // Descriptions name metrics too, and commands, which no metric is called like.
    let dashboard = dashboard_queries().join("\n");
    let named = names_in(&rules).into_iter().chain(names_in(&dashboard));
    let unknown: BTreeSet<String> = named.filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let rules: String = rules.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let alerts = rules.matches("- alert:").count();
    for word in ["summary:", "description:", "severity:"] {
        assert_eq!(rules.matches(word).count(), alerts, "each alert has one {word}");
    }
}

/// A Prometheus of one test, killed by its process id when dropped.
struct Prometheus {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its end is certain, so there is nothing to do about an error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Reads the files of `deploy/`, with the bridge's port and a shorter interval.
    fn start(target: std::net::SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = fs::read_to_string(deploy("prometheus/prometheus.yml")).expect("the configuration");
        let config = config.replace("127.0.0.1:8790\"]", &format!("{target}\"]")).replace("15s", "1s");
        fs::write(folder.path().join("prometheus.yml"), config).expect("write");
        fs::copy(deploy("prometheus/rules.yml"), folder.path().join("rules.yml")).expect("the rules");
        let port = free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--log.level=error", "--storage.tsdb.retention.time=1h"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus");
        Self { process, port, _folder: folder }
    }

    /// The data of a path of its API; nothing as long as it does not answer.
    async fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nhost: prometheus\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(body)
    }

    async fn ask_until(&self, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let asking = async {
            loop {
                looks.tick().await;
                if let Some(answer) = self.ask(path).await.filter(&is_there) {
                    return answer;
                }
            }
        };
        tokio::time::timeout(crate::bridge::DEADLINE, asking).await.unwrap_or_else(|_| panic!("{path}: not in time"))
    }
}

fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_prometheus_reads_them_and_understands_every_query() {
    if !is_there("prometheus") {
        return;
    }
    let scene = busy().await;
    let prometheus = Prometheus::start(scene.bridge.http());
    let has_value = |answer: &Value| answer["data"]["result"][0]["value"][1] == "6";
    prometheus.ask_until("query?query=sendbridge_messages_received_total", has_value).await;
    let targets = prometheus.ask_until("targets", |answer| answer["status"] == "success").await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    for query in dashboard_queries().iter().filter(|query| query.contains("sendbridge_") && !query.contains("label_")) {
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        let answer = prometheus.ask(&format!("query?query={}", encoded(&query))).await.expect("an answer");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    let evaluated = |answer: &Value| {
        let rules = answer["data"]["groups"][0]["rules"].as_array();
        rules.is_some_and(|rules| !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok"))
    };
    let rules = prometheus.ask_until("rules", evaluated).await;
    let unbalanced = rules["data"]["groups"][0]["rules"].as_array().into_iter().flatten();
    for rule in unbalanced.filter(|rule| rule["name"] == "SendbridgeUnbalanced" || rule["name"] == "SendbridgeDown") {
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
}
