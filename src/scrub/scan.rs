//! Secrets in a text, in one pass from left to right. Every place is looked at a bounded number of
//! times.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::{FILTERED, Found, Scrubber, Treatment, credentials, disguises};

/// Whether a text may hold a secret at all: it has a sign by which every pattern goes (`=`, `:`,
/// `@`, `%`, a quote before a comma, an element's end, two dashes, ten digits or dashes), or eight
/// bytes in a row at a multiple of eight that could be part of a long key. Says yes too often,
/// never no too often.
///
/// Runs for every text that is recorded. Most are short: a look into a table for each byte is
/// quickest then.
#[inline]
pub(super) fn is_suspicious(text: &[u8]) -> bool {
    let class = |byte: u8| CLASSES[usize::from(byte)];
    let (words, rest) = text.as_chunks::<8>();
    let last = rest.iter().fold(0, |all, byte| all | class(*byte));
    let (mut all, mut is_long, mut marked) = (last, false, last & MARK);
    for &[a, b, c, d, e, f, g, h] in words {
        let any = ((class(a) | class(b)) | (class(c) | class(d))) | ((class(e) | class(f)) | (class(g) | class(h)));
        is_long |= any & BREAK == 0;
        marked = marked.saturating_add(any & MARK);
        all |= any;
    }
    // Ten marks are in two words at least.
    let has_marks = || marked >= 2 && text.iter().filter(|byte| class(**byte) & MARK != 0).take(10).count() == 10;
    all & SIGN != 0 || (is_long && all & STRONG != 0) || has_marks() || (all & (QUOTE | DASH) != 0 && has_argument(text))
}

/// An option, or the first of a pair in quotes: the signs of both are too frequent to go by.
#[cold]
fn has_argument(text: &[u8]) -> bool {
    let is_one = |pair: &[u8]| pair == b"\"," || pair[1] == b'-' && disguises::begins_option(pair[0]);
    text.starts_with(b"-") || text.windows(2).any(is_one)
}

/// A digit or dash: cards have thirteen digits, PEM headers ten dashes.
const MARK: u8 = 1;
/// Cannot be part of a key.
const BREAK: u8 = 2;
/// A digit, a capital, a dash: words are mostly without, keys never.
const STRONG: u8 = 4;
const SIGN: u8 = 8;
const QUOTE: u8 = 16;
const DASH: u8 = 32;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => MARK | STRONG,
            b'-' => MARK | STRONG | DASH,
            b'"' => QUOTE | BREAK,
            b'A'..=b'Z' | b'_' => STRONG,
            b'=' | b':' | b'@' | b'%' | b'>' => SIGN | BREAK,
            other if credentials::is_token(other) => 0,
            _ => BREAK,
        };
        byte += 1;
    }
    classes
};

/// Appends every secret of the text, in order, none overlapping another.
pub(super) fn scan(text: &[u8], scrubber: &Scrubber, found: &mut Vec<Found>) {
    let mut at = 0;
    // Where the last secret ends: nothing before it is looked at again.
    let mut floor = 0;
    while let Some(byte) = text.get(at) {
        let hit = match PARTS[usize::from(*byte)] {
            Part::Other => None,
            Part::Sign => url(text, at, scrubber).or_else(|| pair(text, at, 1, floor, scrubber)),
            Part::At => email(text, at, 1, floor, scrubber),
            Part::Percent => percent(text, at, floor, scrubber),
            Part::Comma => disguises::tuple(text, at, floor, scrubber),
            Part::End => disguises::element(text, at, floor, scrubber),
            Part::Dash => {
                let key = if scrubber.built_in { credentials::pem(text, at) } else { None };
                key.or_else(|| disguises::option(text, at, scrubber))
            }
            Part::Word if scrubber.built_in => word(text, at, floor),
            Part::Word => None,
        };
        if let Some(hit) = hit {
            at = hit.range.end.max(at + 1);
            floor = at;
            found.push(hit);
        } else if matches!(PARTS[usize::from(*byte)], Part::Word | Part::Dash) {
            // Nothing begins in the middle of a word, nor of a line of dashes.
            let part = PARTS[usize::from(*byte)];
            at += text[at..].iter().take_while(|byte| PARTS[usize::from(**byte)] == part).count();
        } else {
            at += 1;
        }
    }
}

