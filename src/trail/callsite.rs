//! The callsite table: what is static about every event and span, once. Comes in: metadata, when
//! `tracing` registers a callsite. Goes out: an id for the record, and the strings behind the id
//! for whoever reads it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use tracing_core::{Level, Metadata};

use crate::{
    fork::Mutex,
    scrub::{Scrubber, Treatment},
};

/// What a callsite feeds, and what has to be looked at when it fires.
pub(crate) mod feeds {
    pub(crate) const EXCEPTION: u8 = 1;
    pub(crate) const LOG: u8 = 1 << 1;
    pub(crate) const SPAN: u8 = 1 << 2;
    pub(crate) const CRUMB: u8 = 1 << 3;
    /// The bridge from the `log` crate: target and level are in the fields.
    pub(crate) const BRIDGE: u8 = 1 << 4;
    /// A span with an `otel.kind` field: it may begin a trail of its own.
    pub(crate) const KIND: u8 = 1 << 5;
    /// It has fields whose values are not to be told, see
    /// [`Callsite::treatments`](super::Callsite).
    pub(crate) const SECRET: u8 = 1 << 6;
    /// It has fields that say who is served (`user.*`); or is an event with a `feature_flag.key`.
    pub(crate) const SCOPE: u8 = 1 << 7;
}

/// The static side of an event or span.
#[derive(Debug)]
pub(crate) struct Callsite {
    pub(crate) metadata: Option<&'static Metadata<'static>>,
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) file: Option<&'static str>,
    pub(crate) line: Option<u32>,
    pub(crate) level: Level,
    pub(crate) fields: Vec<&'static str>,
    /// What becomes of each field's values.
    pub(crate) treatments: Vec<Treatment>,
}

/// It is in this library.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    // Its unit tests play the program's part.
    !cfg!(test) && metadata.module_path().unwrap_or_default().split("::").next() == Some("crumbtrail")
}

/// A tag is judged by its own name.
fn treatment(scrubber: &Scrubber, name: &str) -> Treatment {
    match name.strip_prefix("tags.").map(|tag| scrubber.key(tag)) {
        None | Some(Treatment::Keep) => scrubber.key(name),
        Some(treatment) => treatment,
    }
}

impl Callsite {
    /// It stands for all records of the `log` crate, of which each has its own place in its fields.
    pub(crate) fn is_bridged(&self) -> bool {
        self.target == "log" && self.fields.contains(&"log.target")
    }

    fn new(metadata: &'static Metadata<'static>, scrubber: &Scrubber) -> Self {
        Self {
            metadata: Some(metadata),
            name: metadata.name(),
            target: metadata.target(),
            // Where a span or event is ours, that says nothing of the program.
            file: metadata.file().filter(|_| !is_ours(metadata)),
            line: metadata.line().filter(|_| !is_ours(metadata)),
            level: *metadata.level(),
            treatments: metadata.fields().iter().map(|field| treatment(scrubber, field.name())).collect(),
            // An id that is not told has another name.
            fields: metadata
                .fields()
                .iter()
                .map(|field| match field.name() {
                    "user.id" if scrubber.key("user.id") == Treatment::Hash => "user.hash",
                    name => name,
                })
                .collect(),
        }
    }

    /// That of spans that `tracing` does not know.
    pub(crate) fn none() -> Self {
        Self {
            metadata: None,
            name: "",
            target: "",
            file: None,
            line: None,
            level: Level::INFO,
            fields: Vec::new(),
            treatments: Vec::new(),
        }
    }

    /// What it feeds, and whether values are to be looked at for that.
    fn feeds(&self, wanted: u8) -> u8 {
        // A callsite that feeds nothing stays one.
        let has_secrets = wanted != 0 && self.treatments.iter().any(|treatment| *treatment != Treatment::Keep);
        if has_secrets { wanted | feeds::SECRET } else { wanted }
    }

    /// The event has a name of its own, which is OpenTelemetry's EventName.
    pub(crate) fn event_name(&self) -> Option<&'static str> {
        Some(self.name).filter(|name| !(name.starts_with("event ") || *name == "log event"))
    }
}

/// Ids and feeds by metadata address, without a lock; strings by id.
///
/// Metadata is `'static`, so its address names it for ever. The table has a fixed number of slots;
/// a program with more callsites than that pays a locked look-up for the rest.
pub(crate) struct CallsiteTable {
    slots: Box<[Slot]>,
    overflow: Mutex<HashMap<usize, (u32, u8)>>,
    all: Sites,
    scrubber: Arc<Scrubber>,
}

struct Slot {
    address: AtomicUsize,
    /// id (32 bits), then feeds (8 bits).
    value: AtomicU64,
}

