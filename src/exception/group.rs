//! The group of an exception: one id for one defect.
//!
//! Version 4 hashes what the programmer wrote and nothing that a build, a restart, another machine,
//! a variable of the environment or an edit elsewhere in the file changes. In this order:
//!
//! | raised by | place | said | function | text |
//! |---|---|---|---|---|
//! | event | its target | the literals of its message, or its fields' names | its own, if neither message nor error has a literal | the literals of the error's text |
//! | capture | source file | | the own function it was captured in | as above |
//! | panic | source file | the message if it is a literal, else what the standard library says before its values | the own function that panicked | its words, if the function is not known |
//!
//! together with the types of the error and its causes (without generic arguments), and, of an
//! error that is an enumeration, which of its variants it is: the names in its `Debug` text
//! ([`variant`](super::variant)), so that `QuotaExceeded` and `PaymentDeclined` of one `AppError`
//! are two defects. A text that stands in the program as it is counts as a literal, also where the
//! error has a copy of it (`"disk is full".into()`). Words that came from a variable never count
//! where literals can be told from them (on Linux): `bail!("user {user} has no cart")` is one
//! group, whoever the users are. Never hashed: lines, addresses, hashes in symbols, the numbers of
//! closures, the stack that an error brings (which depends on `RUST_BACKTRACE`), frames further out
//! (they differ with inlining and tail calls). A function counts with the type or module it is in;
//! debug information of `line-tables-only` knows less of inlined ones, so such builds have ids of
//! their own.
//!
//! The coarse id is made of what needs no names: kind, place, and the type of an error that was
//! captured as what it is. It is the same whether or not there was time, or debug information, to
//! name types and functions; the group's id is marked as provisional
//! (`crumbtrail.group.provisional`) where there was not.

use std::fmt;

use crate::stack::{resolve::Frame, symbols::without_arguments};

/// Says which algorithm made an id; part of every id.
const VERSION: u8 = 4;

/// The id of a group: `v4-` and 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupId(u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{VERSION}-{:016x}", self.0)
    }
}

impl GroupId {
    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text.split_once('-')?.1, 16).ok().map(Self)
    }

    /// A group that the program names itself.
    pub(crate) fn explicit(name: &str) -> Self {
        let mut hash = Fnv::new();
        hash.part("explicit");
        hash.part(name);
        Self(hash.0)
    }
}

/// What a group is made of.
pub(crate) struct Grouping<'a> {
    pub(crate) is_panic: bool,
    /// Types of the error and its causes; empty where not known.
    pub(crate) types: &'a [&'a str],
    /// An event's target; a source file otherwise.
    pub(crate) place: &'a str,
    /// The error's type where it is known without looking at symbols: it was captured as what it
    /// is.
    pub(crate) static_type: &'a str,
    /// What the programmer wrote of it.
    pub(crate) said: &'a str,
    /// The own function it was raised in, if that is known and says more than the place.
    pub(crate) function: Option<&'a str>,
    /// What the programmer wrote of the error.
    pub(crate) text: Option<&'a str>,
    /// The names in its `Debug` text.
    pub(crate) variant: &'a str,
}

impl Grouping<'_> {
    /// The group, and the coarser one it is in.
    pub(crate) fn ids(&self) -> (GroupId, GroupId) {
        let mut hash = Fnv::new();
        hash.part(if self.is_panic { "panic" } else { "error" });
        hash.part(&portable_path(self.place));
        hash.part(&without_arguments(self.static_type));
        let coarse = hash.0;
        hash.part(self.said);
        for name in self.types {
            // Generic arguments differ where the defect does not.
            hash.part(&without_arguments(name));
        }
        hash.part(&self.function.map(qualified_name).unwrap_or_default());
        hash.part(self.text.unwrap_or_default());
        hash.part(self.variant);
        (GroupId(hash.0), GroupId(coarse))
    }
}

/// The own function that raised it: the one at a place in the source if its frame is there, else
/// the innermost in that file, else the innermost.
pub(crate) fn raising_function<'a>(frames: &'a [Frame], place: Option<(&str, u32)>) -> Option<&'a str> {
    let own = || frames.iter().filter(|frame| frame.in_app);
    let in_file = |frame: &&Frame| place.is_some_and(|(file, _)| frame.file.as_deref().is_some_and(|known| same_file(known, file)));
    let at_line = |frame: &&Frame| in_file(frame) && frame.line == place.map(|(_, line)| line);
    let found = own().find(at_line).or_else(|| own().find(in_file)).or_else(|| own().next())?;
    Some(&found.function)
}

/// The function at a place in the source, own or not, if its frame is there; else one in that file.
pub(crate) fn function_at<'a>(frames: &'a [Frame], (file, line): (&str, u32)) -> Option<&'a str> {
    let in_file = |frame: &&Frame| frame.file.as_deref().is_some_and(|known| same_file(known, file));
    let found = frames.iter().filter(in_file).find(|frame| frame.line == Some(line)).or_else(|| frames.iter().find(in_file))?;
    Some(&found.function)
}

/// One path is what the compiler was given, the other may be absolute.
fn same_file(left: &str, right: &str) -> bool {
    left.ends_with(right) || right.ends_with(left)
}

