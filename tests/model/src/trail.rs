//! The trail's ring: one writer, a reader at any moment.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../../../src/trail/ring.rs"]
mod ring;

use ring::{Chunks, Grow, Ring, Written};
use sync::AtomicU64;

/// Two chunks of so many words: small enough to wrap within a model.
struct Small([Vec<AtomicU64>; 2]);

impl Small {
    fn new(words: usize) -> Self {
        Self([0, 1].map(|_| (0..words).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Chunks for &Small {
    fn get(&self, index: usize) -> Option<&[AtomicU64]> {
        Some(&self.0[index])
    }
    fn chunk_bits(&self) -> u32 {
        self.0[0].len().trailing_zeros()
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

/// A record all of whose words have its number: torn if they disagree.
fn record(number: u64, words: u64) -> Vec<u64> {
    (0..words).map(|_| number << 16 | words).collect()
}

fn push(shared: &(Ring, Small), number: u64, words: u64) {
    let record: Vec<_> = record(number, words).into_iter().map(u64::to_le_bytes).collect();
    assert_eq!(shared.0.push(&mut &shared.1, &record), Written::Kept);
}

fn read(shared: &(Ring, Small)) -> Vec<u64> {
    let mut read = Vec::new();
    shared.0.read(|| &shared.1, usize::MAX, &mut read);
    read
}

/// Reads, and looks at what it has read.
fn check(shared: &(Ring, Small)) {
    let (seen, mut numbers) = (read(shared), Vec::new());
    let mut rest = &seen[..];
    while let Some(first) = rest.first() {
        let (record, later) = rest.split_at((first & 0xFFFF) as usize);
        assert!(record.iter().all(|word| word == first), "a torn record: {seen:x?}");
        numbers.push(first >> 16);
        rest = later;
    }
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
}

/// Records that each fill a chunk, and such as lie in two.
#[test]
fn a_reader_beside_a_writer_sees_whole_records_in_order() {
    for (words, chunk) in [(2, 2), (3, 4)] {
        loom::model(move || {
            let shared = loom::sync::Arc::new((Ring::new(), Small::new(chunk)));
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || check(&shared))
            };
            (1..=3).for_each(|number| push(&shared, number, words));
            reader.join().unwrap();
            assert_eq!(read(&shared), [record(2, words), record(3, words)].concat(), "the newest that fit");
        });
    }
}

/// The second writer overwrites what the first has moved `tail` past, and does not move it itself.
#[test]
fn a_reader_beside_two_writers_sees_whole_records() {
    loom::model(|| {
        let shared = loom::sync::Arc::new((Ring::new(), Small::new(2)));
        (1..=2).for_each(|number| push(&shared, number, 2));
        let turn = loom::sync::Arc::new(loom::sync::Mutex::new(3));
        let write = move |shared: &(Ring, Small), turn: &loom::sync::Mutex<u64>| {
            let mut number = turn.lock().unwrap();
            push(shared, *number, 1);
            *number += 1;
        };
        let writer = {
            let (shared, turn) = (shared.clone(), turn.clone());
            loom::thread::spawn(move || write(&shared, &turn))
        };
        let reader = {
            let shared = shared.clone();
            loom::thread::spawn(move || check(&shared))
        };
        write(&shared, &turn);
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(read(&shared), [record(2, 2), record(3, 1), record(4, 1)].concat());
    });
}
