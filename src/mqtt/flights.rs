use std::collections::{BTreeMap, VecDeque};

/// Which token each unacknowledged publish of one connection carries.
///
/// rumqttc tells the packet id of a publish only when it takes it from its queue, in the order of the queue:
///
/// ```text
///  hand_over(token) -> [handed] -- taken(packet id) --> [flying] -- landed(packet id) --> token
/// ```
#[derive(Debug, Default)]
pub(super) struct Flights {
    handed: VecDeque<u64>,
    flying: BTreeMap<u16, u64>,
}

impl Flights {
    /// A publish was put into rumqttc's queue.
    pub(super) fn hand_over(&mut self, token: u64) {
        self.handed.push_back(token);
    }

    /// rumqttc gave the next one of the queue a packet id. False when there is none, or the id is in use: then the
    /// two accounts differ, and neither may be trusted.
    #[must_use]
    pub(super) fn take(&mut self, packet: u16) -> bool {
        let Some(token) = self.handed.pop_front() else { return false };
        self.flying.insert(packet, token).is_none()
    }

    /// The broker acknowledged a packet. `None` when it is not ours.
    pub(super) fn land(&mut self, packet: u16) -> Option<u64> {
        self.flying.remove(&packet)
    }

    /// How many are not acknowledged, wherever they are.
    pub(super) fn len(&self) -> usize {
        self.handed.len() + self.flying.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_tokens_in_the_order_of_the_queue() {
        let mut flights = Flights::default();
        for token in [10, 11, 12] {
            flights.hand_over(token);
        }
        assert!(flights.take(1));
        assert!(flights.take(2));
        assert_eq!(flights.land(2), Some(11));
        assert_eq!(flights.land(2), None, "at most once");
        assert_eq!(flights.land(3), None, "not on its way yet");
        assert!(flights.take(3));
        assert_eq!((flights.land(3), flights.land(1)), (Some(12), Some(10)));
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn notices_that_the_accounts_differ() {
        let mut flights = Flights::default();
        assert!(!flights.take(1), "nothing was handed over");
        flights.hand_over(1);
        flights.hand_over(2);
        assert!(flights.take(7));
        assert!(!flights.take(7), "in use");
    }
}
