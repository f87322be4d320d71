//! The outbox's ring: one producer, one consumer.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../../src/outbox/ring.rs"]
mod ring;

use ring::SpscRing;

/// All that is in the ring after `bytes`.
fn words(ring: &SpscRing, mut bytes: Vec<u8>) -> Vec<u64> {
    ring.drain(&mut bytes);
    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn what_is_pushed_arrives_once_in_order() {
    loom::model(|| {
        let ring = loom::sync::Arc::new(SpscRing::new(4));
        let consumer = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut bytes = Vec::new();
                ring.drain(&mut bytes);
                bytes
            })
        };
        let pushed: Vec<u64> = (1..=3u64).filter(|number| ring.push(&[number.to_le_bytes(); 2]).is_some()).collect();
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
        let consumer = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut bytes = Vec::new();
                (0..3).for_each(|_| ring.drain(&mut bytes));
                bytes
            })
        };
        // One word each: behind the first there are three, and an empty ring goes back to its beginning.
        let pushed: Vec<u64> = (1..=4u64).filter(|number| ring.push(&[number.to_le_bytes()]).is_some()).collect();
        let words = words(&ring, consumer.join().unwrap());
        assert_eq!(words, pushed);
        assert_eq!(pushed.len(), 4, "all fit whatever happens");
    });
}
