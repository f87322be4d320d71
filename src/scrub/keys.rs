//! Which keys hold secrets: the union of what Sentry's and Datadog's scrubbers know, compared by
//! segments.

/// A key in lower case, cut where its parts meet: at anything but letters and digits, and where a
/// capital follows a small letter. On the stack: keys are judged within texts, too.
pub(super) struct Segments {
    /// The parts, one after the other.
    text: [u8; MAX_KEY],
    length: usize,
    /// Where each part ends.
    ends: [u8; MAX_PARTS],
    count: usize,
}

/// Bytes of a key that are looked at, and parts.
const MAX_KEY: usize = 96;
const MAX_PARTS: usize = 24;

impl Segments {
    pub(super) fn of(key: &str) -> Self {
        let mut segments = Self { text: [0; MAX_KEY], length: 0, ends: [0; MAX_PARTS], count: 0 };
        // The end of a long key says what it is.
        let start = (0..=key.len().saturating_sub(MAX_KEY)).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
        let key = &key.as_bytes()[start..];
        let mut previous = b' ';
        for (index, &byte) in key.iter().enumerate() {
            let is_part = byte.is_ascii_alphanumeric() || !byte.is_ascii();
            // `dbPassword`, and `DBPassword`.
            let begins_word = byte.is_ascii_uppercase()
                && (previous.is_ascii_lowercase()
                    || (previous.is_ascii_uppercase() && key.get(index + 1).is_some_and(u8::is_ascii_lowercase)));
            if !is_part || begins_word {
                segments.end();
            }
            if is_part && segments.length < MAX_KEY {
                segments.text[segments.length] = byte.to_ascii_lowercase();
                segments.length += 1;
            }
            previous = byte;
        }
        segments.end();
        segments
    }

    /// All parts, written together.
    fn whole(&self) -> &[u8] {
        &self.text[..self.length]
    }

    fn end(&mut self) {
        let last = self.count.checked_sub(1).map_or(0, |last| self.ends[last]);
        if self.length > usize::from(last) && self.count < MAX_PARTS {
            self.ends[self.count] = self.length as u8;
            self.count += 1;
        }
    }

    /// Every run of at most four segments, written together; and whether it is the key's end.
    fn runs(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let ends = &self.ends[..self.count];
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.enumerate().flat_map(move |(index, start)| {
            ends.iter()
                .skip(index)
                .take(4)
                .map(move |end| (&self.text[usize::from(start)..usize::from(*end)], usize::from(*end) == self.length))
        })
    }
}

/// Keys by their parts written together.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyList(Vec<Vec<u8>>);

impl KeyList {
    pub(super) fn insert(&mut self, key: &str) {
        self.0.push(Segments::of(key).whole().to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A run of the key's last segments is in the list.
    pub(super) fn has_end_of(&self, key: &Segments) -> bool {
        !self.0.is_empty() && key.runs().any(|(run, is_end)| is_end && self.0.iter().any(|known| known == run))
    }

    /// The whole key is in the list.
    pub(super) fn is(&self, key: &Segments) -> bool {
        self.0.iter().any(|known| known == key.whole())
    }

    /// A run of the key's segments is in the list.
    pub(super) fn has_run_of(&self, key: &Segments) -> bool {
        !self.0.is_empty() && key.runs().any(|(run, _)| self.0.iter().any(|denied| denied == run))
    }
}

/// Whether a key is one word in small letters, and in none of the lists. Most keys are, and need
/// not be cut into segments.
pub(super) fn is_harmless_word(key: &[u8], personal: bool) -> bool {
    let is_known = || {
        [&ANYWHERE, &AT_THE_END, &EXACT].iter().any(|words| is_in(words, key))
            || personal && [&PERSONAL_AT_THE_END, &PERSONAL_EXACT].iter().any(|words| is_in(words, key))
    };
    key.len() < 32 && key.iter().all(u8::is_ascii_lowercase) && !is_known() && !is_compound(key, true)
}

/// Whether values of this key are secrets; or, with `personal`, personal data.
pub(super) fn is_denied(key: &Segments, personal: bool) -> bool {
    let whole = key.whole();
    if is_in(&EXACT, whole) || personal && is_in(&PERSONAL_EXACT, whole) {
        return true;
    }
    key.runs().any(|(run, is_end)| {
        is_compound(run, is_end)
            || ANY_LENGTHS[usize::from(run[0])] & (1u32.wrapping_shl(run.len() as u32)) != 0
                && (is_in(&ANYWHERE, run) || is_end && (is_in(&AT_THE_END, run) || personal && is_in(&PERSONAL_AT_THE_END, run)))
    })
}

/// Words that are written together with others, as HTTP's lower-case names and numbered ones are.
fn is_compound(run: &[u8], is_end: bool) -> bool {
    if run.len() < 6 {
        return false;
    }
    let run = if run[run.len() - 1].is_ascii_digit() {
        &run[..run.len() - run.iter().rev().take_while(|byte| byte.is_ascii_digit()).count()]
    } else {
        run
    };
    run.len() > 4
        && match run[run.len() - 1] {
            b'd' => run.ends_with(b"password") || run.ends_with(b"passwd"),
            b't' => run.ends_with(b"secret"),
            b'y' => run.ends_with(b"apikey"),
            b'n' => is_end && run.ends_with(b"token"),
            b's' => run.ends_with(b"passwords"),
            _ => run.starts_with(b"password"),
        }
}

/// Most runs are told from all words by their first letter and length.
fn is_in(words: &Words, run: &[u8]) -> bool {
    let Some(first) = run.first().filter(|_| run.len() < 32) else { return false };
    words.lengths[usize::from(*first)] & (1 << run.len()) != 0 && words.all.iter().any(|word| word.as_bytes() == run)
}

/// Of all lists that runs are looked up in.
static ANY_LENGTHS: [u32; 256] = {
    let mut lengths = [0; 256];
    let mut first = 0;
    while first < 256 {
        lengths[first] = ANYWHERE.lengths[first] | AT_THE_END.lengths[first] | PERSONAL_AT_THE_END.lengths[first];
        first += 1;
    }
    lengths
};

struct Words {
    all: &'static [&'static str],
    /// By first letter: a bit for each length.
    lengths: [u32; 256],
}

const fn words(all: &'static [&'static str]) -> Words {
    let mut lengths = [0; 256];
    let mut index = 0;
    while index < all.len() {
        let word = all[index].as_bytes();
        lengths[word[0] as usize] |= 1 << word.len();
        index += 1;
    }
    Words { all, lengths }
}

