//! Storms: a group of exceptions has a share of full records, then of lean ones, then it is only
//! counted. Comes in: a key for each exception, on its thread. Goes out: what to make of it; and
//! counts, for the metric.
//!
//! A fixed table of atomics; two threads in the same storm meet at a counter and nowhere else.
//! Rates are kept as the time at which a bucket would be full again (GCRA), one word each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::bucket::take;
use crate::fork::Mutex;

/// How many records one group of exceptions gets, see
/// [`Builder::with_exception_rate`](crate::Builder::with_exception_rate).
///
/// A new group gets through. Only one of a place in the source that has raised 64 others shares its
/// share with all further ones of that place, so that whoever can vary a text takes no room from
/// other places. What gets no record is counted in the metric `crumbtrail.exceptions` and in
/// [`Stats::suppressed`](crate::stats::Stats::suppressed), and the group's next record says how
/// many there were (`crumbtrail.suppressed`).
///
/// ```
/// use crumbtrail::config::ExceptionRate;
///
/// let rate = ExceptionRate::default().with_full(50, 30).with_lean(0, 0);
/// assert_ne!(rate, ExceptionRate::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionRate {
    full: (u32, u32),
    lean: (u32, u32),
    bytes_per_second: u32,
    is_unlimited: bool,
}

impl Default for ExceptionRate {
    /// Full records: 20 at once, then 10 a minute. Lean ones, without stack and breadcrumbs: 100 at
    /// once, then 60 a minute. All groups together: 1 MiB a second of full records.
    fn default() -> Self {
        Self { full: (20, 10), lean: (100, 60), bytes_per_second: 1 << 20, is_unlimited: false }
    }
}

impl ExceptionRate {
    /// Every exception gets its full record.
    pub fn unlimited() -> Self {
        Self { is_unlimited: true, ..Self::default() }
    }

    /// Full records of one group: so many at once, then so many a minute.
    #[must_use]
    pub fn with_full(mut self, at_once: u32, per_minute: u32) -> Self {
        self.full = (at_once, per_minute);
        self
    }

    /// Lean records of one group, after the full ones: so many at once, then so many a minute.
    #[must_use]
    pub fn with_lean(mut self, at_once: u32, per_minute: u32) -> Self {
        self.lean = (at_once, per_minute);
        self
    }

    /// Full records of all groups together, in bytes as they wait in memory; what is over is lean.
    /// The first of a group is full all the same.
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes: u32) -> Self {
        self.bytes_per_second = bytes;
        self
    }
}

/// What becomes of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Full,
    Lean,
    Counted,
}

/// A verdict, and what goes with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    pub(crate) verdict: Verdict,
    /// Exceptions of the group that were only counted since its last record.
    pub(crate) suppressed: u64,
    pub(crate) slot: SlotId,
}

/// A group's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotId {
    index: u32,
    /// Whose it is; by the time it is looked at again it may be another's.
    key: u64,
    /// That of all groups of a callsite that has too many: it has no name.
    is_shared: bool,
}

/// The place of groups that have none, which has no name.
const OTHER: SlotId = SlotId { index: SLOTS as u32, key: 0, is_shared: true };

/// What a group is called in the metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) type_name: String,
    /// The type is certain.
    pub(crate) exact: bool,
    pub(crate) group: String,
    pub(crate) coarse: String,
}

impl Labels {
    /// Of those of which it is not known what they are. (`_OTHER` as in the semantic conventions'
    /// `error.type`.)
    fn other() -> Self {
        Self { type_name: "_OTHER".to_owned(), exact: false, group: String::new(), coarse: String::new() }
    }
}

pub(crate) struct Storm {
    slots: Box<[Slot]>,
    /// How many groups each callsite has in there, by its hash.
    sites: Box<[AtomicU64]>,
    rate: ExceptionRate,
    /// When the budget of all groups would be whole again.
    budget: AtomicU64,
    suppressed: AtomicU64,
    /// Records made since the last reading.
    made: Mutex<HashMap<Labels, u64>>,
}

struct Slot {
    /// 0: free.
    key: AtomicU64,
    /// Its callsite's.
    site: AtomicU64,
    full: AtomicU64,
    lean: AtomicU64,
    uncounted: AtomicU64,
    suppressed: AtomicU64,
    labels: Mutex<Option<Arc<Labels>>>,
}

/// Groups that are told apart; the rest share the last slot, which has no name.
const SLOTS: usize = 4096;
const PROBES: usize = 16;
/// Callsites that are told apart by how many groups they have.
const SITES: usize = 4096;
/// Groups of one callsite that are told apart: whoever can vary a text must not take the places of
/// all others.
const GROUPS_OF_SITE: u64 = 64;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
/// Seconds of the byte budget that may be used at once.
const BUDGET_BURST: u64 = 8;

