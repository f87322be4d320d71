//! What goes and what stays, by example; and what holds for every text.

use proptest::prelude::*;

use super::*;

/// What must go, and what the text is then.
const SECRETS: &[(&str, &str)] = &[
    ("postgres://app:hunter2@db:5432/orders", "postgres://REDACTED:REDACTED@db:5432/orders"),
    ("GET https://u:p@h/x and https://v:q@i/y", "GET https://REDACTED:REDACTED@h/x and https://REDACTED:REDACTED@i/y"),
    ("https://token@github.com/a/b.git", "https://REDACTED:REDACTED@github.com/a/b.git"),
    ("https://h/?sig=abc&x=1", "https://h/?sig=REDACTED&x=1"),
    ("/o?X-Amz-Credential=A%2FB&X-Amz-Signature=00ff&n=2", "/o?X-Amz-Credential=REDACTED&X-Amz-Signature=REDACTED&n=2"),
    ("/o?access_token=abc#f", "/o?access_token=REDACTED"),
    ("password=hunter2", "password=[Filtered]"),
    ("user=bob, dbPassword = hunter2, retries=3", "user=bob, dbPassword = [Filtered], retries=3"),
    ("Login { user: \"bob\", password: \"hun ter\\\"2\", n: 1 }", "Login { user: \"bob\", password: \"[Filtered]\", n: 1 }"),
    (r#"{"api_key":"abc","n":1}"#, r#"{"api_key":"[Filtered]","n":1}"#),
    (r#""{\"secret\":\"abc\",\"n\":1}""#, r#""{\"secret\":\"[Filtered]\",\"n\":1}""#),
    ("token: Some(\"abc\")", "token: [Filtered]"),
    ("Login { password: Password(\"hunter2\"), n: 1 }", "Login { password: [Filtered], n: 1 }"),
    ("password: Some(\n    \"hunter2\",\n),\nn: 1", "password: [Filtered],\nn: 1"),
    ("secret: [104, 117, 110], n: 1", "secret: [Filtered], n: 1"),
    ("{\"password\":[\"hunter2\"],\"n\":1}", "{\"password\":[Filtered],\"n\":1}"),
    ("cookies: Jar { sid: \"a}b\" } end", "cookies: [Filtered] end"),
    ("password=b\"hunter2\" n", "password=[Filtered] n"),
    ("Authorization: ApiKey abcdef123456", "Authorization: [Filtered]"),
    ("GET /cards/4111111111111111/x", "GET /cards/[Filtered]/x"),
    ("card 4111111111111111 12/27", "card [Filtered] 12/27"),
    ("card 4111 1111 1111 1111 123", "card [Filtered] 123"),
    ("GET /verify/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2ln", "GET /verify/[Filtered]"),
    ("line\\nAKIAIOSFODNN7EXAMPLE x", "line\\n[Filtered] x"),
    ("Authorization: Bearer abcdef", "Authorization: [Filtered]"),
    ("Cookie: a=b; c=d\nHost: h", "Cookie: [Filtered]\nHost: h"),
    ("sent Bearer abc123def456ghi along", "sent Bearer [Filtered] along"),
    ("basic dXNlcjpwYXNzd29y=", "basic [Filtered]"),
    ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl back", "got [Filtered] back"),
    ("key AKIAIOSFODNN7EXAMPLE is old", "key [Filtered] is old"),
    ("ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "[Filtered]"),
    ("with sk_live_abcdefghijklmnop", "with [Filtered]"),
    ("xoxb-abcdefghij-klm", "[Filtered]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "[Filtered]\nrest"),
    ("----------BEGIN A KEY-----\nMIIEvQ\n-----END A KEY-----", "-----[Filtered]"),
    ("cut -----BEGIN PRIVATE KEY-----\nMIIEvQ", "cut [Filtered]"),
    ("card 4111111111111111.", "card [Filtered]."),
    ("card 4111-1111-1111-1111", "card [Filtered]"),
    ("card 3782 822463 10005 declined", "card [Filtered] declined"),
    ("mail to ada.l+x@example.org failed", "mail to [Filtered] failed"),
    // Report A12: in disguise.
    ("postgres://app:hun/ter2@db/orders", "postgres://REDACTED:REDACTED@db/orders"),
    ("postgres://app:hun#ter2@db:5432", "postgres://REDACTED:REDACTED@db:5432"),
    ("postgres://app:hun?ter2@db", "postgres://REDACTED:REDACTED@db"),
    ("postgres://app:hun'ter2@db", "postgres://REDACTED:REDACTED@db"),
    ("postgres://app:hun ter2@db", "postgres://REDACTED:REDACTED@db"),
    ("GET /x/%22ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ%22", "GET /x/%22[Filtered]%22"),
    ("/find?q=%20AKIAIOSFODNN7EXAMPLE", "/find?q=%20[Filtered]"),
    ("/login?pass%77ord=hunter2&n=1", "/login?pass%77ord=REDACTED&n=1"),
    ("/login?next=%2Fx%3Fpassword%3Dhunter2%26n%3D1", "/login?next=%2Fx%3Fpassword%3D[Filtered]%26n%3D1"),
    ("/users/ada%40example.org/x", "/users/[Filtered]/x"),
    ("[(\"user\", \"ada\"), (\"password\", \"hun ter2\")]", "[(\"user\", \"ada\"), (\"password\", \"[Filtered]\")]"),
    ("run serve --password hunter2 --port 80", "run serve --password [Filtered] --port 80"),
    ("[\"serve\", \"--token\", \"abc\", \"--port\"]", "[\"serve\", \"--token\", \"[Filtered]\", \"--port\"]"),
    ("run --password \"hun ter2\" --port 80", "run --password \"[Filtered]\" --port 80"),
    ("[\"--password\", \"hun ter2\", \"x\"]", "[\"--password\", \"[Filtered]\", \"x\"]"),
    ("[\n    \"--token\",\n    \"a\\\"bc\",\n]", "[\n    \"--token\",\n    \"[Filtered]\",\n]"),
    (r#"args=[\"--token\",\"abc\"]"#, r#"args=[\"--token\",\"[Filtered]\"]"#),
    (r#"[\n    \"--token\",\n    \"abc\",\n]"#, r#"[\n    \"--token\",\n    \"[Filtered]\",\n]"#),
    ("['-token', 'abc']", "['-token', '[Filtered]']"),
    ("cmd\n-password hunter2", "cmd\n-password [Filtered]"),
    ("form-data; name=\"password\"\r\n\r\na\\b\r\n--bound", "form-data; name=\"password\"\r\n\r\n[Filtered]\r\n--bound"),
    ("<login><user>ada</user><password>hunter2</password></login>", "<login><user>ada</user><password>[Filtered]</password></login>"),
    ("<wsse:Password Type=\"Text\">hun ter2</wsse:Password>", "<wsse:Password Type=\"Text\">[Filtered]</wsse:Password>"),
    (
        r#"[{"name":"password","value":"hunter2"},{"name":"n","value":"1"}]"#,
        r#"[{"name":"password","value":"[Filtered]"},{"name":"n","value":"1"}]"#,
    ),
    ("Header { name: \"x-api-key\", value: \"abc\" }", "Header { name: \"x-api-key\", value: \"[Filtered]\" }"),
    ("form-data; name=\"password\"\r\n\r\nhunter2\r\n--bound", "form-data; name=\"password\"\r\n\r\n[Filtered]\r\n--bound"),
    (
        "form-data; name=\"token\"\nContent-Type: text/plain\n\nabc\n--b",
        "form-data; name=\"token\"\nContent-Type: text/plain\n\n[Filtered]\n--b",
    ),
    ("password=a,b", "password=[Filtered]"),
    ("Server=db;Password=a;b;Database=c", "Server=db;Password=[Filtered];Database=c"),
    ("x-functions-key: abc", "x-functions-key: [Filtered]"),
    ("Ocp-Apim-Subscription-Key: abc", "Ocp-Apim-Subscription-Key: [Filtered]"),
    ("cf-connecting-ip: 203.0.113.7", "cf-connecting-ip: [Filtered]"),
    ("sid=abc", "sid=[Filtered]"),
    ("GET /callback?code=4/0AfJohXlx9Yz&state=1", "GET /callback?code=REDACTED&state=1"),
    ("POST https://hooks.slack.com/services/T0AB/B0CD/x1y2z3a4", "POST https://hooks.slack.com/services/[Filtered]"),
    ("https://discord.com/api/webhooks/1234567890/abcDEF-ghi", "https://discord.com/api/webhooks/[Filtered]"),
    ("got eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..iv01.ciphertext.tag back", "got [Filtered] back"),
];

/// What must stay as it is.
const HARMLESS: &[&str] = &[
    "charging card",
    "GET /cart/42?page=2&sort=price",
    "connect to 10.0.0.7:5432: connection refused",
    "token_count=512 max_tokens=4096",
    "primary key: 17, sort key=name",
    "Basic authentication failed; Bearer authentication required",
    "order 4111111111111112 not found",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736 at 1732312345678901234",
    "9f86d081-884c-4d65-9a2f-eaa0c55ad015",
    "2026-11-22T20:08:53.000123Z took 12:30:45",
    "crate::shop::Cart::add at src/cart.rs:41:9",
    "session.id = 7",
    "a::b::<C as D>::e",
    "std::num::ParseIntError { kind: InvalidDigit }",
    "use @ sparingly, see user@host",
    "passed=12 compass: north",
    "sha256:9b74c9897bac770ffc029102a200c5de",
    "http://localhost:8080/users/@me and https://example.org/@ada",
    "50% of 12 items, (\"user\", \"ada\"), a -> b, x > y",
    "cargo run --release -- --port 80 - x",
    "<p>text</p> Vec<u8> Option<Token> is none",
    r#"{"name":"ada","value":"1"}"#,
    "exit code=404, ?code=404&x=1",
    "a,b;c, d",
    "discord.com is down",
    "not provided:\n  <TOKEN>\n\nUsage: login <TOKEN>\n\nFor more information, try '--help'.",
    "expected <password> but found EOF at line 3",
    "<shop::Session as Drop>::drop failed: it was closed",
    "'--token <TOKEN>' is missing, the option '--token' requires a value, see --help",
    "cannot reach http://payments:8080: connection refused, ask for user@host",
    "http://db:5432, user=bob@x",
];

#[test]
fn secrets_go_and_the_rest_stays() {
    let scrubber = Scrubber::default();
    for (text, expected) in SECRETS {
        assert_eq!(scrubber.scrub(text), *expected, "{text}");
        assert!(scan::is_suspicious(text.as_bytes()), "{text}");
        assert_eq!(scrubber.scrub(expected), *expected, "twice is once");
    }
    for text in HARMLESS {
        assert_eq!(scrubber.scrub(text), *text);
    }
    assert_eq!(scrubber.scrub("<x><password>hunter2"), "<x><password>[Filtered]", "a text that was cut");
}

#[test]
fn the_first_look_knows_the_same_tokens() {
    for byte in 0..=u8::MAX {
        let mut text = *b"Aaaaaaaa";
        text[3] = byte;
        let looks_long = scan::is_suspicious(&text) && !matches!(byte, b'=' | b':' | b'@' | b'%' | b'>');
        assert_eq!(looks_long, credentials::is_token(byte), "{byte}");
    }
}

#[test]
fn keys_are_compared_by_segments() {
    let scrubber = Scrubber::default().with_denied("internal_ref").with_allowed("public-token");
    for key in [
        "password",
        "db_password",
        "dbPassword",
        "DB.PASSWORD",
        "passwordHash",
        "http.request.header.authorization",
        "X-Api-Key",
        "api_key",
        "apikey",
        "access_token",
        "refreshToken",
        "token",
        "session",
        "sessionid",
        "JSESSIONID",
        "set-cookie",
        "aws_secret_access_key",
        "cvv",
        "card.number",
        "DB_PASS",
        "password1",
        "passwords",
        "newpassword",
        "accesstoken",
        "clientsecret",
        "DBPassword",
        "APIToken",
        "AWSSecretKey",
        "internalRef",
        "x.internal_ref.y",
        "user.email",
        "client.address",
        "x-forwarded-for",
        "pin",
        "ssn",
        "x-functions-key",
        "Ocp-Apim-Subscription-Key",
        "cf-connecting-ip",
        "sid",
        "code_verifier",
    ] {
        assert_eq!(scrubber.key(key), Treatment::Filter, "{key}");
    }
    for key in [
        "message",
        "user.id",
        "user.name",
        "session.id",
        "token_count",
        "max_tokens",
        "tokens",
        "publicToken",
        "public_token",
        "author",
        "authenticated",
        "key",
        "primary_key",
        "feature_flag.key",
        "compass",
        "spinner",
        "assignment",
        "cookie_count",
        "http.route",
        "code.file.path",
        "passed",
        "server.address",
        "description",
        "session_count",
        "signature_version",
        "secretary",
        "zip",
    ] {
        assert_eq!(scrubber.key(key), Treatment::Keep, "{key}");
    }
    assert_eq!(Scrubber::default().with_default_pii(true).key("user.email"), Treatment::Keep);
    assert_eq!(Scrubber::none().key("password"), Treatment::Keep);
    assert_eq!(Scrubber::none().with_denied("password").scrub("password=x, token=y"), "password=[Filtered], token=y");
}

#[test]
fn a_hash_keeps_values_apart_and_needs_the_secret() {
    let scrubber = Scrubber::default().with_hashed("pepper", ["user.id"]);
    assert_eq!(scrubber.key("user.id"), Treatment::Hash);
    let hash = |scrubber: &Scrubber, text: &str| scrubber.value("user.id", text).unwrap().into_owned();
    assert_eq!(hash(&scrubber, "42"), hash(&scrubber, "42"));
    assert_eq!(hash(&scrubber, "42").len(), 32);
    assert_ne!(hash(&scrubber, "42"), hash(&scrubber, "43"));
    assert_ne!(hash(&scrubber, "42"), hash(&Scrubber::default().with_hashed("salt", ["user.id"]), "42"));
}

#[test]
fn arguments_are_cleaned_one_by_one_and_in_pairs() {
    let arguments = ["serve", "--password", "hunter2", "--token=abc", "--port", "80", "-p", "x", "redis://u:p@h", "--secret", "--verbose"];
    let cleaned = Scrubber::default().arguments(arguments.map(str::to_owned));
    let expected = [
        "serve",
        "--password",
        "[Filtered]",
        "--token=[Filtered]",
        "--port",
        "80",
        "-p",
        "x",
        "redis://REDACTED:REDACTED@h",
        "--secret",
        "--verbose",
    ];
    assert_eq!(cleaned, expected);
}

#[test]
fn a_rule_that_panics_fails_closed() {
    let panics = Scrubber::default().with_rule(|_| panic!("a rule of the program's own"));
    assert_eq!(panics.text("harmless"), Err(Failed));
    assert_eq!(panics.scrub("harmless"), FILTERED);
    let outside = Scrubber::default().with_rule(|text| Some(0..text.len() + 1));
    assert_eq!(outside.text("harmless"), Err(Failed));
}

proptest! {
    /// Whatever surrounds it, in whatever place.
    #[test]
    fn a_secret_is_found_anywhere(index in 0..SECRETS.len(), before in "[a-zA-Z ,.é\n]{0,40} ", after in " [a-z ,.é]{0,40}") {
        let (secret, expected) = SECRETS[index];
        // What goes to the end of a text is not followed by anything.
        let after = if secret.starts_with("cut") || secret.ends_with("#f") || secret.starts_with("Authorization") { String::new() } else { after };
        let text = format!("{before}{secret}{after}");
        prop_assert!(scan::is_suspicious(text.as_bytes()));
        prop_assert_eq!(Scrubber::default().scrub(&text), format!("{before}{expected}{after}"));
    }

    #[test]
    fn nothing_panics_and_nothing_is_found_that_the_first_look_excludes(text in "\\PC{0,200}", ascii in "[ -~]{0,200}") {
        for text in [text, ascii] {
            let mut found = Vec::new();
            scan::scan(text.as_bytes(), &Scrubber::default(), &mut found);
            prop_assert!(found.is_empty() || scan::is_suspicious(text.as_bytes()), "{:?} in {:?}", found, text);
            prop_assert!(found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
            let mut buffer = text.clone().into_bytes();
            prop_assert_eq!(Scrubber::default().tail(&mut buffer, 0), Ok(()));
            prop_assert_eq!(String::from_utf8(buffer).unwrap(), Scrubber::default().scrub(&text));
        }
    }
}
