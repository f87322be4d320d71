//! Secrets and personal data are taken out on the caller's thread, before a value reaches the
//! trail, an outbox, the spool or the network. Comes in: keys and values. Goes out: the same,
//! without what must not be told.
//!
//! A key is judged once per callsite; a value costs one pass over its bytes, and a second one only
//! if something in it looks like more than words.

#[cfg(feature = "console")]
pub(crate) mod console;
mod credentials;
mod disguises;
mod keys;
mod scan;

use std::{borrow::Cow, fmt, hash::Hasher as _, ops::Range, sync::Arc};

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use self::keys::KeyList;
use crate::unwind::guarded;

/// Bytes beyond a limit that are looked at before a text is cut there: what begins before the cut
/// must be known for what it is.
pub(crate) const SLACK: usize = 512;

/// What stands where a secret was. (In URLs it is `REDACTED`, as the semantic conventions have it.)
pub(crate) const FILTERED: &str = "[Filtered]";

/// What is taken out of records, by key and by value. The default takes out credentials of every
/// kind, card numbers, e-mail addresses and the addresses of clients.
///
/// Keys are compared by their segments, whatever the spelling: `dbPassword`, `DB_PASSWORD` and
/// `db.password` are one. Values are searched for URL credentials and secret query parameters,
/// `key=value` pairs with a denied key, bearer and basic tokens, JWTs, PEM blocks, the keys of
/// well-known providers, and card numbers (Luhn). All of it takes time linear in the text: 0.2 µs
/// for a KiB of words, about 4 µs for one of JSON.
///
/// ```
/// use crumbtrail::Scrubber;
///
/// let scrubber = Scrubber::default().with_denied("internal_ref").with_allowed("publicToken");
/// assert_eq!(scrubber.scrub("postgres://app:hunter2@db/orders"), "postgres://REDACTED:REDACTED@db/orders");
/// assert_eq!(scrubber.scrub("paid with 4111 1111 1111 1111"), "paid with [Filtered]");
/// assert_eq!(scrubber.scrub("internal_ref=77 publicToken=abc"), "internal_ref=[Filtered] publicToken=abc");
/// ```
///
/// Values that are not text stay what they are, but for numbers under a denied key and numbers that
/// are card numbers. Should a rule panic, the record it was to clean is dropped and counted as
/// [`LossReason::ScrubberFailed`](crate::stats::LossReason::ScrubberFailed).
#[derive(Clone)]
pub struct Scrubber {
    denied: KeyList,
    allowed: KeyList,
    hashed: KeyList,
    secret: Option<[u8; 16]>,
    rules: Vec<Rule>,
    built_in: bool,
    personal: bool,
}

/// Finds the first secret in a text.
type Rule = Arc<dyn Fn(&str) -> Option<Range<usize>> + Send + Sync>;

impl Default for Scrubber {
    fn default() -> Self {
        Self {
            denied: KeyList::default(),
            allowed: KeyList::default(),
            hashed: KeyList::default(),
            secret: None,
            rules: Vec::new(),
            built_in: true,
            personal: false,
        }
    }
}

impl fmt::Debug for Scrubber {
    /// Without the hashing secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("built_in", &self.built_in).field("default_pii", &self.personal).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// A scrubber that takes out only what it is told to. For receivers that scrub, and for tests.
    pub fn none() -> Self {
        Self { built_in: false, personal: true, ..Self::default() }
    }

    /// Takes out the values of this key, too. It is found as a run of segments: `card` denies
    /// `card`, `card_number` and `user.card`.
    #[must_use]
    pub fn with_denied(mut self, key: &str) -> Self {
        self.denied.insert(key);
        self
    }

    /// Leaves the values of this key alone, whatever the built-in list says of it; patterns still
    /// apply. It is the whole key, in any spelling.
    #[must_use]
    pub fn with_allowed(mut self, key: &str) -> Self {
        self.allowed.insert(key);
        self
    }

