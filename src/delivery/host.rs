//! What delivery has to be given by whom it delivers for.

use crate::{
    ledger::{Ledger, Stats},
    scrub::Scrubber,
};

/// For whom it delivers.
pub(crate) trait Host {
    /// Where it keeps its books.
    fn ledger(&self) -> &Ledger;

    /// What is in them, for a diagnosis.
    fn stats(&self) -> Stats;

    /// What cleans a text that comes from outside.
    fn scrubber(&self) -> &Scrubber;

    /// A panic of ours was caught.
    fn fault(&self, at: &str);
}
