//! What becomes of the bridge's clock while it is away.

use super::kinds::Kind;
use super::world::World;
use std::time::Duration;

impl World {
    /// What may happen to clocks between two lives; returns how much time the bridge believes to have passed.
    pub(super) fn turn_the_wall_clock(&mut self) -> Duration {
        let Some((shown, at)) = self.disk.anchor else { return Duration::ZERO };
        let since = self.now.since(at);
        if !self.clocks {
            return since;
        }
        match self.random.below(10) {
            // Another boot: only the wall clock tells, and it went back or ran on.
            0 | 1 => {
                self.trace.counts.count(Kind::AnotherBoot);
                let back = if self.random.percent(50) { self.random.seconds(0, 5000) } else { Duration::ZERO };
                self.wall_nanos -= back.as_nanos() as i128;
                self.clock().since(shown)
            }
            2 => {
                self.trace.counts.count(Kind::ClockSetBack);
                self.wall_nanos -= self.random.seconds(0, 3600).as_nanos() as i128;
                since
            }
            3 => {
                self.trace.counts.count(Kind::ClockSetAhead);
                self.wall_nanos += self.random.seconds(0, 3600).as_nanos() as i128;
                since
            }
            _ => since,
        }
    }
}
