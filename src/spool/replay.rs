//! Emptying a spool by hand. Comes in: a state directory. Goes out: a line of OTLP JSON for each
//! request in it that is no running process's.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use super::{Adopted, Limits, chain::adopt_all, dir::StateDir};
use crate::otlp::json;

/// What a [`replay`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    records: u64,
    damaged: u64,
}

impl Replayed {
    /// The number of records that were passed on.
    pub fn records(self) -> u64 {
        self.records
    }

    /// Places that could not be read; what was there is lost.
    pub fn damaged(self) -> u64 {
        self.damaged
    }
}

/// A spool could not be replayed. What was not passed on is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The directory cannot be used.
    #[error("the state directory cannot be used: {0}")]
    Directory(String),
    /// Whoever was to take the records could not.
    #[error("a record could not be passed on")]
    Refused(#[source] io::Error),
}

/// Empties a spool by hand: calls `take` with each request that processes which are gone have left,
/// as a line of OTLP JSON, and removes it once `take` has succeeded. What running processes have
/// there is left alone. Needs the `spool` and `json` features. Blocks.
///
/// ```
/// let directory = std::env::temp_dir().join("crumbtrail-doc-replay");
/// let replayed = crumbtrail::spool::replay(&directory, |_line| Ok(()))?;
/// assert_eq!(replayed.records(), 0);
/// # Ok::<(), crumbtrail::spool::ReplayError>(())
/// ```
///
/// # Errors
/// The directory cannot be used, or `take` failed.
pub fn replay(directory: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Result<Replayed, ReplayError> {
    let state = Arc::new(StateDir::open(directory).map_err(|error| ReplayError::Directory(error.to_string()))?);
    let (mut replayed, mut refused) = (Replayed::default(), None);
    adopt_all(&state, Limits::default().age, &Mutex::default(), &mut |signal, found| match found {
        Adopted::Request(ticket, records) if refused.is_none() => {
            let Some(line) = ticket.read().and_then(|body| json::from_protobuf(signal, &body).ok()) else {
                replayed.damaged += 1;
                return ticket.acknowledge();
            };
            match take(&line) {
                Ok(()) => {
                    replayed.records += records;
                    ticket.acknowledge();
                }
                Err(error) => refused = Some(error),
            }
        }
        Adopted::Request(..) => {}
        Adopted::Damaged(places) => replayed.damaged += places,
    });
    match refused {
        Some(error) => Err(ReplayError::Refused(error)),
        None => Ok(replayed),
    }
}

/// Whether a state directory can be used: it is there or can be made, is this user's, writable to
/// nobody else, and no symbolic link.
///
/// # Errors
/// Why not.
pub fn check(directory: &Path) -> Result<(), ReplayError> {
    StateDir::open(directory).map(drop).map_err(|error| ReplayError::Directory(error.to_string()))
}
