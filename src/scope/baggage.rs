//! The `baggage` header, W3C Baggage §3.2: `key=value;property, key=value`, values percent-encoded.

use percent_encoding::percent_decode_str;

/// Bytes and entries that are looked at (§3.3.2).
const MAX_BYTES: usize = 8192;
const MAX_ENTRIES: usize = 64;

/// Keys and decoded values; what is no entry is left out.
pub(super) fn entries(header: &str) -> impl Iterator<Item = (&str, String)> {
    let whole = if header.len() <= MAX_BYTES { header } else { "" };
    whole.split(',').take(MAX_ENTRIES).filter_map(|member| {
        let (key, value) = member.split(';').next()?.split_once('=')?;
        let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        let is_token = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        is_token.then(|| (key, percent_decode_str(value).decode_utf8_lossy().into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_read_and_the_rest_is_left_out() {
        let read: Vec<_> = entries("a=1;p=2 ,\tb = x%20y%FF , =3, c, d=, e=1=2, \u{e9}=4").collect();
        let owned = |key, value: &str| (key, value.to_owned());
        assert_eq!(read, [owned("a", "1"), owned("b", "x y\u{fffd}"), owned("d", ""), owned("e", "1=2")]);
        assert_eq!(entries(&"a=1,".repeat(1_000)).count(), MAX_ENTRIES);
        assert_eq!(entries(&"a=1,".repeat(10_000)).count(), 0);
    }

    proptest! {
        #[test]
        fn nothing_panics(header in "\\PC{0,200}") {
            entries(&header).count();
        }
    }
}
