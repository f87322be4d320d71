//! The files that are mapped into this process. Comes in: `/proc/self/maps`. Goes out: a mapping
//! each.

/// The table as it is now; empty where the system has none.
pub(super) fn read() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap_or_default()
}

/// A line each: `start-end permissions offset device inode path`. In the order of addresses; a
/// file's mappings follow each other.
pub(super) fn of_files(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    maps.lines().filter_map(Mapping::parse)
}

pub(super) struct Mapping<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) offset: u64,
    /// `r-xp`.
    pub(super) permissions: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Mapping<'a> {
    /// `None`: it is no file's.
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split_ascii_whitespace();
        let (start, end) = parts.next()?.split_once('-')?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            permissions: parts.next()?,
            offset: u64::from_str_radix(parts.next()?, 16).ok()?,
            path: &line[line.find('/')?..],
        })
    }
}
