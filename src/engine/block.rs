//! Refusals that a person ordered: new messages that meet a selection, for a while.

use super::Engine;
use super::sabotage::Sabotage;
use crate::model::{Block, Code, Fault, HoldId, Record, Request, Selection, Time};

impl Engine {
    /// Refuses from now on what meets the selection. The same order once more moves the end of the block that it made.
    pub(super) fn block(
        &mut self,
        selection: Selection,
        reason: Option<Box<str>>,
        by: Option<Box<str>>,
        until: Time,
    ) -> Result<HoldId, Fault> {
        let same = |block: &&Block| block.selection == selection && block.reason == reason && block.by == by;
        let block = match self.blocks.values().find(same).cloned() {
            Some(block) if block.until == until => return Ok(block.id),
            Some(block) => Block { until, ..block },
            None => {
                let id = self.next_hold_id()?;
                Block { id, selection, reason, by, since: self.now, until }
            }
        };
        let id = block.id;
        self.record(Record::Blocked(block.clone()));
        self.add_block(block);
        self.publish_holds();
        Ok(id)
    }

    pub(super) fn add_block(&mut self, block: Block) {
        let before = self.blocks.get(&block.id).map(|old| old.until);
        self.set_hold_timer(block.id, before, Some(block.until));
        self.blocks.insert(block.id, block);
    }

    /// Forgets a block without a word.
    pub(super) fn remove_block(&mut self, id: HoldId) -> bool {
        let Some(block) = self.blocks.remove(&id) else { return false };
        self.set_hold_timer(id, Some(block.until), None);
        true
    }

    /// Ends a block. Returns false when there is none of that number.
    pub(super) fn unblock(&mut self, id: HoldId, by: Option<Box<str>>) -> bool {
        if !self.remove_block(id) {
            return false;
        }
        self.record(Record::Unblocked { block: id, at: self.now, by });
        self.publish_holds();
        true
    }

    /// Why a new message is not taken, if a block covers it: the one that ends last.
    pub(super) fn refusal_by_block(&self, request: &Request) -> Option<Fault> {
        // At its very end a block may still stand, because timers fire after what came in.
        let covering =
            self.blocks.values().filter(|block| block.until > self.now && self.meets(&block.selection, request));
        let block = covering.max_by_key(|block| block.until)?;
        let (until, id) = (block.until, block.id.0);
        let reason = block.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let message =
            format!("such messages are refused until {until}{reason}, by block {id}: publish it again after that");
        Some(Fault::new(Code::Blocked, message))
    }

    fn meets(&self, selection: &Selection, request: &Request) -> bool {
        let Selection { id, account, conversation, corp, tag } = selection;
        let tag = tag.as_ref().filter(|_| !self.sabotaged(Sabotage::BlockForgetsTag));
        let of_corp = || {
            let key = self.account_keys.get(&request.account)?;
            Some(&self.corps[self.account(*key).corp?.index()].name)
        };
        id.as_ref().is_none_or(|id| *id == request.id)
            && account.as_ref().is_none_or(|account| *account == request.account)
            && conversation.as_ref().is_none_or(|conversation| *conversation == request.conversation)
            && tag.is_none_or(|tag| request.options.tag.as_ref() == Some(tag))
            && corp.as_ref().is_none_or(|corp| of_corp() == Some(corp))
    }
}