/// Keys of the semantic conventions that only look like others.
pub(super) fn is_conventional(key: &str) -> bool {
    matches!(key, "session.id" | "session.previous_id" | "feature_flag.key" | "user.hash" | "messaging.kafka.message.key")
}

/// These make a key a secret wherever they stand in it.
static ANYWHERE: Words = words(&[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "authorization",
    "privatekey",
    "secretkey",
    "apikey",
    "accesskey",
    "encryptionkey",
    "signingkey",
    "creditcard",
    "cardnumber",
    "cvv",
    "cvc",
    "ssn",
    "socialsecurity",
    "connectionstring",
]);

/// These where they are its end: `access_token` is one, `token_count` is not.
static AT_THE_END: Words = words(&[
    "pass",
    "token",
    "jwt",
    "bearer",
    "cookie",
    "cookies",
    "setcookie",
    "csrf",
    "xsrf",
    "csrftoken",
    "sessionid",
    "sessid",
    "phpsessid",
    "jsessionid",
    "connectsid",
    "sessionkey",
    "sshkey",
    "accountkey",
    "sharedkey",
    "masterkey",
    "hmackey",
    "pgppass",
    "mysqlpwd",
    "pgpassword",
    "otp",
    "totp",
    "mfacode",
    "verificationcode",
    "databaseurl",
    "dburl",
    "redisurl",
    "iban",
    "accountnumber",
    "sas",
    "sharedaccesssignature",
    "functionskey",
    "functionkey",
    "subscriptionkey",
    "authkey",
    "appkey",
    "applicationkey",
    "licensekey",
    "authcode",
    "authorizationcode",
    "devicecode",
    "codeverifier",
]);

/// These only as a whole key; in longer ones they mean other things.
static EXACT: Words = words(&["auth", "sid", "session", "pin", "nonce", "salt", "pan", "sig", "signature", "cardno"]);

static PERSONAL_EXACT: Words = words(&[
    "mail",
    "ip",
    "processowner",
    "processusername",
    "processrealusername",
    "processsavedusername",
    "networkpeeraddress",
    "netpeerip",
    "netsockpeeraddr",
    "sourceaddress",
    "phone",
    "forwarded",
]);

static PERSONAL_AT_THE_END: Words = words(&[
    "email",
    "emailaddress",
    "mailaddress",
    "ipaddress",
    "ipaddr",
    "clientip",
    "peerip",
    "sourceip",
    "srcip",
    "peeraddr",
    "clientaddr",
    "remoteip",
    "userip",
    "remoteaddr",
    "clientaddress",
    "forwardedfor",
    "realip",
    "connectingip",
    "externaladdress",
    "fullname",
    "phonenumber",
    "dateofbirth",
]);
