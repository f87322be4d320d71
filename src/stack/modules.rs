//! The files that this process runs from. Comes in: `/proc/self/maps`. Goes out: which file an
//! address is in and where there, and the file's contents as they were when it was mapped.
//!
//! A path says little: a deploy puts another program there while this one runs. So the program
//! itself is read through `/proc/self/exe`, which leads to what runs whatever became of its name,
//! and which the kernel lets nobody change. A library is believed if its first page, which has the
//! build id, is the one in memory; then it is copied before it is used, because it may yet be
//! overwritten in place, and reading what was cut off a mapped file ends the process (SIGBUS).

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::maps;

/// One executable mapping of a file into this process.
pub(super) struct Module {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) offset: u64,
    /// As the kernel names it.
    pub(super) path: Arc<str>,
    /// Where the file's beginning is mapped.
    head: Option<usize>,
}

/// The end of the name of a file that is no more, or is another by now.
const DELETED: &str = " (deleted)";
/// Leads to the running program.
pub(super) const RUNNING: &str = "/proc/self/exe";
/// Bytes that are compared.
const HEAD: usize = 4096;
/// A library larger than this is not copied.
const MAX_COPY: u64 = 64 << 20;

impl Module {
    pub(super) fn holds(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The file's name, without its folder.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        let path = self.path.strip_suffix(DELETED).unwrap_or(&self.path);
        Some(Path::new(path).file_name()?.to_string_lossy().into())
    }

    /// A path at which its contents can be mapped without fear, and what keeps them there. `None`:
    /// they are not to be had.
    pub(super) fn contents(&self) -> Option<(PathBuf, Option<File>)> {
        if std::fs::read_link(RUNNING).is_ok_and(|running| *running == *Path::new(&*self.path)) {
            return Some((RUNNING.into(), None));
        }
        let mut file = File::open(&*self.path).ok()?;
        let length = file.metadata().ok()?.len();
        if length > MAX_COPY || !self.is_mapped_from(&mut file)? {
            return None;
        }
        copied(file)
    }

    fn is_mapped_from(&self, file: &mut File) -> Option<bool> {
        let (mut mapped, mut on_disk) = ([0; HEAD], [0; HEAD]);
        let mut memory = File::open("/proc/self/mem").ok()?;
        memory.seek(SeekFrom::Start(self.head? as u64)).ok()?;
        memory.read_exact(&mut mapped).ok()?;
        file.read_exact(&mut on_disk).ok()?;
        file.rewind().ok()?;
        Some(mapped == on_disk)
    }
}

/// A copy that nobody else can change.
#[cfg(target_os = "linux")]
fn copied(file: File) -> Option<(PathBuf, Option<File>)> {
    use std::os::fd::AsRawFd as _;
    // No more than that, should it grow meanwhile.
    let length = file.metadata().ok()?.len();
    if length > crate::rlimit::file_size() {
        return None;
    }
    let memory = rustix::fs::memfd_create("crumbtrail", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
    let mut copy = File::from(memory);
    std::io::copy(&mut file.take(length), &mut copy).ok()?;
    Some((format!("/proc/self/fd/{}", copy.as_raw_fd()).into(), Some(copy)))
}

#[cfg(not(target_os = "linux"))]
fn copied(_: File) -> Option<(PathBuf, Option<File>)> {
    None
}

/// The executable mappings.
pub(super) fn of_this_process() -> Vec<Module> {
    let maps = maps::read();
    let mut head: Option<(&str, usize)> = None;
    let mut modules = Vec::new();
    for mapping in maps::of_files(&maps) {
        // A file's mappings follow each other.
        if mapping.offset == 0 {
            head = Some((mapping.path, mapping.start));
        }
        if mapping.permissions.contains('x') {
            modules.push(Module {
                start: mapping.start,
                end: mapping.end,
                offset: mapping.offset,
                path: mapping.path.into(),
                head: head.filter(|(path, _)| *path == mapping.path).map(|(_, start)| start),
            });
        }
    }
    modules
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_its_libraries_are_found_and_can_be_read() {
        let modules = of_this_process();
        let own = modules.iter().find(|module| module.holds(of_this_process as *const () as usize)).expect("this code");
        assert_eq!(own.contents().map(|(path, _)| path), Some(RUNNING.into()));
        let library = modules.iter().find(|module| module.path.contains("libc.so")).expect("the C library");
        let (path, copy) = library.contents().expect("it is there");
        assert!(path.starts_with("/proc/self/fd") && copy.is_some());
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(&*library.path).unwrap());
    }

    /// Report A10: another file has taken its place.
    #[test]
    fn a_file_that_is_not_the_mapped_one_is_not_believed() {
        let modules = of_this_process();
        let library = modules.iter().find(|module| module.path.contains("libc.so")).expect("the C library");
        let other = std::env::current_exe().unwrap();
        let mistaken = Module { path: other.to_str().unwrap().into(), ..Module { path: "".into(), ..*library } };
        // The program's own path is the one exception: it stands for what runs.
        let copy = std::env::temp_dir().join(format!("crumbtrail-other-{}", std::process::id()));
        std::fs::copy(&other, &copy).unwrap();
        let swapped = Module { path: copy.to_str().unwrap().into(), ..mistaken };
        assert!(swapped.contents().is_none());
        let gone = Module { path: format!("{}{DELETED}", copy.display()).into(), ..swapped };
        assert!(gone.contents().is_none());
        assert_eq!(gone.name().as_deref(), copy.file_name().and_then(|name| name.to_str()));
        std::fs::remove_file(&copy).unwrap();
    }
}
