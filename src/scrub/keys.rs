//! Which keys hold secrets: the union of what Sentry's and Datadog's scrubbers know, compared by segments.

/// A key in lower case, cut where its parts meet: at anything but letters and digits, and where a capital follows a small letter.
pub(super) struct Segments {
    /// The parts, one after the other.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Bytes of a key that are looked at.
const MAX_KEY: usize = 128;

impl Segments {
    pub(super) fn of(key: &str) -> Self {
        let mut segments = Self { text: String::with_capacity(key.len().min(MAX_KEY)), ends: Vec::new() };
        let mut previous = ' ';
        for character in key.chars().take(MAX_KEY) {
            if !character.is_alphanumeric() || (character.is_uppercase() && previous.is_lowercase()) {
                segments.end();
            }
            if character.is_alphanumeric() {
                segments.text.extend(character.to_lowercase());
            }
            previous = character;
        }
        segments.end();
        segments
    }

    fn end(&mut self) {
        if self.text.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.text.len());
        }
    }

    /// Every run of at most four segments, written together; and whether it is the key's end.
    fn runs(&self) -> impl Iterator<Item = (&str, bool)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.enumerate().flat_map(move |(index, start)| {
            let ends = self.ends.iter().skip(index).take(4);
            ends.map(move |end| (&self.text[start..*end], *end == self.text.len()))
        })
    }
}

/// Keys by their parts written together.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyList(Vec<String>);

impl KeyList {
    pub(super) fn insert(&mut self, key: &str) {
        self.0.push(Segments::of(key).text);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole key is in the list.
    pub(super) fn is(&self, key: &Segments) -> bool {
        self.0.contains(&key.text)
    }

    /// A run of the key's segments is in the list.
    pub(super) fn has_run_of(&self, key: &Segments) -> bool {
        !self.0.is_empty() && key.runs().any(|(run, _)| self.0.iter().any(|denied| denied == run))
    }
}

/// Whether values of this key are secrets.
pub(super) fn is_secret(key: &Segments) -> bool {
    EXACT.contains(&&*key.text) || key.runs().any(|(run, is_end)| ANYWHERE.contains(&run) || is_end && AT_THE_END.contains(&run))
}

/// Whether values of this key are personal data.
pub(super) fn is_personal(key: &Segments) -> bool {
    PERSONAL_EXACT.contains(&&*key.text) || key.runs().any(|(run, is_end)| is_end && PERSONAL_AT_THE_END.contains(&run))
}

/// Keys of the semantic conventions that only look like others.
pub(super) fn is_conventional(key: &str) -> bool {
    matches!(key, "session.id" | "session.previous_id" | "feature_flag.key" | "user.hash" | "messaging.kafka.message.key")
}

/// These make a key a secret wherever they stand in it.
const ANYWHERE: [&str; 23] = [
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
];

/// These where they are its end: `access_token` is one, `token_count` is not.
const AT_THE_END: [&str; 34] = [
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
];

/// These only as a whole key; in longer ones they mean other things.
const EXACT: [&str; 10] = ["auth", "session", "pin", "nonce", "salt", "pass", "pan", "sig", "signature", "cardno"];

const PERSONAL_EXACT: [&str; 12] = [
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
];

const PERSONAL_AT_THE_END: [&str; 15] = [
    "email",
    "emailaddress",
    "mailaddress",
    "ipaddress",
    "ipaddr",
    "clientip",
    "remoteip",
    "userip",
    "remoteaddr",
    "clientaddress",
    "forwardedfor",
    "realip",
    "fullname",
    "phonenumber",
    "dateofbirth",
];
