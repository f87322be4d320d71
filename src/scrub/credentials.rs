//! Credentials that are known by their own form, without a key before them.

use std::ops::Range;

use super::{FILTERED, Found};

/// Bytes that keys and tokens are made of.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'~')
}

/// The credential that begins with the word at `at`.
#[inline]
pub(super) fn at(text: &[u8], at: usize) -> Option<Found> {
    let &[first, second, ..] = &text[at..] else { return None };
    // Most words are told from all credentials by their first two letters.
    if SECOND[usize::from(first)] & 1u128.wrapping_shl(u32::from(second)) == 0 || !second.is_ascii() {
        return None;
    }
    let before = text[..at].last().copied();
    let word = &text[at..];
    let range = match first {
        // A fraction is no card's number.
        b'0'..=b'9' if before == Some(b'.') && at >= 2 && text[at - 2].is_ascii_digit() => None,
        b'0'..=b'9' => card(word),
        b'B' | b'b' => bearer(word),
        // Parts of a token may look like one: they are not looked at anew.
        b'e' if before == Some(b'-') => None,
        b'e' => jwt(word),
        _ => provider(word).or_else(|| webhook(word)),
    };
    range.map(|range| Found { range: at + range.start..at + range.end, instead: FILTERED })
}

/// By the first letter of a word: the second ones of credentials, a bit for each.
static SECOND: [u128; 256] = {
    let mut second = [0; 256];
    let mut index = 0;
    while index < PROVIDERS.len() {
        let prefix = PROVIDERS[index].0;
        second[prefix[0] as usize] |= 1 << prefix[1];
        index += 1;
    }
    let mut digit = b'0';
    while digit <= b'9' {
        // Ten digits, a space, a dash.
        second[digit as usize] = 0x3ff << b'0' | 1 << b' ' | 1 << b'-';
        digit += 1;
    }
    // Webhooks: whoever has the address may post.
    second[b'h' as usize] |= 1 << b'o';
    second[b'd' as usize] |= 1 << b'i';
    let schemes = 1 << b'a' | 1 << b'A' | 1 << b'e' | 1 << b'E';
    (second[b'b' as usize], second[b'B' as usize]) = (schemes, schemes);
    second[b'e' as usize] = 1 << b'y';
    second
};

fn word(text: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !is_part(*byte)).unwrap_or(text.len())
}

/// `eyJ….eyJ….…`: a JSON object in base64, a dot, another.
fn jwt(text: &[u8]) -> Option<Range<usize>> {
    if !text.starts_with(b"eyJ") {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let header = word(text, is_part);
    let claims = word(text.get(header + 1..)?, is_part);
    // An encrypted one may have nothing there.
    let is_next = claims >= 4 || claims == 0 && text.get(header + 1) == Some(&b'.');
    (header >= 10 && text[header] == b'.' && is_next).then(|| 0..word(text, |byte| is_part(byte) || byte == b'.'))
}

/// `Bearer …` and `Basic …`, where what follows is long and no word. (Short ones are known by the
/// key before them.)
fn bearer(text: &[u8]) -> Option<Range<usize>> {
    let scheme = [&b"bearer "[..], b"basic "]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?;
    let start = scheme.len() + word(&text[scheme.len()..], |byte| byte == b' ');
    let length = word(&text[start..], |byte| is_token(byte) || byte == b'=');
    let token = &text[start..start + length];
    let is_no_word = token.iter().skip(1).any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() || *byte == b'=');
    (length >= 15 && is_no_word).then(|| start..start + length)
}

/// `-----BEGIN … -----END …-----`, or to the end of a text that was cut; at the first of the
/// dashes.
pub(super) fn pem(text: &[u8], at: usize) -> Option<Found> {
    let at = at + text[at..].iter().take_while(|byte| **byte == b'-').count().checked_sub(5)?;
    if !text[at..].starts_with(b"-----BEGIN ") {
        return None;
    }
    let find = |from: usize, what: &[u8]| text[from..].windows(what.len()).position(|window| window == what).map(|at| from + at);
    let end = find(at + 10, b"-----END ").and_then(|end| find(end + 9, b"-----")).map_or(text.len(), |end| end + 5);
    Some(Found { range: at..end, instead: FILTERED })
}

