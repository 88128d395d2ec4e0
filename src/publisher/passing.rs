//! What the connection tells the publisher.

use crate::model::BrokerFact;
use crate::mqtt::OutgoingEvent;
use crate::telemetry;
use tokio::sync::mpsc;

/// Hands over what happens on the connection. The broker's figures come again and again, and go only where they take no
/// room from the rest: the publisher may wait for the bridge, and that for a disk, for days.
pub(super) fn passed_on(events: mpsc::Sender<OutgoingEvent>) -> impl FnMut(OutgoingEvent) {
    move |event| {
        if is_figure(&event) && events.capacity() <= events.max_capacity() / 2 {
            return;
        }
        if events.try_send(event).is_err() {
            // Only possible once the publisher is gone: the channel has room for every open publish.
            telemetry::publisher_gone();
        }
    }
}

fn is_figure(event: &OutgoingEvent) -> bool {
    match event {
        OutgoingEvent::Broker(
            BrokerFact::Dropped(_)
            | BrokerFact::Stored(_)
            | BrokerFact::Retained(_)
            | BrokerFact::Clients(_)
            | BrokerFact::HeapBytes(_),
        ) => true,
        OutgoingEvent::Broker(BrokerFact::Version(_) | BrokerFact::NewSession | BrokerFact::Shortcomings(_))
        | OutgoingEvent::Connected { .. }
        | OutgoingEvent::Disconnected { .. }
        | OutgoingEvent::Acknowledged { .. }
        | OutgoingEvent::Room => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_figures_take_no_room_from_its_connection() {
        let (events, mut seen) = mpsc::channel(4);
        let mut pass_on = passed_on(events);
        for clients in 0..10 {
            pass_on(OutgoingEvent::Broker(BrokerFact::Clients(clients)));
        }
        let version = OutgoingEvent::Broker(BrokerFact::Version(Box::from("mosquitto version 2.0.11")));
        pass_on(version);
        pass_on(OutgoingEvent::Connected { connection: 7, window: 1, packet_bytes_max: None });
        let seen: Vec<OutgoingEvent> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
        assert!(matches!(seen.as_slice(), [.., OutgoingEvent::Connected { connection: 7, .. }]) && seen.len() == 4);
    }
}
