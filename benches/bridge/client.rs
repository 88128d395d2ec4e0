//! The MQTT client of everything here that speaks to the broker, so that all of it does so under the same terms.

use rumqttc::{AsyncClient, EventLoop, MqttOptions, NetworkOptions};
use std::time::Duration;

/// Longer than any pause in a measurement.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// With so many messages unacknowledged at once.
pub fn options(id: &str, broker_port: u16, in_flight_max: u16) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", broker_port);
    options.set_inflight(in_flight_max);
    options.set_keep_alive(KEEP_ALIVE);
    options
}

/// Connects with the first poll of the loop. As many requests wait for it as may be on their way, and as many more.
pub fn connect(options: MqttOptions) -> (AsyncClient, EventLoop) {
    let requests_max = 2 * usize::from(options.inflight());
    let (client, mut event_loop) = AsyncClient::new(options, requests_max);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    event_loop.set_network_options(network);
    (client, event_loop)
}