/// A prefix, and how many letters and digits (and `_`, `-`) follow at least.
const PROVIDERS: [(&[u8], usize); 37] = [
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"ABIA", 16),
    (b"ACCA", 16),
    (b"AIza", 30),
    (b"ya29.", 16),
    (b"GOCSPX-", 20),
    (b"ghp_", 30),
    (b"gho_", 30),
    (b"ghu_", 30),
    (b"ghs_", 30),
    (b"ghr_", 30),
    (b"github_pat_", 20),
    (b"glpat-", 16),
    (b"xoxa-", 10),
    (b"xoxb-", 10),
    (b"xoxe-", 10),
    (b"xoxp-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
    (b"xapp-", 10),
    (b"sk_live_", 10),
    (b"sk_test_", 10),
    (b"rk_live_", 10),
    (b"rk_test_", 10),
    (b"whsec_", 16),
    (b"sk-ant-", 16),
    (b"sk-proj-", 16),
    (b"sk-", 32),
    (b"SG.", 20),
    (b"npm_", 30),
    (b"pypi-", 30),
    (b"dop_v1_", 30),
    (b"hf_", 30),
    (b"shpat_", 20),
    (b"EAACEdEose0cBA", 10),
    (b"hvs.", 20),
];

/// Keys of providers that mark them as such.
fn provider(text: &[u8]) -> Option<Range<usize>> {
    let (prefix, least) = PROVIDERS.iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let length = prefix.len() + word(&text[prefix.len()..], |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    (length >= prefix.len() + least).then_some(0..length)
}

/// What of a webhook's address is secret: all behind these.
const WEBHOOKS: [&[u8]; 5] = [
    b"hooks.slack.com/services/",
    b"hooks.slack.com/workflows/",
    b"hooks.slack.com/triggers/",
    b"discord.com/api/webhooks/",
    b"discordapp.com/api/webhooks/",
];

fn webhook(text: &[u8]) -> Option<Range<usize>> {
    let address = WEBHOOKS.iter().find(|address| text.starts_with(address))?;
    let length = word(&text[address.len()..], is_token);
    (length >= 10).then(|| address.len()..address.len() + length)
}

/// A card's number, with or without single spaces or dashes, that is no part of a longer number.
/// What follows after a separator may be another one: its expiry, its check digits.
fn card(text: &[u8]) -> Option<Range<usize>> {
    let (mut number, mut digits, mut end) = (0u64, 0, 0);
    while let Some(byte) = text.get(end) {
        match byte {
            b'0'..=b'9' if digits < 19 => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b' ' | b'-' if text.get(end + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => return None,
        }
        end += 1;
        let continues = text.get(end).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
        if digits >= 13 && byte.is_ascii_digit() && !continues && is_card(number) {
            return Some(0..end);
        }
    }
    None
}

/// Whether a number has a card's length, an issuer's prefix, and the right check digit.
pub(super) fn is_card(number: u64) -> bool {
    let Some(length) = number.checked_ilog10().map(|digits| digits + 1).filter(|length| (13..=19).contains(length)) else { return false };
    let prefix = |digits: u32| number / 10u64.pow(length - digits);
    let issued = match (prefix(1), length) {
        (4, 13 | 16 | 19) => true,
        (5, 16) => (51..=55).contains(&prefix(2)),
        (2, 16) => (2221..=2720).contains(&prefix(4)),
        (3, 15) => matches!(prefix(2), 34 | 37),
        (3, 14) => matches!(prefix(2), 36 | 38 | 39) || (300..=305).contains(&prefix(3)),
        (3, 16) => (3528..=3589).contains(&prefix(4)),
        (6, 16) => prefix(4) == 6011 || prefix(2) == 65 || (644..=649).contains(&prefix(3)) || prefix(2) == 62,
        (6, 17..=19) => prefix(2) == 62,
        _ => false,
    };
    issued && luhn(number)
}

/// ISO/IEC 7812-1, annex B.
fn luhn(mut number: u64) -> bool {
    let (mut sum, mut doubled) = (0, false);
    while number > 0 {
        let digit = number % 10 * if doubled { 2 } else { 1 };
        sum += digit / 10 + digit % 10;
        (number, doubled) = (number / 10, !doubled);
    }
    sum % 10 == 0
}
