//! The id of one exception: what the caller gets, the record carries, and a user can quote.

use std::{fmt, str::FromStr};

use crate::clock::now;

/// Names one exception record. A ULID: 26 characters of Crockford's base 32, sorted by time; in the
/// record as `crumbtrail.error.id`.
///
/// ```
/// # #[derive(Debug)] struct Declined;
/// # impl std::fmt::Display for Declined { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("declined") } }
/// # impl std::error::Error for Declined {}
/// let id = crumbtrail::capture(&Declined);
/// assert_eq!(id.to_string().len(), 26);
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorId(u128);

impl ErrorId {
    /// A new id: milliseconds since the Unix epoch in the upper 48 bits, 80 random bits below.
    pub(crate) fn new() -> Self {
        let millis = u128::from(now() / 1_000_000) & ((1 << 48) - 1);
        Self((millis << 80) | (crate::random::random_id() & ((1 << 80) - 1)))
    }

    /// The id as 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for ErrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..26).rev() {
            let index = (self.0 >> (5 * digit)) as usize & 31;
            fmt::Write::write_char(f, char::from(ALPHABET[index]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ErrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorId({self})")
    }
}

impl FromStr for ErrorId {
    type Err = ParseErrorIdError;

    /// Reads the 26 characters, upper or lower case.
    fn from_str(text: &str) -> Result<Self, ParseErrorIdError> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(ParseErrorIdError(()));
        }
        text.bytes()
            .try_fold(0u128, |id, byte| {
                let digit = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_uppercase())?;
                Some((id << 5) | digit as u128)
            })
            .map(Self)
            .ok_or(ParseErrorIdError(()))
    }
}

/// The text is not an [`ErrorId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an error id; expected 26 characters of Crockford's base 32")]
pub struct ParseErrorIdError(());
