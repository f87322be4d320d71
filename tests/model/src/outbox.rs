//! The outbox's ring: one producer, one consumer.

mod sync {
    pub(crate) use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    /// In a box, as loom's `Arc` has no slices.
    pub(crate) type Part = Arc<Box<[AtomicU64]>>;

    pub(crate) fn part(words: usize) -> Part {
        Arc::new((0..words).map(|_| AtomicU64::new(0)).collect())
    }
}

#[path = "../../../src/outbox/ring.rs"]
mod ring;

use ring::{Near, SpscRing};

/// All that is in the ring after `bytes`.
fn words(ring: &SpscRing, mut bytes: Vec<u8>) -> Vec<u64> {
    ring.take(usize::MAX, &mut bytes);
    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

type Ring = loom::sync::Arc<SpscRing>;

/// A consumer on a thread of its own; what it has taken is joined.
fn consume(ring: &Ring, take: impl FnOnce(&SpscRing, &mut Vec<u8>) + Send + 'static) -> loom::thread::JoinHandle<Vec<u8>> {
    let ring = ring.clone();
    loom::thread::spawn(move || {
        let mut bytes = Vec::new();
        take(&ring, &mut bytes);
        bytes
    })
}

#[test]
fn what_is_pushed_arrives_once_in_order() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(SpscRing::new(4));
        let consumer = consume(&ring, |ring, bytes| {
            ring.take(usize::MAX, bytes);
        });
        let mut near = Near::default();
        let pushed: Vec<u64> = (1..=3u64).filter(|number| ring.push(&mut near, &[number.to_le_bytes(); 2]).is_some()).collect();
        let words = words(&ring, consumer.join().unwrap());
        let expected: Vec<u64> = pushed.iter().flat_map(|number| [*number, *number]).collect();
        assert_eq!(words, expected);
        assert!(pushed.len() >= 2, "two records fit whatever happens");
    });
}

#[test]
fn an_empty_ring_begins_anew_under_a_consumers_eyes() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(SpscRing::new(4));
        let consumer = consume(&ring, |ring, bytes| {
            (0..3).for_each(|_| _ = ring.take(usize::MAX, bytes));
        });
        // One word each: behind the first there are three, and an empty ring goes back to its beginning.
        let mut near = Near::default();
        let pushed: Vec<u64> = (1..=4u64).filter(|number| ring.push(&mut near, &[number.to_le_bytes()]).is_some()).collect();
        let words = words(&ring, consumer.join().unwrap());
        assert_eq!(words, pushed);
        assert_eq!(pushed.len(), 4, "all fit whatever happens");
    });
}

/// Records of two words, taken one at a time: what is looked at to find where one ends is not being
/// written.
#[test]
fn some_are_taken_whole_while_others_come() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(SpscRing::new(4));
        let consumer = consume(&ring, |ring, bytes| {
            (0..2).for_each(|_| _ = ring.take(1, bytes));
            assert!(bytes.len() <= 2 * 2 * 8 && bytes.len() % (2 * 8) == 0, "whole records, one at a time");
        });
        let mut near = Near::default();
        // A record begins with its length in words.
        let record = |number: u64| [number << 16 | 2, number].map(u64::to_le_bytes);
        let pushed: Vec<u64> = (1..=3).filter(|number| ring.push(&mut near, &record(*number)).is_some()).collect();
        let words = words(&ring, consumer.join().unwrap());
        assert_eq!(words, pushed.iter().flat_map(|number| [number << 16 | 2, *number]).collect::<Vec<_>>());
    });
}

/// Pushes records of so many words beside a consumer that gives back what it can.
fn pushed_beside_one_who_gives_back(ring: SpscRing, lengths: &[usize]) {
    let ring = loom::sync::Arc::new(ring);
    let consumer = consume(&ring, |ring, bytes| {
        ring.take(usize::MAX, bytes);
        ring.give_back();
    });
    let mut near = Near::default();
    let mut pushed = Vec::new();
    for (number, length) in (1u64..).zip(lengths) {
        let record = vec![number; *length];
        if ring.push(&mut near, &record.iter().map(|word| word.to_le_bytes()).collect::<Vec<_>>()).is_some() {
            pushed.extend(record);
        }
    }
    assert_eq!(words(&ring, consumer.join().unwrap()), pushed);
}

/// Parts of one word: a part that is not at hand any more belongs to a record that is not there
/// yet.
#[test]
fn a_record_of_two_parts_is_not_given_back_unread() {
    loom::model(|| pushed_beside_one_who_gives_back(SpscRing::new(4), &[2, 2]));
}

/// Parts of two words: the last record goes into the part at hand, which is not the first.
#[test]
fn the_part_at_hand_is_not_given_back() {
    loom::model(|| pushed_beside_one_who_gives_back(SpscRing::new(64), &[2, 1, 1]));
}