    /// Replaces the values of these keys by a keyed hash of 32 hex digits, so that the same value
    /// is still the same: `user.id` becomes `user.hash`, others keep their name. Who does not know
    /// the secret cannot try out values (SipHash-2-4, 128 bits); use one for all instances of a
    /// service.
    #[must_use]
    pub fn with_hashed<K: AsRef<str>>(mut self, secret: &str, keys: impl IntoIterator<Item = K>) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(secret.as_bytes());
        self.secret = Some(hasher.finish128().as_bytes());
        keys.into_iter().for_each(|key| self.hashed.insert(key.as_ref()));
        self
    }

    /// A rule for values: returns where in a text the first secret is. It is asked again for what
    /// follows. Runs on the calling thread for every text, so it should be quick; it must not log.
    ///
    /// ```
    /// let scrubber = crumbtrail::Scrubber::default().with_rule(|text| {
    ///     let start = text.find("case-")?;
    ///     Some(start..text[start..].find(' ').map_or(text.len(), |end| start + end))
    /// });
    /// assert_eq!(scrubber.scrub("closed case-11 and case-12"), "closed [Filtered] and [Filtered]");
    /// ```
    #[must_use]
    pub fn with_rule(mut self, rule: impl Fn(&str) -> Option<Range<usize>> + Send + Sync + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Whether personal data is left in: e-mail addresses, the addresses of clients
    /// (`client.address`, `x-forwarded-for`, …) and full names. It is taken out by default, as
    /// Sentry's `send_default_pii(false)` does; what [`User::new`](crate::User::new) is given as id
    /// is always sent.
    #[must_use]
    pub fn with_default_pii(mut self, personal: bool) -> Self {
        self.personal = personal;
        self
    }

    /// A text as it would be sent. Allocates only if something has to be taken out.
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.text(text).unwrap_or(Cow::Borrowed(FILTERED))
    }

    /// What is to become of the values of a key.
    pub(crate) fn key(&self, key: &str) -> Treatment {
        if self.knows_no_keys() && keys::is_harmless_word(key.as_bytes(), !self.personal) {
            return Treatment::Keep;
        }
        let segments = keys::Segments::of(key);
        if self.hashed.has_end_of(&segments) {
            return Treatment::Hash;
        }
        let denied = self.denied.has_run_of(&segments) || self.built_in && keys::is_denied(&segments, !self.personal);
        if denied && !self.allowed.is(&segments) && !keys::is_conventional(key) { Treatment::Filter } else { Treatment::Keep }
    }

    /// As [`scrub`](Self::scrub). `Err`: a rule panicked.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, Failed> {
        let mut cleaned = Cow::Borrowed(text);
        if self.is_suspicious(text.as_bytes()) {
            let mut found = Vec::new();
            self.built_in(text.as_bytes(), &mut found);
            if !found.is_empty() {
                cleaned = Cow::Owned(replaced(text, &found));
            }
        }
        self.custom(cleaned)
    }

    /// As [`text`](Self::text), without the program's own rules: runs no user code.
    pub(crate) fn text_without_rules<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = Vec::new();
        self.built_in(text.as_bytes(), &mut found);
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(replaced(text, &found)) }
    }

    /// Whether rules of the program's own are to be asked as well.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// A text of which it is known under which key it stands.
    pub(crate) fn value<'a>(&self, key: &str, text: &'a str) -> Result<Cow<'a, str>, Failed> {
        Ok(match self.key(key) {
            Treatment::Keep => self.text(text)?,
            Treatment::Filter if text.is_empty() => Cow::Borrowed(text),
            Treatment::Filter => Cow::Borrowed(FILTERED),
            Treatment::Hash => Cow::Owned(self.hash(text)),
        })
    }

    /// Arguments of a command line: what follows a denied option goes, in one argument or the next.
    pub(crate) fn arguments(&self, arguments: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut follows_secret = false;
        let cleaned = arguments.into_iter().map(|argument| {
            let is_option = argument.starts_with('-');
            if std::mem::take(&mut follows_secret) && !is_option {
                return FILTERED.to_owned();
            }
            follows_secret = is_option && !argument.contains('=') && self.key(argument.trim_start_matches('-')) != Treatment::Keep;
            self.scrub(&argument).into_owned()
        });
        cleaned.collect()
    }

    /// Cleans the tail of a buffer of which `text` begins at `start`. The text is UTF-8, or nearly
    /// so.
    #[inline]
    pub(crate) fn tail(&self, buffer: &mut Vec<u8>, start: usize) -> Result<(), Failed> {
        if self.rules.is_empty() && !self.is_suspicious(&buffer[start..]) { Ok(()) } else { self.clean_tail(buffer, start) }
    }

    /// A number that is a card's.
    #[inline]
    pub(crate) fn is_card_number(&self, number: u128) -> bool {
        // No card has more than nineteen digits.
        number >= 1_000_000_000_000 && self.built_in && u64::try_from(number).is_ok_and(credentials::is_card)
    }

    /// 32 hex digits.
    pub(crate) fn hash(&self, text: &str) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.secret.unwrap_or_default());
        hasher.write(text.as_bytes());
        format!("{:032x}", hasher.finish128().as_u128())
    }

    #[inline]
    fn is_suspicious(&self, text: &[u8]) -> bool {
        (self.built_in || !self.denied.is_empty()) && scan::is_suspicious(text)
    }

    /// There are no keys but the built-in ones.
    fn knows_no_keys(&self) -> bool {
        self.denied.is_empty() && self.hashed.is_empty()
    }

    fn built_in(&self, text: &[u8], found: &mut Vec<Found>) {
        if self.built_in || !self.denied.is_empty() {
            scan::scan(text, self, found);
        }
    }

    #[cold]
    fn clean_tail(&self, buffer: &mut Vec<u8>, start: usize) -> Result<(), Failed> {
        let text = String::from_utf8_lossy(&buffer[start..]);
        let cleaned = match self.text(&text)? {
            Cow::Borrowed(same) if same.len() == text.len() => return Ok(()),
            cleaned => cleaned.into_owned(),
        };
        buffer.truncate(start);
        buffer.extend_from_slice(cleaned.as_bytes());
        Ok(())
    }

    fn custom<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, Failed> {
        self.rules.iter().try_fold(text, |text, rule| {
            let apply = || {
                let (mut cleaned, mut rest) = (String::new(), &*text);
                while let Some(range) = rule(rest) {
                    // Panics where the rule's range is not one of the text: that is the rule's failure.
                    cleaned.push_str(&rest[..range.start]);
                    cleaned.push_str(FILTERED);
                    rest = &rest[range.end.max(range.start)..];
                    if range.is_empty() {
                        break;
                    }
                }
                (rest.len() < text.len()).then(|| cleaned + rest)
            };
            match guarded(apply) {
                Some(None) => Ok(text),
                Some(Some(cleaned)) => Ok(Cow::Owned(cleaned)),
                None => Err(Failed),
            }
        })
    }
}

/// What becomes of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// They are searched.
    Keep,
    Filter,
    Hash,
}

/// A rule panicked: what it was to clean must not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// A secret, and what is to stand in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    range: Range<usize>,
    instead: &'static str,
}

fn replaced(text: &str, found: &[Found]) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut end = 0;
    for Found { range, instead } in found {
        cleaned.push_str(text.get(end..range.start).unwrap_or_default());
        cleaned.push_str(instead);
        end = range.end;
    }
    cleaned + text.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