/// What a byte may be the beginning, or the middle, of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Other,
    Sign,
    At,
    Percent,
    Comma,
    End,
    Dash,
    Word,
}

static PARTS: [Part; 256] = {
    let mut parts = [Part::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        parts[byte] = match byte as u8 {
            b'=' | b':' => Part::Sign,
            b'@' => Part::At,
            b'%' => Part::Percent,
            b',' => Part::Comma,
            b'>' => Part::End,
            b'-' => Part::Dash,
            other if other.is_ascii_alphanumeric() || other == b'_' => Part::Word,
            _ => Part::Other,
        };
        byte += 1;
    }
    parts
};

/// A credential, at the beginning of a word. In a text that was escaped (`\nAKIA…`) the word begins
/// behind the escape's letter.
fn word(text: &[u8], at: usize, floor: usize) -> Option<Found> {
    // Behind a byte that is written as two digits, too.
    let follows_percent =
        at > floor && text[at - 1] == b'%' && text.get(at..at + 2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
    if follows_percent && at + 2 < text.len() {
        return credentials::at(text, at).or_else(|| credentials::at(text, at + 2));
    }
    let follows_escape = at > floor && text[at - 1] == b'\\' && matches!(text[at], b'n' | b'r' | b't') && at + 1 < text.len();
    credentials::at(text, at).or_else(|| if follows_escape { credentials::at(text, at + 1) } else { None })
}

/// `://user:password@`, at the colon.
fn url(text: &[u8], at: usize, scrubber: &Scrubber) -> Option<Found> {
    let rest = text[at..].strip_prefix(b"://").filter(|_| scrubber.built_in)?;
    let authority =
        rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>') || byte.is_ascii_whitespace());
    let authority = &rest[..authority.unwrap_or(rest.len())];
    let userinfo = authority.iter().rposition(|byte| *byte == b'@').or_else(|| broken_userinfo(rest, authority))?;
    Some(Found { range: at + 3..at + 3 + userinfo, instead: "REDACTED:REDACTED" })
}

/// A password may hold what ends an authority (`app:hun/ter2@db`): no parser takes it then, so it
/// is printed. What stands behind the colon is no port, and an `@` follows in the same line.
fn broken_userinfo(rest: &[u8], authority: &[u8]) -> Option<usize> {
    const LONGEST: usize = 96;
    let colon = authority.iter().position(|byte| *byte == b':')?;
    let behind = &authority[colon + 1..];
    let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // `http://payments:8080: refused, ask ops@example.org`
    let is_port = digits > 0 && matches!(&behind[digits..], [] | [b':' | b',' | b';' | b'.' | b')' | b']']);
    if colon == 0 || authority[0] == b'[' || is_port {
        return None;
    }
    let line = rest[..rest.len().min(LONGEST)].split(|byte| *byte == b'\n').next()?;
    let at = authority.len() + line.get(authority.len()..)?.iter().position(|byte| *byte == b'@')?;
    rest.get(at + 1).filter(|host| host.is_ascii_alphanumeric() || **host == b'[').map(|_| at)
}

/// What is written as `%40`, `%3D` or `%3A` means the sign.
fn percent(text: &[u8], at: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    match text.get(at + 1..at + 3)? {
        b"40" => email(text, at, 3, floor, scrubber),
        b"3D" | b"3d" | b"3A" | b"3a" => pair(text, at, 3, floor, scrubber),
        _ => None,
    }
}

/// Longest key that is looked for before a sign.
const MAX_KEY: usize = 64;

/// `password=…`, `"password": "…"`, `Authorization: Bearer …`, `?sig=…`; at the sign.
fn pair(text: &[u8], at: usize, sign: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    let before = &text[floor..at];
    let mut end = before.len();
    while end > 0 && matches!(before[end - 1], b'"' | b'\'' | b'`' | b'\\' | b' ') {
        end -= 1;
    }
    let mut start = end;
    while start > 0
        && end - start < MAX_KEY
        && (before[start - 1].is_ascii_alphanumeric() || matches!(before[start - 1], b'_' | b'-' | b'.' | b'%'))
    {
        start -= 1;
    }
    if end - start < 2 {
        return None;
    }
    let key = decoded(&before[start..end])?;
    let key = &*key;
    let follows = |sign: &[u8]| before[..start].last().is_some_and(|byte| sign.contains(byte));
    let is_query =
        text[at] == b'=' && follows(b"?&") && scrubber.built_in && (SECRET_PARAMETERS.contains(&key) || is_code(key, &text[at + 1..]));
    if let Some(named) = disguises::named(text, at + sign - 1, key, scrubber) {
        return Some(named);
    }
    if !is_query && scrubber.key(key.trim_matches(['-', '.'])) == Treatment::Keep {
        return None;
    }
    let range = value(text, at + sign, key)?;
    let instead = if text[at] == b'=' && follows(b"?&") { "REDACTED" } else { FILTERED };
    Some(Found { range, instead })
}

/// OAuth's authorization code: long, where others are short numbers.
fn is_code(key: &str, value: &[u8]) -> bool {
    let length = value.iter().take_while(|byte| credentials::is_token(**byte) || **byte == b'%').count();
    key == "code" && length >= 10 && !value[..length].iter().all(u8::is_ascii_digit)
}

/// A key, also where some of its letters are written as `%77`. What stands before an escaped byte
/// that is no part of it is cut off.
fn decoded(key: &[u8]) -> Option<Cow<'_, str>> {
    if !key.contains(&b'%') {
        return std::str::from_utf8(key).ok().map(Cow::Borrowed);
    }
    let decoded: Vec<u8> = percent_decode(key).collect();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    // `%22password%22%3A`: quotes are around it.
    let end = decoded.iter().rposition(is_part)? + 1;
    let start = decoded[..end].iter().rposition(|byte| !is_part(byte)).map_or(0, |at| at + 1);
    String::from_utf8(decoded[start..end].to_vec()).ok().filter(|key| key.len() > 1).map(Cow::Owned)
}

