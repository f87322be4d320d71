//! What type an error behind a trait object has, as far as the caller can tell at once. The worker
//! may know better, by its symbols.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use crate::{text::cut, unwind::guarded};

/// The type of an error behind a trait object, of whose `Debug` text this is the [first
/// line](debug_line): exact for the standard library's errors, else a [guess].
pub(crate) fn type_of<'a>(error: &(dyn Error + 'static), line: &'a str) -> (&'a str, bool) {
    macro_rules! known {
        ($($type:ty),* $(,)?) => { $( if error.is::<$type>() { return (std::any::type_name::<$type>(), true); } )* };
    }
    known!(
        std::io::Error,
        std::fmt::Error,
        std::num::ParseIntError,
        std::num::ParseFloatError,
        std::num::TryFromIntError,
        std::str::Utf8Error,
        std::string::FromUtf8Error,
        std::env::VarError,
        std::net::AddrParseError,
        std::time::SystemTimeError,
        std::sync::mpsc::RecvError,
    );
    (guess(line), false)
}

/// The first line of an error's `Debug` text, or what of it is looked at: its type may be guessed
/// from it, and it is known again by it where that text is all there is. The formatter is stopped
/// there, for behind it an error library would begin to name the frames of a stack. User code, so
/// it may panic.
pub(crate) fn debug_line(error: &dyn fmt::Debug) -> String {
    let mut line = FirstLine(String::new());
    let _ = guarded(|| write!(line, "{error:?}"));
    line.0
}

/// Takes a text up to the end of its first line, or of what is looked at.
struct FirstLine(String);

impl fmt::Write for FirstLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const ENOUGH: usize = 1024;
        let line = text.split('\n').next().unwrap_or_default();
        self.0.push_str(cut(line, ENOUGH.saturating_sub(self.0.len())));
        if line.len() < text.len() || self.0.len() + 4 > ENOUGH { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The head of a `Debug` text, if it looks like the name of a type (`Declined { code: 5 }` →
/// `Declined`), else nothing.
pub(crate) fn guess(text: &str) -> &str {
    let end = text.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_')).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    let is_like_one = head.starts_with(|first: char| first.is_ascii_uppercase())
        && (rest.is_empty() || rest.trim_start_matches(' ').starts_with(['(', '{']));
    if is_like_one { cut(head, MAX_GUESS) } else { "" }
}

/// Bytes of a guessed type's name.
const MAX_GUESS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_a_type_or_nothing() {
        #[derive(Debug)]
        struct Declined {
            _code: u8,
        }
        #[derive(Debug)]
        struct Empty;
        assert_eq!(guess(&debug_line(&Declined { _code: 5 })), "Declined");
        assert_eq!(guess(&debug_line(&Empty)), "Empty");
        assert_eq!(guess("Connection refused"), "");
        assert_eq!(guess("Tuple (5)"), "Tuple");
        assert_eq!(guess(&debug_line(&"Quoted")), "");
        assert_eq!(guess("payment failed"), "");
        assert_eq!(debug_line(&format_args!("first\nsecond")), "first");
    }

    #[test]
    fn the_standard_librarys_errors_are_known() {
        let error = "x".parse::<u8>().unwrap_err();
        assert_eq!(type_of(&error, "ParseIntError"), ("core::num::error::ParseIntError", true));
    }
}
