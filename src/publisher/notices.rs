//! How events of messages and alarms leave: behind the answers, at QoS 0 and as well as it can be done.

use super::Desk;
use super::audience::Due;
use crate::contain;
use crate::model::Publication;
use crate::telemetry;
use tokio::sync::mpsc;

impl Desk {
    /// Publishes a notice and those behind it: how many events there are at once says whether to ask for listeners.
    pub(super) async fn publish_notices(&mut self, first: Publication, behind: &mut mpsc::Receiver<Publication>) {
        let mut next = Some(first);
        while let Some(notice) = next {
            if let Publication::Event { event, message } = notice {
                // Without a connection it is lost, as all at QoS 0 is.
                if self.connection.is_some() {
                    self.audience.wait(event, message);
                }
            } else {
                self.publish(notice).await;
            }
            let has_room = self.pending.is_empty() && self.audience.has_room();
            next = if has_room { behind.try_recv().ok() } else { None };
        }
        self.publish_events().await;
        if let Some(alarm) = self.drops.alarm() {
            self.publish(Publication::Alarm(alarm)).await;
        }
    }

    /// Publishes the events that wait, as far as they may leave and there is room.
    pub(super) async fn publish_events(&mut self) {
        while self.pending.is_empty()
            && let Some(Due { event, message, qos }) = self.audience.next(self.next_token)
        {
            let token = self.token();
            let Some(publish) = contain::contained(|| self.outbound.event(&event, message.as_deref(), qos)) else {
                telemetry::poison_contained_outgoing();
                self.audience.unanswered(token);
                continue;
            };
            self.hand_over(token, publish).await;
        }
    }

    /// The broker has an event that was a question, or refused it. False when the token is of something else.
    pub(super) fn acknowledge_event(&mut self, token: u64, is_refused: bool, is_unheard: bool) -> bool {
        if is_refused { self.audience.unanswered(token) } else { self.audience.answered(token, is_unheard) }
    }
}
