//! What of a text is the same every time: the parts that lie in the program's read-only data. The
//! rest came from variables.
//!
//! `format!("user {name} not found")` writes two literals and a variable, one after the other;
//! where each piece lies tells which is which. So messages can be grouped by what the programmer
//! wrote, and nothing is guessed from the text.

use std::ops::Range;

use super::maps;

/// The read-only mappings of files into this process, in order. Empty where the system does not
/// tell.
#[derive(Default)]
pub(crate) struct ReadOnlyRanges(Vec<Range<usize>>);

/// Bytes of a template at most.
const MAX_TEMPLATE: usize = 256;

impl ReadOnlyRanges {
    /// As it is now: what is loaded later counts as variable.
    pub(crate) fn of_this_process() -> Self {
        let maps = maps::read();
        let read_only = maps::of_files(&maps).filter(|mapping| mapping.permissions.starts_with("r-"));
        Self(read_only.map(|mapping| mapping.start..mapping.end).collect())
    }

    /// Of a text to come: its literals, with `{}` for what is between them. `None` where literals
    /// cannot be told from variables.
    pub(crate) fn begin(&self) -> Option<Template<'_>> {
        self.are_known().then(|| Template { literals: self, text: String::new() })
    }

    /// Whether literals can be told from variables here.
    pub(crate) fn are_known(&self) -> bool {
        !self.0.is_empty()
    }

    fn hold(&self, piece: &str) -> bool {
        let start = piece.as_ptr().addr();
        self.0.iter().any(|range| range.contains(&start))
    }
}

/// The literals of a text that is being written.
pub(crate) struct Template<'a> {
    literals: &'a ReadOnlyRanges,
    text: String,
}

impl Template<'_> {
    /// The next piece.
    pub(crate) fn push(&mut self, piece: &str) {
        if piece.is_empty() || self.text.len() > MAX_TEMPLATE {
            return;
        }
        // The table that numbers are formatted from is read-only, too; no word consists of digits.
        if self.literals.hold(piece) && !piece.bytes().all(|byte| byte.is_ascii_digit()) {
            self.text.push_str(piece);
        } else if !self.text.ends_with("{}") {
            self.text.push_str("{}");
        }
    }

    pub(crate) fn finish(mut self) -> String {
        crate::text::truncate(&mut self.text, MAX_TEMPLATE);
        self.text
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn literals_are_told_from_variables() {
        let literals = ReadOnlyRanges::of_this_process();
        let template = |text: std::fmt::Arguments<'_>| {
            let mut template = literals.begin().expect("the system tells");
            crate::text::shown(text, 1_000, Some(&mut template));
            template.finish()
        };
        let (name, number) = (String::from("ada"), std::hint::black_box(17));
        assert_eq!(template(format_args!("user {name} not found")), "user {} not found");
        assert_eq!(template(format_args!("{number} of {:>8} and {:?}", name, Some(name.clone()))), "{} of {} and Some({})");
        assert_eq!(template(format_args!("the same every time")), "the same every time");
        assert_eq!(template(format_args!("{}{number:03}", std::hint::black_box('c'))), "{}");
        assert_eq!(template(format_args!("{}", "x".parse::<u8>().unwrap_err())), "invalid digit found in string");
        assert!(ReadOnlyRanges::default().begin().is_none());
    }
}
