//! Which of an enumeration's errors it is, by the names in its `Debug` text:
//! `Database(Sqlx(PoolTimedOut))`. Values are left out: they differ from case to case, and may be
//! anybody's.

/// Names, and bytes of them, at most.
const MAX_NAMES: usize = 6;
const MAX_BYTES: usize = 128;

/// `Database/Sqlx/PoolTimedOut`: the names from the outermost inwards, as long as each holds the
/// next as its only or first value, or as its `source`; and a `kind` or `code` that is a name.
/// Empty where the text does not begin like that of a type.
pub(crate) fn path(debug: &str) -> String {
    let (mut path, mut rest) = (String::new(), debug);
    for _ in 0..MAX_NAMES {
        let Some((name, after)) = name(rest) else { break };
        push(&mut path, name);
        match within(after) {
            Within::Another(next) => rest = next,
            Within::Kind(kind) => {
                push(&mut path, kind);
                break;
            }
            Within::Values => break,
        }
    }
    path
}

/// What stands behind a name.
enum Within<'a> {
    Another(&'a str),
    Kind(&'a str),
    Values,
}

fn within(rest: &str) -> Within<'_> {
    let rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('(') {
        return Within::Another(inner);
    }
    let Some(mut fields) = rest.strip_prefix('{') else { return Within::Values };
    // A number may come first, as in `Os { code: 2, kind: NotFound }`.
    for _ in 0..2 {
        let Some((field, value)) = fields.trim_start().split_once(": ") else { break };
        match (field, name(value)) {
            ("kind" | "code", Some((kind, _))) => return Within::Kind(kind),
            ("source" | "error" | "inner", Some(_)) => return Within::Another(value),
            _ => {}
        }
        let number = value.trim_start_matches(|next: char| next.is_ascii_digit());
        let Some(next) = number.strip_prefix(", ").filter(|_| number.len() < value.len()) else { break };
        fields = next;
    }
    Within::Values
}

/// The name at the beginning of a text, without the path before it, and what comes after. A name of
/// a type or variant: it begins with a capital letter, and a value or nothing follows.
fn name(text: &str) -> Option<(&str, &str)> {
    let is_of_path = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | ':');
    let end = text.find(|next| !is_of_path(next)).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    // `code: Name` has one colon, `module::Name` two.
    let name = path.rsplit("::").next().filter(|name| !name.contains(':'))?;
    let is_ended = rest.trim_start().is_empty() || rest.trim_start().starts_with(['(', '{', ')', '}', ',']);
    (name.starts_with(|first: char| first.is_ascii_uppercase()) && is_ended).then_some((name, rest))
}

fn push(path: &mut String, name: &str) {
    if path.len() + name.len() < MAX_BYTES {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_and_values_do_not() {
        for (debug, expected) in [
            ("QuotaExceeded", "QuotaExceeded"),
            ("QuotaExceeded { used: 7, of: 5 }", "QuotaExceeded"),
            ("NotFound(\"ada\")", "NotFound"),
            ("NotFound(UserId(7))", "NotFound/UserId"),
            ("Database(Sqlx(PoolTimedOut))", "Database/Sqlx/PoolTimedOut"),
            ("Io(Os { code: 2, kind: NotFound, message: \"No such file\" })", "Io/Os/NotFound"),
            ("Custom { kind: InvalidData, error: \"x\" }", "Custom/InvalidData"),
            ("ParseIntError { kind: InvalidDigit }", "ParseIntError/InvalidDigit"),
            ("reqwest::Error { kind: Request, url: \"http://a/\" }", "Error/Request"),
            ("Status { code: Unavailable, message: \"no\" }", "Status/Unavailable"),
            ("Load { source: Parse(3), path: \"/a\" }", "Load/Parse"),
            ("Error(\"expected value\", line: 1, column: 1)", "Error"),
            ("Invalid { state: Paid }", "Invalid"),
            ("disk full", ""),
            ("Disk is full", ""),
            ("", ""),
            ("A(B(C(D(E(F(G(H)))))))", "A/B/C/D/E/F"),
        ] {
            assert_eq!(path(debug), expected, "{debug}");
        }
    }

    proptest::proptest! {
        /// Whatever the text, and never more than is bounded.
        #[test]
        fn any_text_is_read(text in ".*") {
            proptest::prop_assert!(path(&text).len() <= MAX_BYTES);
        }

        /// What varies between two values of one variant is not in it.
        #[test]
        fn two_values_of_a_variant_are_one(left in "[^\"\\\\]*", right in "[^\"\\\\]*") {
            proptest::prop_assert_eq!(path(&format!("Gone({left:?})")), path(&format!("Gone({right:?})")));
        }
    }
}
