//! The spool: requests that could not be delivered yet wait on disk, and survive the process
//! ([`Builder::with_state_dir`](crate::Builder::with_state_dir)). Comes in: encoded requests. Goes
//! out: the same, to the lane that wrote them or to the next process. Here in public is only how to
//! empty one by hand.
//!
//! ```text
//! <state directory>/                   0700, ours
//!   3f0c….run/                         one for each running process, locked (flock) while it lives
//!     exceptions-00000001.seg          frames; see `frame.rs`
//!     exceptions-00000002.seg
//! ```
//!
//! A request is a frame of its own, so that a damaged byte costs one request and never the store.
//! Exceptions are written one to a frame, before they are first sent. A frame is marked when its
//! request is acknowledged; a full segment with nothing left in it is deleted. A process that
//! starts, and every process once a minute, takes over the directories whose owner is gone. Files
//! are written, not synced: they survive the process, not the machine.
//!
//! Nothing here is trusted that another user could have written: see `dir.rs`.

#[cfg(not(all(feature = "spool", unix)))]
mod absent;
#[cfg(all(feature = "spool", unix))]
mod chain;
#[cfg(all(feature = "spool", unix))]
mod dir;
#[cfg(feature = "spool")]
pub(crate) mod frame;
pub(crate) mod moment;
#[cfg(all(feature = "spool", feature = "json", unix))]
mod replay;
#[cfg(all(feature = "spool", unix))]
mod segment;

#[cfg(not(all(feature = "spool", unix)))]
pub(crate) use self::absent::{Chain, Spool, Ticket, Writer};
#[cfg(all(feature = "spool", feature = "json", unix))]
pub use self::replay::{ReplayError, Replayed, check, replay};
#[cfg(all(feature = "spool", unix))]
pub(crate) use self::{
    chain::{Chain, Spool, Writer},
    segment::Ticket,
};

pub(crate) use self::moment::Moment;

/// How much may lie on disk, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of one signal.
    pub(crate) bytes: u64,
    /// Age of a record.
    pub(crate) age: std::time::Duration,
}

impl Limits {
    /// A file takes no new request beyond this: small enough that the oldest of them can make room.
    #[cfg(all(feature = "spool", unix))]
    fn segment(self) -> u64 {
        (self.bytes / 16).clamp(32 << 10, 4 << 20)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, age: std::time::Duration::from_secs(72 * 3600) }
    }
}

/// A request to be written.
#[derive(Clone, Copy)]
#[cfg_attr(not(all(feature = "spool", unix)), expect(dead_code, reason = "there is no spool"))]
pub(crate) struct Entry<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) records: u64,
    /// From then on it ages.
    pub(crate) written: Moment,
}

/// What a process that is gone has left: a request and its number of records, or places that are
/// damaged.
#[cfg_attr(not(all(feature = "spool", unix)), expect(dead_code, reason = "there is no spool"))]
pub(crate) enum Adopted {
    Request(Ticket, u64),
    Damaged(u64),
}
