//! `docs/FROM-SENTRY.md` names what there is: every function and method of ours in it is in the
//! sources.

use std::{collections::BTreeSet, fs, path::Path};

/// All public names of the library: `fn name`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            functions(&entry, names);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&entry).expect("a source");
            let declared = source
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("pub fn ").or(line.trim_start().strip_prefix("pub const fn ")));
            names.extend(declared.map(|rest| rest.split(['(', '<']).next().unwrap_or_default().to_owned()));
        }
    }
}

/// Report 14.11.
#[test]
fn what_the_tables_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    functions(&root.join("src"), &mut names);
    let text = fs::read_to_string(root.join("docs/FROM-SENTRY.md")).expect("the tables");
    let mut looked_at = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| there")) {
        let ours = row.replace("\\|", " ").rsplit(" | ").next().unwrap_or_default().to_owned();
        for code in ours.split('`').skip(1).step_by(2).filter(|code| code.starts_with("with_") || code.starts_with("set_")) {
            let name = code.split(['(', ' ']).next().unwrap_or_default();
            assert!(names.contains(name), "{name:?} in {row}");
            looked_at += 1;
        }
    }
    assert!(looked_at >= 20, "{looked_at}");
}
