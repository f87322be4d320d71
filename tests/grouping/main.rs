//! One group per defect: pairs of failures that are the same defect or not, as a person would say.
//! Runs on debug and release builds; the ids are the same on both, and those of `ids.txt`, so that
//! a change of the algorithm shows.
//!
//! `CRUMBTRAIL_BLESS=1 cargo test --test grouping` writes `ids.txt` anew; then the version in the
//! ids has to change, too.

mod enums;
mod shop;

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crumbtrail::testing;

/// Raises one failure, with something that varies from case to case.
type Raise = fn(u32);

/// The ids of one failure: the group, and the coarser one.
fn ids(raise: Raise, variation: u32) -> (String, String) {
    let (_, collected) = testing::collect(|| {
        // Panics are among them; what is not caught ends the test.
        let _ = std::panic::catch_unwind(|| raise(variation));
    });
    let [exception] = collected.exceptions() else { panic!("{} exceptions:\n{collected:?}", collected.exceptions().len()) };
    (exception.group(), exception.coarse_group())
}

#[test]
fn the_corpus() {
    let mut wrong = String::new();
    let mut pairs = 0;
    for (what, left, right) in shop::SAME.iter().chain(enums::SAME) {
        let (left, right) = (ids(*left, 1), ids(*right, 2));
        pairs += 1;
        if left.0 != right.0 {
            let _ = writeln!(wrong, "same defect, two groups: {what}");
        }
    }
    for (what, left, right) in shop::DIFFERENT.iter().chain(enums::DIFFERENT) {
        let (left, right) = (ids(*left, 1), ids(*right, 1));
        pairs += 1;
        if left.0 == right.0 {
            let _ = writeln!(wrong, "different defects, one group: {what}");
        }
    }
    for (what, left, right) in shop::COARSELY_SAME.iter().chain(enums::COARSELY_SAME) {
        let (left, right) = (ids(*left, 1), ids(*right, 2));
        pairs += 1;
        if left.1 != right.1 || left.0 == right.0 {
            let _ = writeln!(wrong, "not one coarse group of two: {what}: {left:?} {right:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(pairs >= 104, "{pairs} pairs");
}

/// Debug or release, today or next year: the ids of the corpus are those on record.
#[test]
fn every_build_has_the_same_ids() {
    let of_shop = [shop::SAME, shop::DIFFERENT, shop::COARSELY_SAME];
    let all = of_shop.into_iter().chain([enums::SAME, enums::DIFFERENT, enums::COARSELY_SAME]).flatten();
    let mut lines = BTreeMap::new();
    for (what, left, right) in all {
        lines.insert(*what, format!("{} {}", ids(*left, 1).0, ids(*right, 1).0));
    }
    let text = lines.iter().fold(String::new(), |text, (what, ids)| text + &format!("{ids}  {what}\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grouping/ids.txt");
    if std::env::var_os("CRUMBTRAIL_BLESS").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let recorded = std::fs::read_to_string(&path).expect("ids.txt");
    let changed: Vec<_> = text.lines().zip(recorded.lines()).filter(|(now, then)| now != then).collect();
    assert!(changed.is_empty(), "groups have other ids than they had; see the head of this file: {changed:#?}");
    assert_eq!(text.lines().count(), recorded.lines().count());
}