/// Query parameters that authorise (semantic conventions, `url.query`), case-sensitive.
const SECRET_PARAMETERS: [&str; 7] =
    ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"];

/// Where the value is that begins after a sign.
pub(super) fn value(text: &[u8], from: usize, key: &str) -> Option<std::ops::Range<usize>> {
    let count = |at: usize, is: &dyn Fn(u8) -> bool| text[at..].iter().take_while(|byte| is(**byte)).count();
    let start = from + count(from, &|byte| matches!(byte, b' ' | b'=' | b'>' | b'\n' | b'\r' | b'\t'));
    // Before the end is looked for, which may be far: a text may say so over and over.
    let quotes = count(start, &|byte| matches!(byte, b'\\' | b'"' | b'\'' | b'`'));
    if [FILTERED, "REDACTED"].iter().any(|done| text[start + quotes..].starts_with(done.as_bytes())) {
        return None;
    }
    let end = value_end(text, start, key).filter(|end| *end > start)?;
    // Quotes stay, so that what is around the value can still be read.
    let escaped = count(start, &|byte| byte == b'\\');
    match text.get(start + escaped) {
        Some(quote @ (b'"' | b'\'' | b'`')) => {
            let close = escaped + 1;
            let is_closed = end >= start + 2 * close && text[end - 1] == *quote;
            let range = start + close..if is_closed { end - close } else { end };
            (range.start < range.end).then_some(range)
        }
        _ => Some(start..end),
    }
}

