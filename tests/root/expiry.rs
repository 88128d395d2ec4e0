//! A broker's certificate that is over: at a start, and while the bridge is connected.

use crate::judge::judge;
use crate::mosquitto::{Mosquitto, free_port};
use crate::report::skipped;
use crate::scene::{Scene, server};
use crate::times::FakeTime;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority that writes certificates for 127.0.0.1.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Writes its own certificate as `ca.pem`.
    fn found(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.join("ca.pem"), own.pem()).expect("a file");
        Self { issuer: Issuer::new(params, key) }
    }

    /// Writes `broker.pem`, which is good until so long from now, and `broker.key`.
    fn certify(&self, directory: &Path, lifetime: Duration) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let now = Duration::from_millis(sendbridge::clock::wall().as_millis());
        params.not_after = date_time_ymd(1970, 1, 1) + now + lifetime;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(directory.join("broker.pem"), certificate.pem()).expect("a file");
        std::fs::write(directory.join("broker.key"), key.serialize_pem()).expect("a file");
    }
}

fn says_expired(line: &str) -> Option<()> {
    let line = line.to_ascii_lowercase();
    (line.contains("no connection to the broker") && line.contains("expired")).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn a_certificate_that_is_over_is_refused_with_the_reason_and_a_new_one_taken() {
    let time = match FakeTime::new() {
        Ok(time) => time,
        Err(why) => return skipped("17", "a certificate that expires", &why),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::found(directory.path());
    authority.certify(directory.path(), 2 * DAY);
    let port = free_port();
    let file = |option: &str, name: &str| format!("{option} {}", directory.path().join(name).display());
    let lines = [
        "max_inflight_messages 1000".to_owned(),
        format!("listener {port} 127.0.0.1"),
        file("cafile", "ca.pem"),
        file("certfile", "broker.pem"),
        file("keyfile", "broker.key"),
    ];
    let broker = Mosquitto::start(&lines.each_ref().map(String::as_str));
    let authorities = format!("{:?}", directory.path().join("ca.pem").display().to_string());
    let configure = |config: crate::bridge::Config| {
        config.with("mqtt.url", &format!("\"mqtts://127.0.0.1:{port}\"")).with("mqtt.ca_file", &authorities)
    };
    let mut scene = Scene::prepare(server(3), broker, time.launcher(), configure).await;

    time.set("+3d");
    scene.bridge.start_again().await;
    scene.bridge.logged(0, says_expired).await;
    assert_eq!(scene.bridge.get("/readyz").await.0, 503);
    time.set("+0");
    scene.bridge.ready().await;
    scene.send_next().await;
    scene.all_answered().await;

    // Over while connected: what stands goes on, and the next connection is refused.
    time.set("+3d");
    scene.send_next().await;
    scene.all_answered().await;
    let before = scene.bridge.log().len();
    tokio::task::block_in_place(|| scene.broker.restart());
    scene.bridge.logged(before, says_expired).await;
    let acknowledged = scene.publisher.seen().acknowledged;
    scene.send_next().await;
    // Until then it is the publisher's, who would lose it with the broker.
    scene.publisher.wait("it is with the broker", |seen| seen.acknowledged > acknowledged).await;
    authority.certify(directory.path(), 30 * DAY);
    tokio::task::block_in_place(|| scene.broker.restart());
    scene.bridge.ready().await;
    let verdict = judge(&scene).await;
    assert_eq!(verdict.sent, 3, "{verdict:?}");
}
