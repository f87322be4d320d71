//! Texts within limits. Comes in: what a program's own code formats, of any length, perhaps
//! panicking. Goes out: so much of it as there is room for, whole characters.

use std::fmt::{self, Write as _};

use crate::{stack::read_only::Template, unwind::guarded};

/// Stands for what panicked while it was shown.
pub(crate) const PANICKED: &str = "<panicked>";

/// The longest prefix of at most `limit` bytes that ends on a character boundary.
#[inline]
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit { text } else { shorter(text, limit) }
}

#[cold]
fn shorter(text: &str, limit: usize) -> &str {
    &text[..(0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)]
}

/// A stranger's text on one line, without control characters, so that a terminal or a log shows
/// what it is. At most `limit` bytes.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let before = shown.len();
        // Direction marks would show other texts in another order.
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() > limit {
            shown.truncate(before);
            shown.push('…');
            break;
        }
    }
    shown
}

/// An error and its causes, as far as they are short: `saving failed: disk full`. The program's
/// code.
#[cfg(feature = "console")]
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    const ENOUGH: usize = 4_000;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source.filter(|_| text.len() < ENOUGH) {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// As [`cut`].
pub(crate) fn truncate(text: &mut String, limit: usize) {
    text.truncate(cut(text, limit).len());
}

/// Formats into `out` up to `room` bytes. The program's code runs: where it fails, `<error in fmt>`
/// is written; where it panics, [`PANICKED`]. Returns whether something was cut.
#[inline]
pub(crate) fn show(text: fmt::Arguments<'_>, room: usize, out: &mut Vec<u8>, template: Option<&mut Template<'_>>) -> bool {
    let mut writer = Bounded { out, room, truncated: false, template };
    let outcome = guarded(|| writer.write_fmt(text));
    let truncated = writer.truncated;
    match outcome {
        Some(Ok(())) => {}
        Some(Err(_)) if truncated => {}
        Some(Err(_)) => out.extend_from_slice(b"<error in fmt>"),
        None => out.extend_from_slice(PANICKED.as_bytes()),
    }
    truncated
}

/// As [`show`], into a text of its own.
pub(crate) fn shown(text: fmt::Arguments<'_>, room: usize, template: Option<&mut Template<'_>>) -> String {
    let mut out = Vec::with_capacity(room.min(128));
    show(text, room, &mut out, template);
    String::from_utf8(out).unwrap_or_default()
}

/// Takes text up to a limit, then asks the formatter to stop.
struct Bounded<'a, 'b, 'c> {
    out: &'a mut Vec<u8>,
    room: usize,
    truncated: bool,
    template: Option<&'b mut Template<'c>>,
}

impl fmt::Write for Bounded<'_, '_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(template) = &mut self.template {
            template.push(text);
        }
        let taken = cut(text, self.room);
        self.out.extend_from_slice(taken.as_bytes());
        self.room -= taken.len();
        if taken.len() < text.len() {
            self.truncated = true;
            self.room = 0;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("é")?;
            }
        }
    }

    struct Panics;

    impl fmt::Display for Panics {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("so far ")?;
            panic!("in Display")
        }
    }

    #[test]
    fn a_text_ends_at_its_limit_on_a_whole_character() {
        assert_eq!((cut("añb", 2), cut("añb", 3), cut("añb", 9), cut("ñ", 0)), ("a", "añ", "añb", ""));
        assert_eq!(shown(format_args!("{Endless}"), 5, None), "éé");
        assert_eq!(shown(format_args!("whole"), 5, None), "whole");
    }

    /// Report D6.
    #[test]
    fn a_strangers_text_is_shown_on_one_line() {
        assert_eq!(printable("no\u{1b}[2J\ncrumbtrail: all is well\u{202E}", 100), "no\\u{1b}[2J\\ncrumbtrail: all is well\\u{202e}");
        assert_eq!(printable(&"x".repeat(4_000_000), 10), "xxxxxxxxxx…");
    }

    #[test]
    fn code_that_panics_leaves_what_it_wrote() {
        assert_eq!(shown(format_args!("{Panics}"), 100, None), "so far <panicked>");
    }
}
