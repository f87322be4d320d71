//! A secret's key that stands before it without a sign: `("password", "x")`, `--password x`,
//! `<password>x`, `{"name": "password", "value": "x"}`, a part of a form. Comes in: a place in a
//! text where one may be. Goes out: where the secret is.

use std::ops::Range;

use super::{FILTERED, Found, Scrubber, Treatment, scan::value};

/// Longest key that is looked at.
const MAX_KEY: usize = 64;

/// `("password", "x")`, at the comma.
pub(super) fn tuple(text: &[u8], at: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    let before = &text[floor..at];
    let (key, opening) = quoted_before(before)?;
    let opens = before[..opening].iter().rposition(|byte| *byte != b' ' && *byte != b'\n').is_some_and(|at| before[at] == b'(');
    if !opens || !is_secret(key, scrubber) {
        return None;
    }
    found(value(text, at + 1, key)?)
}

/// `--password x`, at the first dash; in a list of arguments each has its quotes: `["--password",
/// "x"]`.
pub(super) fn option(text: &[u8], at: usize, scrubber: &Scrubber) -> Option<Found> {
    let dashes = count(text, at, |byte| byte == b'-');
    let before = text[..at].last().copied();
    if dashes > 2 || before.is_some_and(|before| !begins_option(before)) {
        return None;
    }
    let start = at + dashes;
    let end = start + count(text, start, is_key).min(MAX_KEY);
    let key = std::str::from_utf8(&text[start..end]).ok().filter(|key| key.len() > 1)?;
    let is_listed = before.is_some_and(|before| is_quote(before) && text[end..].iter().find(|byte| **byte != b'\\') == Some(&before));
    let (from, quote) = match before.filter(|_| is_listed) {
        Some(quote) => next_in_list(text, end, quote)?,
        None => {
            let from = end + count(text, end, |byte| matches!(byte, b' ' | b'\t'));
            let quote = text.get(from).copied().filter(|byte| from > end && is_quote(*byte));
            (from + usize::from(quote.is_some()), quote.map(|quote| (quote, false)))
        }
    };
    if from == end || text.get(from).is_none_or(|byte| *byte == b'-' || byte.is_ascii_whitespace()) || !is_secret(key, scrubber) {
        return None;
    }
    let length = match quote {
        Some((quote, is_escaped)) => within_quotes(&text[from..], quote, is_escaped),
        None => count(text, from, |byte| !(byte.is_ascii_whitespace() || is_quote(byte))),
    };
    // `--token <TOKEN>` in a usage text
    let stands_for_something = matches!(&text[from..from + length], [b'<', inner @ .., b'>'] if inner.iter().all(|byte| is_key(*byte)));
    if stands_for_something { None } else { found(from..from + length) }
}

/// Behind a quote that closes at `end`: where the next in quotes begins, and whether its quotes are
/// escaped. Only commas and blanks are between them, as `Debug` has a list.
fn next_in_list(text: &[u8], end: usize, quote: u8) -> Option<(usize, Option<(u8, bool)>)> {
    let mut at = end + count(text, end, |byte| byte == b'\\') + 1;
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'\\', Some(b'n' | b'r' | b't')) => at += 2,
            (b'\\', Some(next)) if *next == quote => return Some((at + 2, Some((quote, true)))),
            (byte, _) if byte == quote => return Some((at + 1, Some((quote, false)))),
            (byte, _) if byte == b',' || byte == b'\\' || byte.is_ascii_whitespace() => at += 1,
            _ => return None,
        }
    }
}

/// What may stand before an option's first dash.
pub(super) fn begins_option(before: u8) -> bool {
    before.is_ascii_whitespace() || b"\"'[,=`(-".contains(&before)
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// How long a text is that ends with a quote. One behind a backslash is part of it, unless all are
/// (`is_escaped`).
fn within_quotes(text: &[u8], quote: u8, is_escaped: bool) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != quote {
        let ends = is_escaped && text[at..].starts_with(&[b'\\', quote]);
        if ends {
            break;
        }
        at += if text[at] == b'\\' && !is_escaped { 2 } else { 1 };
    }
    at.min(text.len())
}

