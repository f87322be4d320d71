//! Memory of requests, used again: a megabyte that is asked of the system anew for each costs more
//! than all that is written into it.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

/// Requests under way, and the next.
const SPARES: usize = 4;
/// The least that is worth keeping.
const LEAST: usize = 4 * 1024;

/// Memory that comes back by itself when a request has been sent, from whatever thread.
pub(super) struct Spares {
    back: Arc<ArrayQueue<Vec<u8>>>,
    is_used: bool,
}

impl Default for Spares {
    fn default() -> Self {
        Self { back: Arc::new(ArrayQueue::new(SPARES)), is_used: false }
    }
}

impl Spares {
    /// An empty buffer with room for so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Vec<u8> {
        self.is_used = true;
        let spare = self.back.pop().filter(|spare| spare.capacity() >= bytes);
        // Sizes differ a little from one to the next.
        spare.unwrap_or_else(|| Vec::with_capacity((bytes + bytes / 8).max(LEAST)))
    }

    /// The bytes of a buffer, which comes back when nobody has them any more.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { bytes, back: self.back.clone() })
    }

    /// Frees what is here if nothing was taken since this was last asked for; says whether.
    pub(super) fn give_back(&mut self) -> bool {
        let is_idle = !std::mem::take(&mut self.is_used);
        if is_idle {
            while self.back.pop().is_some() {}
        }
        is_idle
    }
}

struct Lent {
    bytes: Vec<u8>,
    back: Arc<ArrayQueue<Vec<u8>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Where there are enough, it goes.
        let _ = self.back.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_is_given_back() {
        let mut spares = Spares::default();
        let mut first = spares.take(10_000);
        first.extend_from_slice(b"request");
        let (address, lent) = (first.as_ptr(), spares.lend(first));
        let copy = lent.slice(2..);
        drop(lent);
        assert_eq!(&*copy, b"quest", "it is still under way");
        let other = spares.take(10_000);
        assert_ne!(other.as_ptr(), address);
        drop(copy);
        let again = spares.take(11_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        drop(spares.lend(again));
        assert!(!spares.give_back(), "it was used");
        assert_eq!(spares.back.len(), 1);
        assert!(spares.give_back() && spares.back.is_empty());
        let too_many: Vec<_> = (0..2 * SPARES).map(|_| Vec::with_capacity(1)).map(|spare| spares.lend(spare)).collect();
        drop(too_many);
        assert_eq!(spares.back.len(), SPARES);
    }
}