/// Where a value ends that is a quoted text, something in brackets (with a name before it, as
/// `Debug` writes it), or a word.
fn value_end(text: &[u8], start: usize, key: &str) -> Option<usize> {
    let rest = text.get(start..)?;
    let escaped = rest.iter().take_while(|byte| **byte == b'\\').count();
    if matches!(rest.get(escaped), Some(b'"' | b'\'' | b'`')) {
        return Some(quoted_end(text, start));
    }
    let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count();
    match rest.get(name) {
        Some(b'(' | b'[' | b'{') => return Some(bracketed_end(text, start + name)),
        Some(b' ') if matches!(rest.get(name + 1), Some(b'{')) && name > 0 => return Some(bracketed_end(text, start + name + 1)),
        Some(b'"') if name == 1 => return Some(quoted_end(text, start + name)),
        Some(b'<') if name == 0 => return Some(start + rest.iter().position(|byte| *byte == b'>').map_or(rest.len(), |at| at + 1)),
        _ => {}
    }
    // What is no single word: all of the line.
    let key = key.to_ascii_lowercase();
    let whole_line = key.ends_with("cookie") || key.ends_with("authorization");
    let ends = |(at, byte): (usize, &u8)| match byte {
        b'\n' | b'\r' | b'"' | b'\'' => true,
        _ if whole_line => false,
        b',' | b';' => separates(text, at),
        b'%' => text[at..].starts_with(b"%26"),
        byte => byte.is_ascii_whitespace() || b"&)]}<>".contains(byte),
    };
    let word = |from: usize| text.iter().enumerate().skip(from).find(|place| ends(*place)).map_or(text.len(), |(at, _)| at);
    let end = word(start);
    // `token=Bearer …`: the scheme is not yet the secret.
    let is_scheme =
        [&b"bearer"[..], b"basic", b"token", b"digest", b"negotiate"].iter().any(|scheme| text[start..end].eq_ignore_ascii_case(scheme));
    Some(if is_scheme && end < text.len() { word(end + 1) } else { end })
}

/// Whether a comma or semicolon is no part of a value: the text goes on with a blank, a quote or
/// bracket, or another key; or ends.
fn separates(text: &[u8], at: usize) -> bool {
    const LONGEST_KEY: usize = 32;
    let next = &text[at + 1..text.len().min(at + 1 + LONGEST_KEY)];
    let key = next.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte)).count();
    match next.first() {
        None => true,
        Some(first) => {
            first.is_ascii_whitespace() || b"\"'`{}[]()<>\\".contains(first) || key > 0 && matches!(next.get(key), Some(b'=' | b':'))
        }
    }
}

/// One past the quote that closes the one at `start`, which may be escaped: JSON within a Debug
/// text.
fn quoted_end(text: &[u8], start: usize) -> usize {
    let escaped = text[start..].iter().take_while(|byte| **byte == b'\\').count();
    let quote = text.get(start + escaped).copied().unwrap_or(b'"');
    let mut at = start + escaped + 1;
    while at < text.len() && !(text[at] == quote && backslashes(text, at) == escaped) {
        at += 1;
    }
    (at + 1).min(text.len())
}

/// One past the bracket that closes the one at `start`; texts in between are not looked into.
fn bracketed_end(text: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < text.len() {
        match text[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b'"' => {
                at = quoted_end(text, at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn backslashes(text: &[u8], before: usize) -> usize {
    text[..before].iter().rev().take(8).take_while(|byte| **byte == b'\\').count()
}

/// `name@host.tld`, at the `@`.
fn email(text: &[u8], at: usize, sign: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    if scrubber.personal || !scrubber.built_in {
        return None;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let name = text[floor..at].iter().rev().take(64).take_while(|byte| is_name(byte)).count();
    let behind = at + sign;
    let host = text[behind..].iter().take(255).take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte)).count();
    let domain = &text[behind..behind + host];
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let top = domain[dot + 1..].iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    (name > 0 && dot > 0 && (top >= 2 || dot + 1 == domain.len())).then(|| Found { range: at - name..behind + host, instead: FILTERED })
}
