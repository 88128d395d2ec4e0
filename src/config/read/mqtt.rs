use super::SECOND;
use crate::config::ReadFile;
use crate::config::address::{self, Url};
use crate::config::files;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{Config, Mqtt};
use std::net::SocketAddr;
use std::time::Duration;

const SCHEMES: &[&str] = &["mqtt", "mqtts", "ws", "wss"];
const BROKER_MEMORY_MOST: u64 = 1 << 40;
const URL: &str = "mqtt://127.0.0.1:1883";
/// Where quntool's own broker listens.
const QUNTOOL_PORT: u16 = 1884;

pub(super) fn read(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Mqtt {
    let mqtt = Mqtt {
        url: url(section, problems),
        client_id: client_id(section, problems),
        keep_alive: keep_alive(section, problems),
        receive_maximum: section.count("receive_maximum", 1000, 1..=65_535, problems),
        broker_backlog_alarm: section.count("broker_backlog_alarm", 50_000, 0..=1_000_000_000, problems),
        broker_clients_alarm: section.count("broker_clients_alarm", 0, 0..=1_000_000_000, problems),
        broker_memory_alarm: section.size("broker_memory_alarm", 0, 0..=BROKER_MEMORY_MOST, problems),
        username: section.text("username", problems),
        password: files::secret(section, "password", read, problems),
        ca: files::certificates(section, "ca_file", read, problems),
        client: files::client_certificate(section, read, problems),
    };
    for name in ["password", "password_file"] {
        if section.has(name) && !section.has("username") {
            section.error(name, "needs a name to go with it; set username too", problems);
        }
    }
    check_transport(section, &mqtt, problems);
    warn_of_known_client_id(section, problems);
    mqtt
}

fn url(section: &Section<'_>, problems: &mut Problems) -> String {
    let text = section.text_or("url", URL, problems);
    match address::parse(&text, SCHEMES) {
        Ok(url) => {
            if matches!(url.scheme, "mqtt" | "mqtts") && !matches!(url.path, "" | "/") {
                let message = "only ws:// and wss:// have a path; end it with the port";
                section.error("url", message, problems);
            }
        }
        Err(message) if text.contains('@') => {
            let message = format!("{message} and use username and password_file");
            section.error("url", message, problems);
        }
        Err(message) => section.error("url", format!("{text:?} is not the address of a broker: {message}"), problems),
    }
    text.trim_end_matches('/').to_owned()
}

/// Only what every broker takes; some refuse or even break on others.
fn client_id(section: &Section<'_>, problems: &mut Problems) -> String {
    let text = section.text_or("client_id", "sendbridge", problems);
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !fits || text.len() > 64 {
        let message = format!("{text:?} is not taken by every broker; use at most 64 of A-Z a-z 0-9 . _ -");
        section.error("client_id", message, problems);
    }
    text
}

fn keep_alive(section: &Section<'_>, problems: &mut Problems) -> Duration {
    // The protocol has 16 bits of seconds for it, and the client library refuses less than five.
    let range = 5 * SECOND..=65_535 * SECOND;
    let span = section.duration("keep_alive", 30 * SECOND, range, problems);
    if span.subsec_nanos() != 0 {
        section.error("keep_alive", "MQTT counts it in whole seconds; leave the fraction out", problems);
    }
    span
}

fn check_transport(section: &Section<'_>, mqtt: &Mqtt, problems: &mut Problems) {
    if problems.blames(&section.key("url")) {
        return;
    }
    let Ok(url) = address::parse(&mqtt.url, SCHEMES) else { return };
    let encrypted = matches!(url.scheme, "mqtts" | "wss");
    for name in ["ca_file", "client_cert_file", "client_key_file"] {
        if section.has(name) && !encrypted {
            let message =
                format!("has no use with {}://; write mqtts:// or wss:// in mqtt.url, or remove it", url.scheme);
            section.error(name, message, problems);
        }
    }
    let with_password = section.has("password") || section.has("password_file");
    if with_password && !encrypted && !url.is_loopback() {
        section.warn("url", "the password crosses the network in clear text; use mqtts:// or wss://", problems);
    }
}

/// A broker hands a session to whoever names it, and most do not ask which user that is. So a publisher that guesses
/// ours could throw the bridge out, and away what the broker keeps for it.
fn warn_of_known_client_id(section: &Section<'_>, problems: &mut Problems) {
    if section.has("username") && !section.has("client_id") {
        let message = "is not set, so every user of the broker knows it and can take the bridge's session over, with \
             what waits in it; set a random one, and keep it";
        section.warn("client_id", message, problems);
    }
}

/// quntool runs a broker itself, which takes `SendMessage` too: with the bridge on it, each message would go out twice.
pub(super) fn warn_of_own_broker(root: &Section<'_>, config: &Config, problems: &mut Problems) {
    let Ok(broker) = address::parse(&config.mqtt.url, SCHEMES) else { return };
    if broker.port != Some(QUNTOOL_PORT) {
        return;
    }
    let same_host =
        |url: &Url<'_>| url.host.eq_ignore_ascii_case(broker.host) || url.is_loopback() && broker.is_loopback();
    for sender in &config.senders {
        if address::parse(&sender.url, super::senders::SCHEMES).is_ok_and(|url| same_host(&url)) {
            let message = format!(
                "looks like the own broker of sender {}, which takes the same topic: every message would be sent \
                 twice; use another broker",
                sender.name
            );
            root.section("mqtt").warn("url", message, problems);
        }
    }
}

/// The built-in broker serves nobody if the bridge itself is elsewhere.
pub(super) fn warn_of_other_broker(root: &Section<'_>, config: &Config, listen: SocketAddr, problems: &mut Problems) {
    let Ok(url) = address::parse(&config.mqtt.url, SCHEMES) else { return };
    if url.port.unwrap_or(1883) != listen.port() {
        let message = format!("the built-in broker listens to {listen}, but the bridge connects here; make them agree");
        root.section("mqtt").warn("url", message, problems);
    }
    if !listen.ip().is_loopback() {
        let message = "the built-in broker asks nobody for a password; keep it on 127.0.0.1 or use Mosquitto";
        root.section("broker").warn("listen", message, problems);
    }
}
