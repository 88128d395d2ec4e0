//! How retained topics leave: beside the answers, in a part of the window, until the broker has them.

use super::board::{Retained, Slot};
use super::{Desk, RETRY_WAIT};
use crate::mqtt::PublishRefusal;
use crate::telemetry;
use std::collections::BTreeMap;
use std::pin::Pin;
use tokio::time::Sleep;

/// The part of the window that retained topics may take: a thousand accounts that change at once must not stand before
/// an answer.
const WINDOW_SHARE: usize = 4;

/// What was published and is not acknowledged.
#[derive(Default)]
pub(super) struct RetainedOpen {
    by_token: BTreeMap<u64, Retained>,
    /// Publishes at once, at most.
    open_max: usize,
    /// After a refusal for now: the wait before the next one is tried.
    wait: Option<Pin<Box<Sleep>>>,
}

impl RetainedOpen {
    pub(super) fn connected(&mut self, window: u16) {
        self.open_max = (usize::from(window) / WINDOW_SHARE).max(1);
        self.wait = None;
    }

    pub(super) fn has_room(&self) -> bool {
        self.by_token.len() < self.open_max && self.wait.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Waits for the end of the wait, if there is one. It goes on where it was given up.
    pub(super) async fn waited(&mut self) {
        match &mut self.wait {
            Some(wait) => wait.await,
            None => std::future::pending().await,
        }
        self.wait = None;
    }

    fn is_open(&self, slot: &Slot) -> bool {
        self.by_token.values().any(|retained| retained.slot() == *slot)
    }
}

impl Desk {
    pub(super) async fn publish_retained(&mut self, retained: Retained) {
        if self.connection.is_none() {
            return self.board.put_back(retained);
        }
        let token = self.token();
        let publish = self.outbound.retained(&retained);
        if let Retained::Holds(holds) = &retained {
            self.last_holds = Some(holds.clone());
        }
        self.retained.by_token.insert(token, retained);
        self.hand_over(token, publish).await;
    }

    /// The broker has a retained topic, or refused it. False when the token is of something else.
    pub(super) fn acknowledge_retained(&mut self, token: u64, refusal: Option<&PublishRefusal>) -> bool {
        let Some(retained) = self.retained.by_token.remove(&token) else { return false };
        if refusal.is_some_and(|refusal| refusal.retryable) {
            self.retained.wait = Some(Box::pin(tokio::time::sleep(RETRY_WAIT)));
            // A newer word that is under way already must stay the last one.
            if !self.retained.is_open(&retained.slot()) {
                self.board.put_back(retained);
            }
        }
        true
    }

    /// A retained topic that the broker would end the connection for. False when the token is of something else.
    pub(super) fn give_up_retained(&mut self, token: u64, reason: &str) -> bool {
        let Some(retained) = self.retained.by_token.remove(&token) else { return false };
        telemetry::status_unfit(&format!("{:?}", retained.slot()), reason);
        true
    }

    /// Nobody knows what of it a lost connection still delivered: all is said again, each topic's latest word.
    pub(super) fn reopen_retained(&mut self) {
        for (_, retained) in std::mem::take(&mut self.retained.by_token).into_iter().rev() {
            self.board.put_back(retained);
        }
    }

    /// What a new connection's broker may not have, or may have from an earlier life.
    pub(super) fn repeat_retained(&mut self) {
        self.board.put_back(Retained::Info(self.info.clone()));
        if let Some(holds) = &self.last_holds {
            self.board.put_back(Retained::Holds(holds.clone()));
        }
    }
}
