//! What waits on disk when it cannot be delivered: where, how much, for how long, and of which
//! signals.

use std::{path::PathBuf, time::Duration};

use super::Builder;

impl Builder {
    /// Where undelivered exceptions wait on disk (`CRUMBTRAIL_STATE_DIR`, or a directory
    /// `crumbtrail` in systemd's `$STATE_DIRECTORY`). Without one they wait in memory and end with
    /// the process.
    ///
    /// Several processes may share a directory; each has its own part of it, and takes over what a
    /// process that is gone has left. The directory is made if it is not there (mode 0700). It must
    /// belong to this user, be writable to nobody else, and not be a symbolic link; otherwise it is
    /// not used, which is said once. Needs the `spool` feature, which is on by default, and Unix.
    pub fn with_state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.code.spool.directory = Some(path.into());
        self
    }

    /// How much may wait on disk, of each signal, in bytes; 64 MiB by default, 1 MiB at least. The
    /// oldest makes room, and is counted.
    pub fn with_spool_limit(mut self, bytes: u64) -> Self {
        self.code.spool.bytes = Some(bytes);
        self
    }

    /// How long an undelivered record may wait on disk; 72 h by default.
    pub fn with_spool_age(mut self, age: Duration) -> Self {
        self.code.spool.age = Some(age);
        self
    }

    /// Whether log records that cannot be delivered go to disk, as exceptions always do where there
    /// is a [state directory](Self::with_state_dir); not by default. They are written a batch at a
    /// time, from the first failure on and at shutdown.
    pub fn with_spooled_logs(mut self, spooled: bool) -> Self {
        self.code.signals.logs.spooled = Some(spooled);
        self
    }

    /// Whether spans that cannot be delivered go to disk; not by default. See
    /// [logs](Self::with_spooled_logs).
    pub fn with_spooled_spans(mut self, spooled: bool) -> Self {
        self.code.signals.traces.spooled = Some(spooled);
        self
    }

    /// Whether metrics that cannot be delivered go to disk; not by default. See
    /// [logs](Self::with_spooled_logs).
    pub fn with_spooled_metrics(mut self, spooled: bool) -> Self {
        self.code.signals.metrics.spooled = Some(spooled);
        self
    }
}
