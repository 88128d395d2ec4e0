use super::publish::{Publish, to_will};
use super::{Scheme, Session, Settings, TlsError};
use rumqttc::v5::MqttOptions;
use rumqttc::{TlsConfiguration, Transport};
use secrecy::ExposeSecret;
use std::time::Duration;

/// A shorter keep-alive makes rumqttc panic.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// The field on the wire has 16 bits.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);
/// Bounds name lookup, TCP, TLS, WebSocket and CONNACK together.
const CONNECT_TIMEOUT_S: u64 = 10;

/// Only the SUBSCRIBE packets draw on it: this connection publishes nothing.
pub(super) const IN_FLIGHT_MAX_INCOMING: u16 = 100;
/// Bounds rumqttc's table of unacknowledged publishes, which it allocates whole.
pub(super) const IN_FLIGHT_MAX_OUTGOING: u16 = 1000;

/// A connection that subscribes: durable, acknowledged by hand.
pub(super) fn incoming(settings: &Settings, session: &Session) -> Result<MqttOptions, TlsError> {
    let mut options = common(settings, session.suffix)?;
    options.set_clean_start(false);
    // Without it the broker forgets the session with the connection, whatever clean start says.
    options.set_session_expiry_interval(Some(whole_seconds(settings.session_expiry)));
    options.set_receive_maximum(Some(session.receive_maximum.max(1)));
    options.set_manual_acks(true);
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX_INCOMING);
    Ok(options)
}

/// The connection that publishes: its session is clean, because the journal is its memory.
pub(super) fn outgoing(settings: &Settings, will: Option<&Publish>) -> Result<MqttOptions, TlsError> {
    let mut options = common(settings, "out")?;
    options.set_clean_start(true);
    if let Some(will) = will {
        options.set_last_will(to_will(will));
    }
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX_OUTGOING);
    Ok(options)
}

/// The connection that only looks: a session that ends with it, acknowledged by rumqttc as it reads.
pub(super) fn viewer(settings: &Settings) -> Result<MqttOptions, TlsError> {
    let mut options = common(settings, "watch")?;
    options.set_clean_start(true);
    options.set_receive_maximum(Some(settings.receive_maximum.max(1)));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX_INCOMING);
    Ok(options)
}

fn common(settings: &Settings, suffix: &str) -> Result<MqttOptions, TlsError> {
    let url = &settings.url;
    let client_id = format!("{}-{suffix}", settings.client_id);
    let mut options = match url.scheme() {
        Scheme::Mqtt | Scheme::Mqtts => MqttOptions::new(client_id, url.host(), url.port()),
        // rumqttc takes the whole URL for the host then, and the port from it.
        Scheme::Ws | Scheme::Wss => MqttOptions::new(client_id, url.to_string(), url.port()),
    };
    options.set_transport(match url.scheme() {
        Scheme::Mqtt => Transport::Tcp,
        Scheme::Ws => Transport::Ws,
        Scheme::Mqtts => Transport::Tls(TlsConfiguration::Rustls(settings.tls.client_config()?)),
        Scheme::Wss => Transport::Wss(TlsConfiguration::Rustls(settings.tls.client_config()?)),
    });
    options.set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_keep_alive(settings.keep_alive.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX));
    // Its default of 10 KiB makes one larger message end every connection. Topic aliases stay off: with them the
    // event has an empty topic.
    options.set_max_packet_size(Some(settings.max_packet_bytes));
    if let Some(username) = &settings.username {
        let password = settings.password.as_ref().map_or("", |password| password.expose_secret());
        options.set_credentials(username, password);
    }
    Ok(options)
}

fn whole_seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
