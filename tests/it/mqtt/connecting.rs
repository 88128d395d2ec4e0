use super::{Inbox, Outbox, number, settings};
use crate::gateway::Gateway;
use crate::mosquitto::Mosquitto;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sendbridge::clock::Clock;
use sendbridge::mqtt::{ClientIdentity, Lost, Publish, Settings, TlsSettings};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn waits_for_a_broker_that_is_down_at_start() {
    let mut broker = Mosquitto::start(&[]);
    broker.stop();
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage");
    let mut outbox = Outbox::open(&settings);
    for _ in 0..3 {
        assert!(matches!(inbox.disconnected().await, Lost::Broken { .. }));
        assert!(matches!(outbox.disconnected().await, Lost::Broken { .. }));
    }
    broker.start_again();
    inbox.subscribed().await;
    outbox.connected().await;
    outbox.send_numbers("SendMessage", 5..6).await;
    assert_eq!(number(&inbox.packet().await), 5);
}

#[tokio::test]
async fn stops_at_once_while_there_is_no_connection() {
    let mut broker = Mosquitto::start(&[]);
    broker.stop();
    let mut settings = settings(&broker.url(), "bridge");
    settings.retry_delay_min = Duration::from_secs(3600);
    settings.retry_delay_max = Duration::from_secs(3600);
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.disconnected().await;
    inbox.close().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_tried_in_a_loop() {
    let directory = tempfile::tempdir().expect("a directory");
    let passwords = directory.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["bridge", "right"])
        .status()
        .expect("mosquitto_passwd runs");
    assert!(made.success());
    let broker =
        Mosquitto::start_in(directory, &["allow_anonymous false", &format!("password_file {}", passwords.display())]);
    let mut settings = settings(&broker.url(), "bridge");
    settings.username = Some("bridge".into());
    settings.password = Some("wrong".into());
    settings.retry_delay_min = Duration::from_millis(100);
    settings.retry_delay_max = Duration::from_secs(30);
    let clock = Clock::start();
    let begun = clock.now();
    let mut outbox = Outbox::open(&settings);
    for _ in 0..4 {
        assert_eq!(outbox.disconnected().await, Lost::Refused { reason: "NotAuthorized".into() });
    }
    // Waits of 100, 200 and 400 ms lie between them, each halved at most.
    assert!(clock.now().since(begun) >= Duration::from_millis(350));

    settings.password = Some("right".into());
    Outbox::open_connected(&settings).await;
}

/// An authority, and a certificate made by it, in the files `ca.pem`, `<name>.pem` and `<name>.key`.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// The PEM of a certificate for `name`, at this machine's addresses, and of its key.
    fn certify(&self, name: &str) -> (String, String) {
        self.certify_at(name, &["localhost", "127.0.0.1"])
    }

    fn certify_at(&self, name: &str, hosts: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    fn write_broker_files(&self, directory: &Path) {
        self.write_files_of(self.certify("broker"), directory);
    }

    fn write_files_of(&self, (certificate, key): (String, String), directory: &Path) {
        std::fs::write(directory.join("ca.pem"), self.certificate.pem()).expect("a file");
        std::fs::write(directory.join("broker.pem"), certificate).expect("a file");
        std::fs::write(directory.join("broker.key"), key).expect("a file");
    }
}

#[tokio::test]
async fn knows_the_broker_and_is_known_by_certificate() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    authority.write_broker_files(directory.path());
    let file = |option: &str, name: &str| format!("{option} {}", directory.path().join(name).display());
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "user bridge\ntopic readwrite #\n").expect("the ACL");
    let lines = [
        file("cafile", "ca.pem"),
        file("certfile", "broker.pem"),
        file("keyfile", "broker.key"),
        file("acl_file", "acl"),
        "require_certificate true".to_owned(),
        "use_identity_as_username true".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let broker = Mosquitto::start_in(directory, &lines);

    let (certificate, key) = authority.certify("bridge");
    let mut settings = settings(&format!("mqtts://127.0.0.1:{}", broker.port()), "bridge");
    settings.tls = TlsSettings {
        ca_pem: Some(authority.certificate.pem().into_bytes()),
        client: Some(ClientIdentity { cert_pem: certificate.into_bytes(), key_pem: key.into() }),
    };
    let mut outbox = Outbox::open_connected(&settings).await;
    assert_eq!(outbox.send(Publish::new("a", "1")).await, None, "the ACL knows the name in the certificate");
    // By name, too.
    let mut by_name = settings.clone();
    by_name.url = format!("mqtts://localhost:{}", broker.port()).parse().expect("a URL");
    let mut inbox = Inbox::open(&by_name, "a");
    inbox.subscribed().await;

    let mut anonymous = settings.clone();
    anonymous.tls.client = None;
    assert!(matches!(Outbox::open(&anonymous).disconnected().await, Lost::Broken { .. }));
    let mut distrustful = settings.clone();
    distrustful.tls.ca_pem = Some(Authority::new().certificate.pem().into_bytes());
    let Lost::Broken { error } = Outbox::open(&distrustful).disconnected().await else { panic!("connected") };
    assert!(error.contains("invalid peer certificate"), "{error}");
}

/// By an authority that is trusted, for somebody else.
#[tokio::test]
async fn a_broker_with_the_certificate_of_another_host_is_refused_with_the_reason() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    authority.write_files_of(authority.certify_at("broker", &["elsewhere.example", "192.0.2.1"]), directory.path());
    let file = |option: &str, name: &str| format!("{option} {}", directory.path().join(name).display());
    let lines = [file("certfile", "broker.pem"), file("keyfile", "broker.key")];
    let broker = Mosquitto::start_in(directory, &lines.each_ref().map(String::as_str));
    for host in ["127.0.0.1", "localhost"] {
        let mut settings = settings(&format!("mqtts://{host}:{}", broker.port()), "bridge");
        settings.tls.ca_pem = Some(authority.certificate.pem().into_bytes());
        let Lost::Broken { error } = Outbox::open(&settings).disconnected().await else { panic!("connected") };
        assert!(error.contains("not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn speaks_through_websockets() {
    let broker = Mosquitto::start(&[]);
    let gateway = Gateway::start(broker.port(), None).await;
    let settings = settings(&format!("ws://127.0.0.1:{}/mqtt", gateway.port()), "bridge");
    speak(&settings).await;
}

#[tokio::test]
async fn speaks_through_encrypted_websockets() {
    let authority = Authority::new();
    let broker = Mosquitto::start(&[]);
    let gateway = Gateway::start(broker.port(), Some(authority.certify("gateway"))).await;
    let mut settings = settings(&format!("wss://localhost:{}/mqtt", gateway.port()), "bridge");
    settings.tls.ca_pem = Some(authority.certificate.pem().into_bytes());
    speak(&settings).await;
}

async fn speak(settings: &Settings) {
    let mut inbox = Inbox::open(settings, "a");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(settings).await;
    assert_eq!(outbox.send(Publish::new("a", vec![b'x'; 200_000])).await, None);
    assert_eq!(inbox.packet().await.payload.len(), 200_000);
    inbox.close().await;
}
