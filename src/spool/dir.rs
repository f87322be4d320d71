//! Directories that may be trusted: ours, closed to others, reached without following a link.
//!
//! Whoever can write to the spool can make this service send what they like, and read what it had
//! to say. So every step is relative to an open directory, never follows a symbolic link, and is
//! checked on the open file, not on a name that may change in between.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, unlinkat},
    process::geteuid,
};

use crate::failpoint::step;
use crate::lock::lock;

/// Ends the names of the directories of processes.
const RUN: &str = ".run";
/// Begins those that are not ready yet.
const UNREADY: &str = ".new-";

/// The state directory.
pub(super) struct StateDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// One process's directory, locked for as long as this lives.
pub(super) struct RunDir {
    state: Arc<StateDir>,
    name: String,
    /// Holds the lock. A forked child closes its copy, or the lock would outlive the process.
    fd: Mutex<Option<OwnedFd>>,
    process: u32,
}

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it belongs to another user (uid {0})")]
    Foreign(u32),
    #[error("others may write to it (mode {0:o}); chmod 700 it")]
    Open(u32),
}

impl From<rustix::io::Errno> for Unusable {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl StateDir {
    /// Opens a directory, making it if it is not there (0700).
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            // It is looked at as what it is, below.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let fd = openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty())?;
        ours(&fstat(&fd)?)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory for this process. It gets its name only once it is locked, so nobody takes
    /// it for one whose owner is gone.
    pub(super) fn create_run(self: &Arc<Self>) -> Result<RunDir, Unusable> {
        // Between making and locking another process may take it for a leftover; then there is another one.
        (0..4).find_map(|_| self.try_create_run().ok()).map_or_else(|| self.try_create_run(), Ok)
    }

    fn try_create_run(self: &Arc<Self>) -> Result<RunDir, Unusable> {
        let id = format!("{:032x}", crate::random::random_id());
        let (unready, name) = (format!("{UNREADY}{id}"), format!("{id}{RUN}"));
        step("spool::run::create");
        mkdirat(&self.fd, unready.as_str(), Mode::RWXU)?;
        let fd = openat(&self.fd, unready.as_str(), DIRECTORY, Mode::empty())?;
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        step("spool::run::locked");
        renameat(&self.fd, unready.as_str(), &self.fd, name.as_str())?;
        step("spool::run::ready");
        Ok(RunDir { state: self.clone(), name, fd: Mutex::new(Some(fd)), process: std::process::id() })
    }

    /// The directories of processes that are gone, each locked by us as it comes: one at a time,
    /// for descriptors are the host's.
    pub(super) fn abandoned(self: &Arc<Self>) -> Result<impl Iterator<Item = RunDir>, Unusable> {
        let (state, names) = (self.clone(), names(&self.fd)?);
        Ok(names.into_iter().filter_map(move |name| {
            let name = name.to_str().filter(|name| name.ends_with(RUN) || name.starts_with(UNREADY))?;
            let fd = openat(&state.fd, name, DIRECTORY, Mode::empty()).ok()?;
            ours(&fstat(&fd).ok()?).ok()?;
            rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).ok()?;
            Some(RunDir { state: state.clone(), name: name.to_owned(), fd: Mutex::new(Some(fd)), process: std::process::id() })
        }))
    }
}

impl RunDir {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A new file, for us alone.
    pub(super) fn create(&self, name: &str) -> Result<File, Unusable> {
        self.with(|fd| Ok(File::from(openat(fd, name, FILE | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?)))
    }

    /// A file that is there: a regular one, ours, with one name.
    pub(super) fn open(&self, name: &str) -> Result<File, Unusable> {
        self.with(|fd| {
            let file = openat(fd, name, FILE, Mode::empty())?;
            let stat = fstat(&file)?;
            ours(&stat)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
                return Err(Unusable::Io(io::Error::new(io::ErrorKind::InvalidInput, "not a file of its own")));
            }
            Ok(File::from(file))
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Unusable> {
        self.with(|fd| Ok(unlinkat(fd, name, AtFlags::empty())?))
    }

    pub(super) fn names(&self) -> Result<Vec<String>, Unusable> {
        self.with(|fd| Ok(names(fd)?.into_iter().filter_map(|name| name.into_string().ok()).collect()))
    }

    /// In a forked child: the directory is the parent's. Closing this copy leaves the parent's lock
    /// as it is.
    pub(super) fn disown(&self) {
        // Whoever held it at the fork does not run here, and waiting would be for ever.
        if let Ok(mut fd) = self.fd.try_lock() {
            *fd = None;
        }
    }

    fn with<T>(&self, run: impl FnOnce(&OwnedFd) -> Result<T, Unusable>) -> Result<T, Unusable> {
        match &*lock(&self.fd) {
            Some(fd) => run(fd),
            None => Err(Unusable::Io(io::Error::other("it is another process's"))),
        }
    }
}

impl Drop for RunDir {
    /// If nothing is left in it, it goes.
    fn drop(&mut self) {
        if self.process == std::process::id() && self.fd.get_mut().is_ok_and(|fd| fd.is_some()) {
            let _ = unlinkat(&self.state.fd, self.name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}

/// Ours, and nobody else may write to it.
fn ours(stat: &Stat) -> Result<(), Unusable> {
    #[allow(clippy::useless_conversion, reason = "it is 16 bits wide on some systems")]
    let mode = u32::from(stat.st_mode) & 0o7777;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Unusable::Foreign(stat.st_uid));
    }
    if mode & 0o022 != 0 {
        return Err(Unusable::Open(mode));
    }
    Ok(())
}

fn names(directory: impl AsFd) -> Result<Vec<std::ffi::OsString>, Unusable> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
