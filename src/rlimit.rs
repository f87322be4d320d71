//! Limits of the process that the system does not answer with an error.

/// Bytes up to which a file may be written. A write beyond it would end the process (SIGXFSZ); that
/// goes for files in memory, too.
pub(crate) fn file_size() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX)
}
