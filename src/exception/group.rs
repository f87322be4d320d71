//! The group of an exception: one id for one defect.
//!
//! Version 1 hashes only what no build, restart or edit elsewhere in the file changes: how it was raised, the types of the error and its causes, and the place — for an event its target and masked message, for a capture or panic the source file. No line, no address, no frame.

use std::fmt;

/// Says which algorithm made an id; part of every id.
const VERSION: u8 = 1;

/// The id of a group: `v1-` and 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupId(u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{VERSION}-{:016x}", self.0)
    }
}

/// What the group is made of.
pub(crate) struct Grouping<'a> {
    pub(crate) mechanism: &'a str,
    /// Types of the error and its causes, as far as known.
    pub(crate) types: &'a [&'a str],
    /// An event's target; a source file otherwise.
    pub(crate) place: &'a str,
    /// Hashed with its variable parts masked.
    pub(crate) message: Option<&'a str>,
}

impl Grouping<'_> {
    pub(crate) fn id(&self) -> GroupId {
        let mut hash = Fnv::new();
        hash.part(self.mechanism);
        for name in self.types {
            // Generic arguments differ where the defect does not.
            hash.part(name.split('<').next().unwrap_or(name));
        }
        hash.part(&portable_path(self.place));
        hash.part(&self.message.map(mask).unwrap_or_default());
        GroupId(hash.0)
    }
}

/// FNV-1a, 64 bits: stable for ever, unlike the standard library's hasher.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    fn part(&mut self, text: &str) {
        for byte in text.bytes().chain([0xFF]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

/// A source path without what differs between machines: the registry's folder, the compiler's commit, the direction of slashes, the absolute start.
fn portable_path(path: &str) -> String {
    let path = path.replace('\\', "/");
    for marker in ["/registry/src/", "/git/checkouts/", "/rustc/"] {
        if let Some((_, rest)) = path.split_once(marker) {
            return rest.split_once('/').map_or(rest, |(_index, rest)| rest).to_owned();
        }
    }
    match path.strip_prefix('/').and_then(|_| path.rfind("/src/")) {
        Some(at) => path[at + 1..].to_owned(),
        None => path,
    }
}

/// A message with what varies from case to case replaced by `#`: quoted text, and every word that holds a digit.
fn mask(message: &str) -> String {
    let mut masked = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'' | '`')
            && let Some(end) = rest[1..].find(first).filter(|_| !masked.ends_with(char::is_alphanumeric))
        {
            masked.push('#');
            rest = &rest[end + 2..];
        } else if first.is_alphanumeric() {
            let end = rest.find(|next: char| !(next.is_alphanumeric() || matches!(next, '_' | '-' | '.'))).unwrap_or(rest.len());
            let word = &rest[..end];
            masked.push_str(if word.contains(|next: char| next.is_ascii_digit()) { "#" } else { word });
            rest = &rest[end..];
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str) -> GroupId {
        Grouping { mechanism: "event", types: &[], place: "shop::cart", message: Some(message) }.id()
    }

    #[test]
    fn what_varies_from_case_to_case_does_not_split_a_group() {
        for (left, right) in [
            ("user 42 not found", "user 7 not found"),
            ("no such file: \"/tmp/a\"", "no such file: \"/var/b c\""),
            ("order 9f86d081-884c-4d65-9a2f-eaa0c55ad015 failed", "order 00000000-884c-4d65-9a2f-eaa0c55ad015 failed"),
            ("took 1.5ms", "took 12.75ms"),
        ] {
            assert_eq!(event(left), event(right), "{left} / {right}");
        }
        assert_ne!(event("user 42 not found"), event("order 42 not found"));
        assert_eq!(mask("it's 'quoted' and it's not"), "it's # and it's not");
    }

    #[test]
    fn the_machine_does_not_matter() {
        let place = |place: &str| Grouping { mechanism: "panic", types: &["panic"], place, message: None }.id();
        assert_eq!(
            place("/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/foo-1.0.0/src/lib.rs"),
            place("C:\\Users\\b\\.cargo\\registry\\src\\github.com-1ecc6299db9ec823\\foo-1.0.0\\src\\lib.rs"),
        );
        assert_eq!(place("/rustc/abc/library/core/src/option.rs"), place("/rustc/def/library/core/src/option.rs"));
        assert_eq!(place("/build/1/shop/src/main.rs"), place("/build/2/shop/src/main.rs"));
        assert_ne!(place("src/cart.rs"), place("src/main.rs"));
    }

    /// An id that is stored in alerts must not change under a version.
    #[test]
    fn version_1_is_fixed() {
        let group = Grouping {
            mechanism: "capture",
            types: &["shop::Declined<u32>", "core::num::error::ParseIntError"],
            place: "src/payment.rs",
            message: None,
        };
        assert_eq!(group.id().to_string(), "v1-e1b3e75c94db06dd");
    }
}
