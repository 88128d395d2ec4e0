//! The ways to a broker: certificates, passwords, WebSockets.

use super::{Scene, server, start_server};
use crate::bridge::{Bridge, Config};
use crate::canary;
use crate::mosquitto::{Mosquitto, free_port};
use crate::publisher::{Publisher, TOPICS};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Writes `ca.pem`, and for each name `<name>.pem` and `<name>.key`, certified by it.
fn write_certificates(directory: &Path, names: &[&str]) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate");
    std::fs::write(directory.join("ca.pem"), authority.pem()).expect("a file");
    let issuer = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, *name);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate").pem();
        std::fs::write(directory.join(format!("{name}.pem")), certificate).expect("a file");
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }
}

/// A broker with a plain listener for publishers and another one, which `lines` describe, for the bridge.
fn broker_with(directory: TempDir, port: u16, lines: &[String]) -> Mosquitto {
    let mut all = vec!["per_listener_settings false".to_owned(), format!("listener {port} 127.0.0.1")];
    all.extend_from_slice(lines);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Mosquitto::start_in(directory, &all)
}

fn file_line(option: &str, directory: &Path, name: &str) -> String {
    format!("{option} {}", directory.join(name).display())
}

/// Everything, with the bridge at `url`; a message goes through.
async fn sends_through(broker: Mosquitto, url: &str, configure: impl FnOnce(Config) -> Config) {
    let sender = start_server(server(&["1"])).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let config = configure(Config::new(&broker, &sender).with("mqtt.url", &format!("{url:?}")));
    let bridge = Bridge::start_ready(&config).await;
    let scene = Scene { bridge, publisher, _observer: None, sender, broker };
    scene.still_sends("1", "first").await;
    assert_eq!(scene.health().await["broker"]["outgoing"], "up");
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_certificate_gets_one_over_tls_and_wss() {
    for (scheme, protocol) in [("mqtts", "mqtt"), ("wss", "websockets")] {
        let directory = tempfile::tempdir().expect("a directory");
        let own = tempfile::tempdir().expect("a directory");
        write_certificates(directory.path(), &["broker", "bridge"]);
        for name in ["ca.pem", "bridge.pem", "bridge.key"] {
            std::fs::copy(directory.path().join(name), own.path().join(name)).expect("a copy");
        }
        let port = free_port();
        let lines = [
            format!("protocol {protocol}"),
            file_line("cafile", directory.path(), "ca.pem"),
            file_line("certfile", directory.path(), "broker.pem"),
            file_line("keyfile", directory.path(), "broker.key"),
            "require_certificate true".to_owned(),
        ];
        let broker = broker_with(directory, port, &lines);
        sends_through(broker, &format!("{scheme}://127.0.0.1:{port}"), |config| {
            config
                .with("mqtt.ca_file", &quoted(&own.path().join("ca.pem")))
                .with("mqtt.client_cert_file", &quoted(&own.path().join("bridge.pem")))
                .with("mqtt.client_key_file", &quoted(&own.path().join("bridge.key")))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_reached_over_a_web_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let broker = broker_with(directory, port, &["protocol websockets".to_owned()]);
    sends_through(broker, &format!("ws://127.0.0.1:{port}/mqtt"), |config| config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_its_file_and_is_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let passwords = directory.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["bridge", canary::PASSWORD])
        .status()
        .expect("mosquitto_passwd runs");
    assert!(made.success());
    let own = tempfile::tempdir().expect("a directory");
    let password_file = own.path().join("password");
    canary::feed(canary::PASSWORD.as_bytes());
    std::fs::write(&password_file, format!("{}\n", canary::PASSWORD)).expect("a file");
    let port = free_port();
    let all = [
        "per_listener_settings true".to_owned(),
        format!("listener {port} 127.0.0.1"),
        "allow_anonymous false".to_owned(),
        format!("password_file {}", passwords.display()),
    ];
    let sender = start_server(server(&["1"])).await;
    let broker = Mosquitto::start_in(directory, &all.each_ref().map(String::as_str));
    let config = Config::new(&broker, &sender)
        .with("mqtt.url", &format!("\"mqtt://127.0.0.1:{port}\""))
        .with("mqtt.username", r#""bridge""#)
        .with("mqtt.password_file", &quoted(&password_file))
        .with("log.level", r#""trace""#);
    let bridge = Bridge::start_ready(&config).await;
    let log = bridge.log();
    assert!(log.len() > 3 && !log.iter().any(|line| line.contains(canary::PASSWORD)), "the password is in the log");
}

/// What everybody on the machine can see of the process, and what a crash would leave behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_shows_no_secret_and_leaves_no_core() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    scene.still_sends("1", "first").await;
    let look = |name: &str| std::fs::read(format!("/proc/{}/{name}", scene.bridge.id()));
    let arguments = String::from_utf8_lossy(&look("cmdline").expect("everybody may")).into_owned();
    assert!(arguments.contains("--config") && !arguments.contains(canary::API_KEY), "{arguments}");
    let limits = String::from_utf8_lossy(&look("limits").expect("everybody may")).into_owned();
    let core: Vec<&str> = limits.lines().filter(|line| line.starts_with("Max core file size")).collect();
    assert_eq!(core.len(), 1, "{limits}");
    assert_eq!(core[0].split_whitespace().filter(|word| *word == "0").count(), 2, "{core:?}");
    match look("environ") {
        // Root may.
        Ok(environment) => assert!(!String::from_utf8_lossy(&environment).contains(canary::API_KEY)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}