const SLOTS: usize = 8192;

impl CallsiteTable {
    pub(crate) fn new(scrubber: Arc<Scrubber>) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot { address: AtomicUsize::new(0), value: AtomicU64::new(0) }).collect(),
            overflow: Mutex::new(HashMap::new()),
            all: Sites::default(),
            scrubber,
        }
    }

    /// The id of a callsite and what it feeds. `decide` runs once per callsite.
    #[inline]
    pub(crate) fn get(&self, metadata: &'static Metadata<'static>, decide: impl FnOnce() -> u8) -> (u32, u8) {
        let address = std::ptr::from_ref(metadata).addr();
        for slot in self.probe(address) {
            match slot.address.load(Ordering::Acquire) {
                found if found == address => return unpack(slot.value.load(Ordering::Relaxed)),
                0 => break,
                _ => {}
            }
        }
        self.insert(address, metadata, decide)
    }

    /// Decides anew about every callsite there is.
    pub(crate) fn decide_anew(&self, decide: impl Fn(&'static Metadata<'static>) -> u8) {
        // Under the lock under which new ones are decided.
        let mut overflow = self.overflow.lock();
        let fed = |id: u32, before: u8| {
            let site = self.all.get(id)?;
            Some(site.metadata.map_or(before, |metadata| site.feeds(decide(metadata))))
        };
        for slot in self.slots.iter().filter(|slot| slot.address.load(Ordering::Acquire) != 0) {
            let (id, before) = unpack(slot.value.load(Ordering::Relaxed));
            if let Some(feeds) = fed(id, before) {
                slot.value.store(pack(id, feeds), Ordering::Relaxed);
            }
        }
        for (id, feeds) in overflow.values_mut() {
            *feeds = fed(*id, *feeds).unwrap_or(*feeds);
        }
    }

    /// The callsite behind an id.
    pub(crate) fn by_id(&self, id: u32) -> Option<Arc<Callsite>> {
        self.all.get(id).cloned()
    }

    fn probe(&self, address: usize) -> impl Iterator<Item = &Slot> {
        // Fibonacci hashing: statics are aligned and near each other, their low bits say little.
        let start = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.trailing_zeros());
        (0..16).map(move |step| &self.slots[(start as usize + step) % SLOTS])
    }

    #[cold]
    fn insert(&self, address: usize, metadata: &'static Metadata<'static>, decide: impl FnOnce() -> u8) -> (u32, u8) {
        let mut overflow = self.overflow.lock();
        if let Some(found) = overflow.get(&address) {
            return *found;
        }
        let mut free = None;
        for slot in self.probe(address) {
            match slot.address.load(Ordering::Acquire) {
                found if found == address => return unpack(slot.value.load(Ordering::Relaxed)),
                0 => {
                    free = Some(slot);
                    break;
                }
                _ => {}
            }
        }
        let site = Callsite::new(metadata, &self.scrubber);
        let feeds = site.feeds(decide());
        let id = self.all.push(Arc::new(site));
        match free {
            Some(slot) => {
                slot.value.store(pack(id, feeds), Ordering::Relaxed);
                slot.address.store(address, Ordering::Release);
            }
            None => {
                overflow.insert(address, (id, feeds));
            }
        }
        (id, feeds)
    }
}

/// A list that only grows, and is read without a lock.
#[derive(Default)]
struct Sites {
    next: AtomicU32,
    /// Each twice as long as the one before.
    shelves: [OnceLock<Shelf>; SHELVES],
}

type Shelf = Box<[OnceLock<Arc<Callsite>>]>;

/// Places on the first shelf.
const FIRST: u32 = 256;
const SHELVES: usize = 24;

impl Sites {
    fn push(&self, site: Arc<Callsite>) -> u32 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (shelf, place) = Self::place(id);
        let shelf = self.shelves[shelf].get_or_init(|| (0..FIRST << shelf).map(|_| OnceLock::new()).collect());
        let _ = shelf[place].set(site);
        id
    }

    fn get(&self, id: u32) -> Option<&Arc<Callsite>> {
        let (shelf, place) = Self::place(id);
        self.shelves.get(shelf)?.get()?[place].get()
    }

    fn place(id: u32) -> (usize, usize) {
        let number = u64::from(id) + u64::from(FIRST);
        let shelf = (number / u64::from(FIRST)).ilog2();
        (shelf as usize, (number - (u64::from(FIRST) << shelf)) as usize)
    }
}

fn pack(id: u32, feeds: u8) -> u64 {
    u64::from(id) | u64::from(feeds) << 32
}

fn unpack(value: u64) -> (u32, u8) {
    (value as u32, (value >> 32) as u8)
}
