use super::Engine;
use crate::model::{Seq, Time};

impl Engine {
    // pending: forecast
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the forecast replaces it")]
    pub(super) fn expected_at(&self, _: Seq) -> Option<Time> {
        None
    }
}