/// `<password>x</password>`, at the first tag's end.
pub(super) fn element(text: &[u8], at: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    const LONGEST_TAG: usize = 128;
    let before = &text[floor.max(at.saturating_sub(LONGEST_TAG))..at];
    let opening = before.iter().rposition(|byte| *byte == b'<')?;
    // A type's arguments, `Option<Token>`, are no element.
    if before[..opening].last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')) {
        return None;
    }
    let tag = &before[opening + 1..];
    // A name space says nothing.
    let name = &tag[..count(tag, 0, |byte| is_key(byte) || byte == b':')];
    let name = name.rsplit(|byte| *byte == b':').next().unwrap_or(name);
    let key = std::str::from_utf8(name).ok().filter(|key| key.len() > 1)?;
    let length = count(text, at + 1, |byte| byte != b'<');
    let rest = &text[at + 1..];
    // Words in angle brackets stand for something in usage texts: an element ends, or the text was cut within it.
    let is_element = rest[length..].starts_with(b"</") || length == rest.len() && !rest.iter().any(u8::is_ascii_whitespace);
    if tag.ends_with(b"/") || length == 0 || !is_element || !is_secret(key, scrubber) || rest.starts_with(FILTERED.as_bytes()) {
        return None;
    }
    found(at + 1..at + 1 + length)
}

/// `"name": "password", "value": "x"`, at the first sign; `key` is what stands before it. In a form
/// the value is on a line of its own.
pub(super) fn named(text: &[u8], at: usize, key: &str, scrubber: &Scrubber) -> Option<Found> {
    const NAMES: [&str; 6] = ["name", "key", "field", "header", "param", "parameter"];
    if !NAMES.iter().any(|name| key.eq_ignore_ascii_case(name)) {
        return None;
    }
    let is_space = |byte: u8| matches!(byte, b' ' | b'\\' | b'"' | b'\'');
    let start = at + 1 + count(text, at + 1, is_space);
    let end = start + count(text, start, is_key).min(MAX_KEY);
    let named = std::str::from_utf8(&text[start..end]).ok().filter(|named| named.len() > 1 && start > at + 1)?;
    if !is_secret(named, scrubber) {
        return None;
    }
    let next = end + count(text, end, |byte| is_space(byte) || byte == b',' || byte == b'\n');
    let word = &text[next..next + count(text, next, |byte| byte.is_ascii_alphabetic()).min(16)];
    if [&b"value"[..], b"val", b"content", b"data"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
        let sign = next + word.len() + count(text, next + word.len(), is_space);
        if matches!(text.get(sign), Some(b':' | b'=')) {
            return value(text, sign + 1, named).and_then(found);
        }
    }
    form_value(text, end + count(text, end, |byte| matches!(byte, b'"' | b'\''))).and_then(found)
}

/// Behind the headers of a form's part, which end with an empty line. Breaks may be escaped, as
/// `Debug` has them.
fn form_value(text: &[u8], from: usize) -> Option<Range<usize>> {
    const LONGEST_HEADERS: usize = 256;
    const BREAKS: [&[u8]; 4] = [b"\r\n\r\n", b"\n\n", b"\\r\\n\\r\\n", b"\\n\\n"];
    let headers = &text[from..text.len().min(from + LONGEST_HEADERS)];
    if !BREAKS.iter().any(|two| headers.starts_with(&two[..two.len() / 2])) {
        return None;
    }
    let ends = |two: &&[u8]| headers.windows(two.len()).position(|window| window == *two).map(|at| from + at + two.len());
    let start = BREAKS.iter().filter_map(ends).min()?;
    // Where breaks are escaped, one ends the value; a backslash else is part of it.
    let is_escaped = text[from] == b'\\';
    let length = count(text, start, |byte| !(matches!(byte, b'\r' | b'\n') || is_escaped && byte == b'\\'));
    (length > 0).then_some(start..start + length)
}

/// The text in quotes that ends here, and where its first quote is.
fn quoted_before(before: &[u8]) -> Option<(&str, usize)> {
    let end = before.len().checked_sub(1).filter(|end| before[*end] == b'"')?;
    let end = end - before[..end].iter().rev().take_while(|byte| **byte == b'\\').count();
    let length = before[..end].iter().rev().take(MAX_KEY).take_while(|byte| is_key(**byte)).count();
    let start = end - length;
    let opening = start.checked_sub(1).filter(|opening| before[*opening] == b'"')?;
    let opening = opening - before[..opening].iter().rev().take_while(|byte| **byte == b'\\').count();
    Some((std::str::from_utf8(&before[start..end]).ok().filter(|key| key.len() > 1)?, opening))
}

fn is_secret(key: &str, scrubber: &Scrubber) -> bool {
    scrubber.key(key.trim_matches(['-', '.'])) != Treatment::Keep
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn count(text: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    text.get(at..).unwrap_or_default().iter().take_while(|byte| is(**byte)).count()
}

fn found(range: Range<usize>) -> Option<Found> {
    (range.start < range.end).then_some(Found { range, instead: FILTERED })
}
