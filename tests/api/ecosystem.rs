//! Errors of other crates: types, causes, their own stacks, what is attached.
use std::{error::Error, fmt};

use crumbtrail::{Exception, ResultExt as _, testing};
use tracing::error;

#[derive(Debug)]
struct Declined(u32);

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "declined with {}", self.0)
    }
}

impl Error for Declined {}

/// Type and message of the error and its causes.
fn causes(exception: &Exception) -> Vec<(Option<&str>, &str)> {
    exception.causes().iter().map(|cause| (cause.type_name(), cause.message())).collect()
}

#[test]
fn anyhow_has_its_chain_and_types() {
    let (_, collected) = testing::collect(|| {
        let error = anyhow::Error::new(Declined(5)).context("charging the card").context("placing the order");
        crumbtrail::capture(&error);
    });
    let expected = [
        (Some("anyhow::Error"), "placing the order"),
        (Some("anyhow::Error"), "charging the card"),
        (Some("api::ecosystem::Declined"), "declined with 5"),
    ];
    assert_eq!(causes(&collected.exceptions()[0]), expected);
}

#[test]
fn anyhow_messages_of_different_defects_are_different_groups() {
    let path = String::from("/tmp/a");
    let (_, collected) = testing::collect(|| {
        for reason in [anyhow::anyhow!("disk full"), anyhow::anyhow!("cannot open {path}"), anyhow::anyhow!("disk full")] {
            crumbtrail::capture(&reason);
        }
    });
    let groups: Vec<String> = collected.exceptions().iter().map(Exception::group).collect();
    assert!(groups[0] != groups[1] && groups[0] == groups[2], "{groups:?}");
}

/// `RUST_BACKTRACE` is read once in a process, so the test with backtraces is a process of its own.
#[test]
fn anyhow_brings_its_own_stack_when_it_has_one() {
    #[inline(never)]
    fn where_it_happens() -> anyhow::Error {
        anyhow::Error::new(Declined(6))
    }
    const VARIABLE: &str = "CRUMBTRAIL_ECOSYSTEM_BACKTRACE";
    if std::env::var_os(VARIABLE).is_some() {
        let error = where_it_happens();
        let (_, collected) = testing::collect(|| crumbtrail::capture(&error));
        let exception = &collected.exceptions()[0];
        let own: Vec<&str> = exception.frames().iter().filter(|frame| frame.is_own()).map(|frame| frame.function()).collect();
        assert!(own[0].ends_with("where_it_happens"), "{own:#?}");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["ecosystem::anyhow_brings_its_own_stack_when_it_has_one", "--exact", "--nocapture"])
        .envs([(VARIABLE, "1"), ("RUST_BACKTRACE", "1")])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn eyre_has_its_chain_and_types() {
    use eyre::WrapErr as _;
    let (_, collected) = testing::collect(|| {
        let outcome: eyre::Result<()> = Err(Declined(7)).wrap_err("placing the order");
        let _ = outcome.capture_err();
    });
    assert_eq!(
        causes(&collected.exceptions()[0]),
        [(Some("eyre::Report"), "placing the order"), (Some("api::ecosystem::Declined"), "declined with 7")]
    );
}

#[test]
fn error_stack_has_contexts_and_attachments() {
    #[derive(Debug)]
    struct Placing;
    impl fmt::Display for Placing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("placing the order")
        }
    }
    impl Error for Placing {}
    let (_, collected) = testing::collect(|| {
        let report = error_stack::Report::new(Declined(8)).attach("card password=hunter2").change_context(Placing).attach("order 17");
        crumbtrail::capture(&report);
    });
    let exception = &collected.exceptions()[0];
    assert_eq!(exception.message(), "placing the order");
    let types: Vec<&str> =
        exception.causes().iter().filter_map(|cause| cause.type_name()).map(|name| name.rsplit("::").next().unwrap()).collect();
    assert_eq!(types, ["Placing", "Declined"]);
    assert_eq!(exception.attachments(), ["order 17", "card password=[Filtered]"]);
}

#[test]
fn rootcause_has_contexts_and_attachments() {
    let (_, collected) = testing::collect(|| {
        let report = rootcause::report!(Declined(9)).attach("order 17").context("placing the order");
        crumbtrail::capture(&report);
    });
    let exception = &collected.exceptions()[0];
    assert_eq!(causes(exception), [(None, "placing the order"), (Some("api::ecosystem::Declined"), "declined with 9")]);
    assert!(exception.attachments().iter().any(|attachment| attachment == "order 17"), "{:?}", exception.attachments());
}

#[test]
fn boxes_and_trait_objects_have_their_exact_type() {
    let (_, collected) = testing::collect(|| {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(Declined(1));
        crumbtrail::capture(&boxed);
        crumbtrail::capture(&*boxed as &(dyn Error + Send + Sync));
        let outcome: Result<(), Box<dyn Error>> = Err(Box::new(Declined(3)));
        let _ = outcome.capture_err();
        error!(reason = &Declined(4) as &dyn Error, "through an event");
        error!(reason = &std::io::Error::other(Declined(5)) as &dyn Error, "with a cause");
    });
    let types: Vec<Vec<Option<&str>>> =
        collected.exceptions().iter().map(|one| one.causes().iter().map(|cause| cause.type_name()).collect()).collect();
    let declined = Some("api::ecosystem::Declined");
    assert_eq!(types, [vec![declined], vec![declined], vec![declined], vec![Some("std::io::error::Error")]], "{collected:?}");
}