impl Storm {
    pub(crate) fn new(rate: ExceptionRate) -> Self {
        let slot = || Slot {
            key: AtomicU64::new(0),
            site: AtomicU64::new(0),
            full: AtomicU64::new(0),
            lean: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            labels: Mutex::new(None),
        };
        let other = Slot { labels: Mutex::new(Some(Arc::new(Labels::other()))), ..slot() };
        Self {
            slots: (0..SLOTS).map(|_| slot()).chain([other]).collect(),
            sites: (0..SITES).map(|_| AtomicU64::new(0)).collect(),
            rate,
            budget: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            made: Mutex::default(),
        }
    }

    /// Decides about an exception's record, and counts it if there is to be none. `site`: where it
    /// was raised.
    pub(crate) fn admit(&self, site: u64, key: u64, now: u64) -> Admission {
        let (slot, is_new) = self.slot(site, key.max(1), now);
        let place = &self.slots[slot.index as usize];
        // Taken from the share also by the first of a group, which gets its record anyway.
        let verdict = if self.rate.is_unlimited || self.is_full_due(place, now) || is_new {
            Verdict::Full
        } else if take(&place.lean, self.rate.lean, 1, now) {
            Verdict::Lean
        } else {
            Verdict::Counted
        };
        let suppressed = match verdict {
            Verdict::Counted => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                place.uncounted.fetch_add(1, Ordering::Relaxed);
                place.suppressed.fetch_add(1, Ordering::Relaxed)
            }
            // Looked at first: nothing is written where there is nothing to take.
            _ if place.suppressed.load(Ordering::Relaxed) > 0 => place.suppressed.swap(0, Ordering::Relaxed),
            _ => 0,
        };
        Admission { verdict, suppressed, slot }
    }

    fn is_full_due(&self, place: &Slot, now: u64) -> bool {
        // The budget is charged when the record's weight is known; until it is whole enough again, records are lean.
        let has_budget = self.budget.load(Ordering::Relaxed) <= now.saturating_add(BUDGET_BURST * SECOND);
        has_budget && take(&place.full, self.rate.full, 1, now)
    }

    /// Takes a record's bytes from the budget of all groups.
    pub(crate) fn charge(&self, bytes: usize, now: u64) {
        let nanos = (bytes as u64).saturating_mul(SECOND) / u64::from(self.rate.bytes_per_second).max(1);
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| Some(known.max(now).saturating_add(nanos)));
    }

    /// In a forked child: what has been counted so far is its parent's.
    pub(crate) fn begin_anew(&self) {
        self.made.lock().clear();
        self.suppressed.store(0, Ordering::Relaxed);
        self.slots.iter().flat_map(|slot| [&slot.uncounted, &slot.suppressed]).for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Counts one that was admitted and of which no record will be made.
    pub(crate) fn count(&self, slot: SlotId) {
        self.of(slot).unwrap_or(&self.slots[SLOTS]).uncounted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that came to nothing before it had a group.
    pub(crate) fn count_other(&self) {
        self.count(OTHER);
    }

    /// Counts one whose record was made, under its own group.
    pub(crate) fn count_made(&self, labels: Labels) {
        *self.made.lock().entry(labels).or_default() += 1;
    }

    /// What the group is called, once that is known.
    pub(crate) fn name(&self, slot: SlotId, labels: Labels) {
        let Some(place) = self.of(slot).filter(|_| !slot.is_shared) else { return };
        let mut known = place.labels.lock();
        if known.as_deref() != Some(&labels) {
            *known = Some(Arc::new(labels));
        }
    }

    /// How the group was last called.
    pub(crate) fn labels(&self, slot: SlotId) -> Option<Arc<Labels>> {
        self.of(slot).filter(|_| !slot.is_shared)?.labels.lock().clone()
    }

    /// A group's place. `None`: it has none, or has it no more.
    fn of(&self, slot: SlotId) -> Option<&Slot> {
        self.slots[..SLOTS].get(slot.index as usize).filter(|place| place.key.load(Ordering::Relaxed) == slot.key)
    }

    /// Hands out the counts since the last call, of groups that have been named.
    pub(crate) fn counts(&self, mut take: impl FnMut(u64, &Labels)) {
        let made = std::mem::take(&mut *self.made.lock());
        made.iter().for_each(|(labels, count)| take(*count, labels));
        for slot in self.slots.iter().filter(|slot| slot.uncounted.load(Ordering::Relaxed) > 0) {
            let labels = slot.labels.lock().clone();
            if let Some(labels) = labels {
                take(slot.uncounted.swap(0, Ordering::Relaxed), &labels);
            }
        }
    }

    /// Exceptions that were only counted.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// The group's place, and whether it has just got it.
    fn slot(&self, site: u64, key: u64, now: u64) -> (SlotId, bool) {
        let index_of_site = site.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SITES.trailing_zeros());
        let groups = &self.sites[index_of_site as usize];
        // A callsite that has its share of places has one more for all the rest.
        let is_many = groups.load(Ordering::Relaxed) >= GROUPS_OF_SITE;
        let others = site.rotate_left(32) | 1;
        match self.find(key) {
            Ok(slot) => (slot, false),
            Err(_) if is_many && key != others => {
                let (slot, is_new) = match self.find(others) {
                    Ok(slot) => (slot, false),
                    Err(free) => self.occupy(free, index_of_site, others, now),
                };
                if is_new && let Some(place) = self.of(slot) {
                    *place.labels.lock() = Some(Arc::new(Labels::other()));
                }
                (SlotId { is_shared: true, ..slot }, is_new)
            }
            Err(free) => self.occupy(free, index_of_site, key, now),
        }
    }

    /// The slots a key may have.
    fn probe(key: u64) -> impl Iterator<Item = usize> {
        let start = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.trailing_zeros());
        (0..PROBES).map(move |step| (start as usize + step) % SLOTS)
    }

    /// `Err`: it has none; its first free one, if there is any.
    fn find(&self, key: u64) -> Result<SlotId, Option<usize>> {
        for index in Self::probe(key) {
            match self.slots[index].key.load(Ordering::Relaxed) {
                0 => return Err(Some(index)),
                known if known == key => return Ok(SlotId { index: index as u32, key, is_shared: false }),
                _ => {}
            }
        }
        Err(None)
    }

    /// Takes a place: a free one; that of a group that is over, for in a service that runs for
    /// months every place is taken one day; or that of a callsite that has many.
    #[cold]
    fn occupy(&self, free: Option<usize>, site: u64, key: u64, now: u64) -> (SlotId, bool) {
        let groups_of = |index: &usize| self.sites[self.slots[*index].site.load(Ordering::Relaxed) as usize].load(Ordering::Relaxed);
        let idle = || Self::probe(key).find(|index| self.slots[*index].is_idle(now));
        let of_many = || Self::probe(key).filter(|index| groups_of(index) > 1).max_by_key(groups_of);
        let other = (OTHER, false);
        let Some(index) = free.or_else(idle).or_else(of_many) else { return other };
        let place = &self.slots[index];
        let old = place.key.load(Ordering::Relaxed);
        match place.key.compare_exchange(old, key, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {}
            // Another thread has begun the same group here.
            Err(now_there) if now_there == key => return (SlotId { index: index as u32, key, is_shared: false }, false),
            Err(_) => return other,
        }
        let former = place.site.swap(site, Ordering::Relaxed);
        if old != 0 {
            self.forget(place, former);
        }
        self.sites[site as usize].fetch_add(1, Ordering::Relaxed);
        (SlotId { index: index as u32, key, is_shared: false }, true)
    }

    /// A group has lost its place. What of it is not yet counted is so without its name.
    fn forget(&self, place: &Slot, site: u64) {
        let _ = self.sites[site as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |groups| groups.checked_sub(1));
        let uncounted = place.uncounted.swap(0, Ordering::Relaxed);
        self.slots[SLOTS].uncounted.fetch_add(uncounted, Ordering::Relaxed);
        [&place.suppressed, &place.full, &place.lean].into_iter().for_each(|word| word.store(0, Ordering::Relaxed));
        *place.labels.lock() = None;
    }
}

