use std::time::Duration;

/// How long to wait before the next attempt: doubles from the minimum to the maximum.
///
/// Only a connection that lasted longer than the maximum starts it over. Being accepted does not: a broker may accept
/// and close at once, and of two processes with one client id each ends the other's connection by making its own.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    last: Duration,
}

impl Backoff {
    /// `min` is at least a millisecond, and `max` at least `min`; what is less is raised.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), last: Duration::ZERO }
    }

    /// The longest wait due now, when the last connection lasted that long; `None` when there was none.
    pub(super) fn next(&mut self, lasted: Option<Duration>) -> Duration {
        let proven = lasted.is_some_and(|lasted| lasted > self.max);
        self.last = if proven { self.min } else { (self.last * 2).clamp(self.min, self.max) };
        self.last
    }

    /// The maximum, when the other side must be left alone.
    pub(super) fn longest(&mut self) -> Duration {
        self.last = self.max;
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(None)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
    }

    #[test]
    fn starts_over_after_a_connection_that_outlasted_the_maximum() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        assert_eq!(backoff.next(None), ms(100));
        assert_eq!(backoff.next(Some(ms(50))), ms(200), "closed at once");
        assert_eq!(backoff.next(Some(ms(1001))), ms(100));
        assert_eq!(backoff.longest(), ms(1000));
        assert_eq!(backoff.next(Some(ms(900))), ms(1000), "taken over again");
    }

    #[test]
    fn two_processes_with_one_client_id_do_not_fight_fast() {
        let mut backoffs = [Backoff::new(ms(100), ms(30_000)), Backoff::new(ms(100), ms(30_000))];
        let mut connections = 0;
        let mut now = Duration::ZERO;
        let mut connected_at = Duration::ZERO;
        // Each connection ends the other's, which comes back after the shortest wait that jitter makes of its turn.
        while now < Duration::from_secs(3600) {
            let wait = backoffs[connections % 2].next(Some(now - connected_at)) / 2;
            connected_at = now;
            now += wait;
            connections += 1;
        }
        assert!(connections < 300, "{connections} connections in an hour");
    }

    #[test]
    fn senseless_bounds_are_raised() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next(None), ms(1));
        assert_eq!(backoff.next(None), ms(1));
    }
}
