use super::Engine;
use super::tables::AccountKey;
impl Engine {
    /// Notes that something changed about an account.
    pub(super) fn touch(&mut self, _key: AccountKey) {
        self.changes += 1;
    }
}