impl Slot {
    /// It has had its whole share again for a minute, and nothing of it is yet to be told.
    fn is_idle(&self, now: u64) -> bool {
        let is_over = |bucket: &AtomicU64| bucket.load(Ordering::Relaxed).saturating_add(MINUTE) < now;
        let is_told = |count: &AtomicU64| count.load(Ordering::Relaxed) == 0;
        is_over(&self.full) && is_over(&self.lean) && is_told(&self.uncounted) && is_told(&self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000_000_000;

    fn verdicts(storm: &Storm, key: u64, at: u64, count: usize) -> [usize; 3] {
        let mut sums = [0; 3];
        for _ in 0..count {
            let verdict = storm.admit(key, key, at).verdict;
            if verdict == Verdict::Full {
                storm.charge(1_000, at);
            }
            sums[verdict as usize] += 1;
        }
        sums
    }

    #[test]
    fn a_group_gets_full_records_then_lean_ones_then_none() {
        let storm = Storm::new(ExceptionRate::default());
        assert_eq!(verdicts(&storm, 7, START, 1_000), [20, 100, 880]);
        assert_eq!(verdicts(&storm, 7, START + 60 * SECOND, 1_000), [10, 60, 930]);
        assert_eq!(storm.suppressed(), 880 + 930);
        assert_eq!(storm.admit(7, 7, START + 3_600 * SECOND).suppressed, 930, "since the last record");
        assert_eq!(verdicts(&storm, 8, START + 3_600 * SECOND, 3), [3, 0, 0], "another group has its own share");
    }

    /// Report B10: what shares a place has no name in common.
    #[test]
    fn those_who_share_a_place_have_no_name() {
        let storm = Storm::new(ExceptionRate::default());
        let labels = |group: u64| Labels { group: group.to_string(), ..Labels::other() };
        let named = |group: u64| {
            let admission = storm.admit(5, group, START);
            storm.name(admission.slot, labels(group));
            admission.slot
        };
        let slots: Vec<_> = (1..=GROUPS_OF_SITE + 10).map(named).collect();
        assert_eq!(storm.labels(slots[0]).as_deref(), Some(&labels(1)));
        assert_eq!(storm.labels(slots[GROUPS_OF_SITE as usize + 1]), None);
        (0..1_000).for_each(|_| _ = storm.admit(5, 1_000, START));
        let mut counts = HashMap::new();
        storm.counts(|count, labels| *counts.entry(labels.group.clone()).or_insert(0) += count);
        assert!(counts.contains_key("") && counts.len() == 1, "{counts:?}");
    }

    #[test]
    fn the_budget_of_all_groups_makes_records_lean_but_not_the_first_of_a_group() {
        let storm = Storm::new(ExceptionRate::default().with_bytes_per_second(1_000));
        let first = (1..=100).map(|key| verdicts(&storm, key, START, 1)[0]).sum::<usize>();
        assert_eq!(first, 100);
        assert_eq!(verdicts(&storm, 1, START, 10), [0, 10, 0]);
    }

    #[test]
    fn a_new_group_gets_through_however_many_there_were() {
        let storm = Storm::new(ExceptionRate::default());
        // A busy one keeps its place, and its share.
        assert_eq!(verdicts(&storm, 1, START, 1_000), [20, 100, 880]);
        for round in 0..5 {
            let at = START + round * 3 * MINUTE;
            let keys = (round * 10_000 + 10..).take(SLOTS / 2);
            assert_eq!(keys.map(|key| verdicts(&storm, key, at, 1)[0]).sum::<usize>(), SLOTS / 2, "round {round}");
        }
        assert_eq!(storm.admit(1, 1, START + 12 * MINUTE).suppressed, 880);
    }

    /// Report B10: a caller that varies a text, at one callsite or at many.
    #[test]
    fn a_new_group_gets_through_whatever_others_do() {
        let storm = Storm::new(ExceptionRate::default());
        for (number, at) in (0..200_000u64).map(|number| (number, START + number * 1_000_000)) {
            storm.admit(number % 200, 1_000 + number, at);
        }
        for key in 1 << 40..(1 << 40) + 20u64 {
            assert_eq!(storm.admit(key, key, START + 200 * SECOND).verdict, Verdict::Full, "{key}");
        }
    }

    fn labels(group: &str) -> Labels {
        Labels { type_name: String::new(), exact: true, group: group.to_owned(), coarse: String::new() }
    }

    #[test]
    fn counts_wait_for_a_name_and_records_count_for_their_own_group() {
        let storm = Storm::new(ExceptionRate::default().with_full(1, 0).with_lean(0, 0));
        let slot = storm.admit(5, 5, START).slot;
        assert_eq!(verdicts(&storm, 5, START, 3), [0, 0, 3]);
        let mut totals = Vec::new();
        storm.counts(|count, labels| totals.push((labels.group.clone(), count)));
        assert!(totals.is_empty());
        storm.name(slot, labels("b"));
        storm.count_made(labels("a"));
        storm.counts(|count, labels| totals.push((labels.group.clone(), count)));
        assert_eq!(totals, [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    }

    #[test]
    fn four_threads_are_counted_to_the_last() {
        let storm = Storm::new(ExceptionRate::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| verdicts(&storm, 9, START, 10_000));
            }
        });
        let slot = storm.admit(9, 9, START).slot;
        storm.name(slot, labels(""));
        let mut total = 0;
        storm.counts(|count, _| total += count);
        assert_eq!((total, storm.suppressed()), (40_001 - 120, 40_001 - 120));
    }
}