/// The last two names of a function's path, such as `Cart::add`: those of the function a closure or
/// future is in.
pub(crate) fn qualified_name(function: &str) -> String {
    // `<shop::Cart as shop::Add>::add` and `<shop::Cart>::add` are methods of `Cart`.
    let (of, rest) = match function.strip_prefix('<').and_then(|rest| rest.split_once(">::")) {
        Some((of, rest)) => (of.split(" as ").next().unwrap_or(of), rest),
        None => ("", function),
    };
    let of = of.trim_start_matches(['&', ' ']).trim_start_matches("mut ");
    let names = of.split("::").chain(rest.split("::")).map(|name| name.trim_matches(['&', ' ']));
    let names: Vec<&str> = names.filter(|name| !(name.is_empty() || name.starts_with('{'))).collect();
    names[names.len().saturating_sub(2)..].join("::")
}

/// What the standard library says before the values of a panic message that is not a literal.
pub(crate) fn standard_panic(message: &str) -> Option<&str> {
    const BEGINNINGS: [&str; 14] = [
        "called `",
        "index out of bounds",
        "assertion `",
        "assertion failed",
        "range start index",
        "range end index",
        "slice index",
        "byte index",
        "start byte index",
        "end byte index",
        "already borrowed",
        "already mutably borrowed",
        "internal error: entered unreachable code",
        "not implemented",
    ];
    BEGINNINGS.iter().find(|beginning| message.starts_with(**beginning))?;
    let end = message.find(": ").or_else(|| message.find(|next: char| next.is_ascii_digit())).unwrap_or(message.len());
    Some(message[..end].trim_end())
}

/// A message with what varies from case to case replaced by `#`, where its literals are not known:
/// quoted text, and every word that holds a digit.
pub(crate) fn mask(message: &str) -> String {
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

/// FNV-1a, 64 bits: stable for ever, unlike the standard library's hasher.
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) fn part(&mut self, text: &str) {
        for byte in text.bytes().chain([0xFF]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

/// A source path without what differs between machines: the registry's folder, the compiler's
/// commit, the direction of slashes, the absolute start.
pub(crate) fn portable_path(path: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_for_where_literals_are_not_known() {
        for (left, right) in [
            ("user 42 not found", "user 7 not found"),
            ("no such file: \"/tmp/a\"", "no such file: \"/var/b c\""),
            ("order 9f86d081-884c-4d65-9a2f-eaa0c55ad015 failed", "order 00000000-884c-4d65-9a2f-eaa0c55ad015 failed"),
            ("took 1.5ms", "took 12.75ms"),
        ] {
            assert_eq!(mask(left), mask(right), "{left} / {right}");
        }
        assert_eq!(mask("it's 'quoted' and it's not"), "it's # and it's not");
    }

    #[test]
    fn the_machine_does_not_matter() {
        assert_eq!(
            portable_path("/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/foo-1.0.0/src/lib.rs"),
            portable_path("C:\\Users\\b\\.cargo\\registry\\src\\github.com-1ecc6299db9ec823\\foo-1.0.0\\src\\lib.rs"),
        );
        assert_eq!(portable_path("/rustc/abc/library/core/src/option.rs"), portable_path("/rustc/def/library/core/src/option.rs"));
        assert_eq!(portable_path("/build/1/shop/src/main.rs"), portable_path("/build/2/shop/src/main.rs"));
    }

    #[test]
    fn a_function_is_named_with_its_type_or_module() {
        for name in [
            "shop::Cart::add",
            "<shop::Cart as shop::Add>::add",
            "<&mut shop::Cart as shop::Add>::add::{closure#0}",
            "shop::Cart::add::{{closure}}",
            "<shop::Cart>::add::{closure#0}::{closure#2}",
        ] {
            assert_eq!(qualified_name(name), "Cart::add", "{name}");
        }
        assert_eq!((qualified_name("shop::pay").as_str(), qualified_name("pay").as_str()), ("shop::pay", "pay"));
    }

    #[test]
    fn the_standard_librarys_panics_lose_their_values() {
        for (message, expected) in [
            ("called `Result::unwrap()` on an `Err` value: Os { code: 2 }", Some("called `Result::unwrap()` on an `Err` value")),
            ("index out of bounds: the len is 3 but the index is 7", Some("index out of bounds")),
            ("assertion `left == right` failed: it must\n  left: 1", Some("assertion `left == right` failed")),
            ("range end index 9 out of range for slice of length 3", Some("range end index")),
            ("user ada has no cart", None),
        ] {
            assert_eq!(standard_panic(message), expected, "{message}");
        }
    }

    /// An id that is stored in alerts must not change under a version.
    #[test]
    fn version_4_is_fixed() {
        let group = Grouping {
            is_panic: false,
            types: &["shop::Declined<u32>", "core::num::error::ParseIntError"],
            place: "src/payment.rs",
            static_type: "shop::Declined<u32>",
            said: "",
            function: Some("shop::payment::charge::{closure#0}"),
            text: None,
            variant: "Declined",
        };
        let (group, coarse) = group.ids();
        assert_eq!((group.to_string(), coarse.to_string()), ("v4-7c8b7d82d9d8e397".to_owned(), "v4-a142c5ee080ea53e".to_owned()));
    }
}
