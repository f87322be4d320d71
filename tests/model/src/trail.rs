//! The trail's ring: one writer, a reader at any moment.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../../../src/trail/ring.rs"]
mod ring;

use ring::{Chunks, Grow, Ring, Written};
use sync::AtomicU64;

/// Two words a chunk, two chunks: small enough to wrap within a model.
struct Small([Vec<AtomicU64>; 2]);

impl Small {
    fn new() -> Self {
        Self([0, 1].map(|_| (0..2).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Chunks for &Small {
    fn get(&self, index: usize) -> Option<&[AtomicU64]> {
        Some(&self.0[index])
    }
    fn chunk_bits(&self) -> u32 {
        1
    }
    fn max_chunks(&self) -> usize {
        2
    }
}

impl Grow for &Small {
    fn grow(&mut self, _: usize) -> bool {
        true
    }
}

/// A record of two words whose second word repeats its number: torn if they disagree.
fn record(number: u64) -> [u64; 2] {
    [number << 16 | 2, number]
}

#[test]
fn a_reader_beside_a_writer_sees_whole_records_in_order() {
    loom::model(|| {
        let shared = loom::sync::Arc::new((Ring::new(), Small::new()));
        let read = |shared: &(Ring, Small)| {
            let mut read = Vec::new();
            shared.0.read(|| &shared.1, usize::MAX, &mut read);
            read
        };
        let reader = {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                let seen = read(&shared);
                let numbers: Vec<u64> = seen
                    .chunks(2)
                    .map(|pair| {
                        assert_eq!(pair[0] >> 16, pair[1], "a torn record");
                        assert_eq!(pair[0] & 0xFFFF, 2);
                        pair[1]
                    })
                    .collect();
                assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
            })
        };
        for number in 1..=3 {
            assert_eq!(shared.0.push(&mut &shared.1, &record(number).map(u64::to_le_bytes)), Written::Kept);
        }
        reader.join().unwrap();
        assert_eq!(read(&shared), [record(2), record(3)].concat(), "the newest that fit");
    });
}
