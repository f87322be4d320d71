//! What crumbtrail's features turn on in other crates: features are those of all crates of a
//! program. Report 14.9.

use std::process::Command;

/// Crates and their features, as Cargo builds them for these of ours.
fn tree(features: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "crumbtrail",
            "--edges",
            "normal,features",
            "--prefix",
            "none",
            "--no-default-features",
            "--features",
            features,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// With a second one rustls panics in programs that rely on there being one; with TLS but without
/// cryptography, reqwest does in those that use it in plain text.
#[test]
fn cryptography_is_chosen_for_nobody_else() {
    let tree = tree("http,json,grpc,tls,tls-bundled-roots");
    assert!(tree.contains("rustls feature \"std\"") && tree.contains("rustls-graviola"), "{tree}");
    for feature in ["ring", "aws_lc_rs", "aws-lc-rs", "fips", "custom-provider"] {
        assert!(!tree.contains(&format!("rustls feature \"{feature}\"")), "{feature}: {tree}");
    }
    for name in ["ring v", "aws-lc-", "reqwest v", "native-tls v", "openssl v", "openssl-sys"] {
        assert!(tree.lines().all(|line| !line.starts_with(name)), "{name}: {tree}");
    }
    assert!(!tree.contains("tonic feature \"tls"), "{tree}");
}
