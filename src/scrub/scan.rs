//! Secrets in a text, in one pass from left to right. Every place is looked at a bounded number of times.

use super::{FILTERED, Found, Scrubber, Treatment, credentials};

/// Whether a text may hold a secret at all: it has a sign by which every pattern goes (`=`, `:`, `@`, ten digits or dashes), or eight bytes in a row at a multiple of eight that could be part of a long key. Says yes too often, never no too often.
///
/// Runs for every text that is recorded. Most are short: a look into a table for each byte is quickest then.
#[inline]
pub(super) fn is_suspicious(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let (mut all, mut is_long, mut marks) = (0, false, 0u32);
    for word in words {
        let mut any = 0;
        for byte in word {
            let class = CLASSES[usize::from(*byte)];
            any |= class;
            marks += u32::from(class & MARK);
        }
        is_long |= any & BREAK == 0;
        all |= any;
    }
    for byte in rest {
        let class = CLASSES[usize::from(*byte)];
        all |= class;
        marks += u32::from(class & MARK);
    }
    all & SIGN != 0 || marks >= 10 || (is_long && all & STRONG != 0)
}

/// A digit or dash: cards have thirteen digits, PEM headers ten dashes.
const MARK: u8 = 1;
/// Cannot be part of a key.
const BREAK: u8 = 2;
/// A digit, a capital, a dash: words are mostly without, keys never.
const STRONG: u8 = 4;
const SIGN: u8 = 8;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' | b'-' => MARK | STRONG,
            b'A'..=b'Z' | b'_' => STRONG,
            b'=' | b':' | b'@' => SIGN | BREAK,
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
    while at < text.len() {
        let byte = text[at];
        let hit = match INTEREST[usize::from(byte)] {
            Interest::None => None,
            Interest::Sign => url(text, at, scrubber).or_else(|| pair(text, at, floor, scrubber)),
            Interest::At => email(text, at, floor, scrubber),
            Interest::Word if at > floor && credentials::is_token(text[at - 1]) || !scrubber.built_in => None,
            Interest::Word => {
                credentials::at(&text[at..]).map(|range| Found { range: at + range.start..at + range.end, instead: FILTERED })
            }
        };
        match hit {
            Some(hit) => {
                at = hit.range.end.max(at + 1);
                floor = at;
                found.push(hit);
            }
            None => at += 1,
        }
    }
}

/// What a byte may be the beginning, or the middle, of.
#[derive(Clone, Copy)]
enum Interest {
    None,
    Sign,
    At,
    Word,
}

static INTEREST: [Interest; 256] = {
    let mut interest = [Interest::None; 256];
    let mut byte = 0;
    while byte < 256 {
        interest[byte] = match byte as u8 {
            b'=' | b':' => Interest::Sign,
            b'@' => Interest::At,
            other if credentials::may_begin(other) => Interest::Word,
            _ => Interest::None,
        };
        byte += 1;
    }
    interest
};

/// `://user:password@`, at the colon.
fn url(text: &[u8], at: usize, scrubber: &Scrubber) -> Option<Found> {
    let rest = text[at..].strip_prefix(b"://").filter(|_| scrubber.built_in)?;
    let authority =
        rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>') || byte.is_ascii_whitespace());
    let authority = &rest[..authority.unwrap_or(rest.len())];
    let userinfo = authority.iter().rposition(|byte| *byte == b'@')?;
    Some(Found { range: at + 3..at + 3 + userinfo, instead: "REDACTED:REDACTED" })
}

/// Longest key that is looked for before a sign.
const MAX_KEY: usize = 64;

/// `password=…`, `"password": "…"`, `Authorization: Bearer …`, `?sig=…`; at the sign.
fn pair(text: &[u8], at: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    let before = &text[floor..at];
    let mut end = before.len();
    while end > 0 && matches!(before[end - 1], b'"' | b'\'' | b'`' | b'\\' | b' ') {
        end -= 1;
    }
    let mut start = end;
    while start > 0
        && end - start < MAX_KEY
        && (before[start - 1].is_ascii_alphanumeric() || matches!(before[start - 1], b'_' | b'-' | b'.'))
    {
        start -= 1;
    }
    if end - start < 2 {
        return None;
    }
    let key = std::str::from_utf8(&before[start..end]).ok()?;
    let follows = |sign: &[u8]| before[..start].last().is_some_and(|byte| sign.contains(byte));
    let is_query = text[at] == b'=' && follows(b"?&") && SECRET_PARAMETERS.contains(&key) && scrubber.built_in;
    if !is_query && scrubber.key(key.trim_matches(['-', '.'])) == Treatment::Keep {
        return None;
    }
    let range = value(text, at + 1, key)?;
    let instead = if text[at] == b'=' && follows(b"?&") { "REDACTED" } else { FILTERED };
    Some(Found { range, instead })
}

/// Query parameters that authorise (semantic conventions, `url.query`), case-sensitive.
const SECRET_PARAMETERS: [&str; 7] =
    ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"];

/// Where the value is that begins after a sign.
fn value(text: &[u8], from: usize, key: &str) -> Option<std::ops::Range<usize>> {
    let skip = |at: usize, these: &[u8]| at + text[at..].iter().take_while(|byte| these.contains(byte)).count();
    let mut start = skip(from, b" =>");
    for wrapper in [&b"Some("[..], b"Ok(", b"String("] {
        if text[start..].starts_with(wrapper) {
            start += wrapper.len();
        }
    }
    // A quote may be escaped: JSON within a Debug text.
    let escaped = skip(start, b"\\") - start;
    let quote = text.get(start + escaped).copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    let end = match quote {
        Some(quote) => {
            start += escaped + 1;
            let mut at = start;
            while at < text.len() && !(text[at] == quote && backslashes(text, at) == escaped) {
                at += 1;
            }
            at - if at < text.len() { escaped } else { 0 }
        }
        None => {
            let whole_line = key.to_ascii_lowercase().ends_with("cookie");
            let ends = |byte: &u8| {
                if whole_line {
                    matches!(byte, b'\n' | b'\r' | b'"' | b'\'')
                } else {
                    byte.is_ascii_whitespace() || b",;&)]}\"'<>".contains(byte)
                }
            };
            let word = |from: usize| from + text[from..].iter().position(ends).unwrap_or(text.len() - from);
            let end = word(start);
            // `Authorization: Bearer …`: the scheme is not yet the secret.
            let is_scheme = [&b"bearer"[..], b"basic", b"token", b"digest", b"negotiate"]
                .iter()
                .any(|scheme| text[start..end].eq_ignore_ascii_case(scheme));
            if is_scheme && end < text.len() { word(skip(end, b" ")) } else { end }
        }
    };
    let is_done = [FILTERED, "REDACTED"].iter().any(|done| text[start..].starts_with(done.as_bytes()));
    (end > start && !is_done).then_some(start..end)
}

fn backslashes(text: &[u8], before: usize) -> usize {
    text[..before].iter().rev().take(8).take_while(|byte| **byte == b'\\').count()
}

/// `name@host.tld`, at the `@`.
fn email(text: &[u8], at: usize, floor: usize, scrubber: &Scrubber) -> Option<Found> {
    if scrubber.personal || !scrubber.built_in {
        return None;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let name = text[floor..at].iter().rev().take(64).take_while(|byte| is_name(byte)).count();
    let host = text[at + 1..].iter().take(255).take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte)).count();
    let domain = &text[at + 1..at + 1 + host];
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let top = domain[dot + 1..].iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    (name > 0 && dot > 0 && (top >= 2 || dot + 1 == domain.len())).then(|| Found { range: at - name..at + 1 + host, instead: FILTERED })
}
