//! One failure, one exception; one defect, one group; and nothing less than a log.

use std::{error::Error, fmt};

use crumbtrail::{Exception, testing};
use tracing::{error, info, info_span, instrument};

#[derive(Debug)]
struct Disk;

#[derive(Debug)]
struct Saving(Disk);

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk full")
    }
}

impl Error for Disk {}

impl fmt::Display for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("saving the order failed")
    }
}

impl Error for Saving {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Report A2: an inner error is handled; then the request fails for an error that wraps one of the
/// same text.
#[test]
fn a_later_failure_does_not_hide_behind_a_handled_one() {
    let fails: [fn(); 3] = [
        || error!(error = &Saving(Disk) as &dyn Error, order.id = 9, "request failed"),
        || {
            info!("going on without a cache");
            error!(error = &Saving(Disk) as &dyn Error, "request failed");
        },
        || {
            info!("going on without a cache");
            crumbtrail::capture(&Saving(Disk));
        },
    ];
    for (number, fail) in fails.into_iter().enumerate() {
        let (_, collected) = testing::collect(|| {
            let _request = info_span!("request").entered();
            error!(error = &Disk as &dyn Error, "the cache cannot be written");
            fail();
        });
        let [handled, real] = collected.exceptions() else { panic!("{number}: {collected:?}") };
        assert_eq!((handled.message(), real.message()), ("disk full", "saving the order failed"), "{number}");
        assert_eq!(real.wraps(), Some(handled.id()), "{number}");
        assert_eq!(real.attribute("order.id").is_some(), number == 0);
        assert_eq!(collected.spans()[0].events().len(), 2, "{number}: both are events of the span");
    }
}

/// Report A2: what only tells of an exception once more is a log record that names it.
#[test]
fn an_error_event_is_never_less_than_a_log() {
    let (id, collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        let id = crumbtrail::capture(&Disk);
        error!(error = &Saving(Disk) as &dyn Error, "request failed");
        error!(error = %Disk, attempt = 2, "still");
        id
    });
    assert_eq!(collected.exceptions().len(), 1, "{collected:?}");
    let said: Vec<_> = collected.logs().iter().map(|log| (log.body().to_owned(), log.attribute("crumbtrail.error.id").cloned())).collect();
    assert_eq!(said, [("request failed".to_owned(), Some(id.to_string().into())), ("still".to_owned(), Some(id.to_string().into()))]);
}

#[instrument(err(Debug))]
fn told_as_debug() -> Result<(), Disk> {
    Err(Disk)
}

fn anyhow_of_two() -> anyhow::Error {
    anyhow::Error::new(Disk).context("saving the order failed")
}

/// Report A3: the same error in other words.
#[test]
fn one_failure_has_one_record_however_it_is_told() {
    let ways: [fn(); 9] = [
        || {
            crumbtrail::capture(&Disk);
            error!(error = ?Disk, "failed");
        },
        || {
            crumbtrail::capture(&Saving(Disk));
            error!("{:?}", Saving(Disk));
        },
        || {
            let error = anyhow_of_two();
            crumbtrail::capture(&error);
            error!("{error:#}");
        },
        || {
            let error = anyhow_of_two();
            crumbtrail::capture(&error);
            error!("{error:?}");
        },
        || {
            let error = anyhow_of_two();
            error!("{error:#}");
            crumbtrail::capture(&error);
        },
        || {
            let error = anyhow_of_two();
            error!(?error, "failed");
            crumbtrail::capture(&error);
        },
        || {
            let _ = told_as_debug().map_err(|error| crumbtrail::capture(&error));
        },
        || {
            error!(error = &Saving(Disk) as &dyn Error, "failed");
            error!(err = ?Saving(Disk));
        },
        || {
            error!(error = ?Saving(Disk), "failed");
            error!(error = &Saving(Disk) as &dyn Error, "failed again");
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (_, collected) = testing::collect(|| info_span!("request").in_scope(way));
        assert_eq!(collected.exceptions().len(), 1, "{number}: {collected:?}");
    }
}

/// Report A3: message, causes and stack of an error library's text come apart. (Such as it is with
/// `RUST_BACKTRACE=1`.)
#[test]
fn a_report_is_no_message() {
    let stack = "   0: shop::cart::add\n             at ./src/cart.rs:7:5\n   1: shop::main\n             at ./src/main.rs:3:1\n";
    let text = format!("adding failed\n\nCaused by:\n    0: cart is locked\n    1: no reply\n\nStack backtrace:\n{}", stack.repeat(100));
    let (_, collected) = testing::collect(|| {
        error!(error = ?format_args!("{text}"), "request failed");
        error!("{text}");
    });
    for exception in collected.exceptions() {
        assert_eq!(exception.message(), "adding failed");
        assert_eq!(
            exception.causes().iter().map(|cause| cause.message()).collect::<Vec<_>>(),
            ["adding failed", "cart is locked", "no reply"]
        );
        assert_eq!(exception.frames()[0].function(), "shop::cart::add");
        assert!(["request failed", "adding failed"].contains(&exception.body().unwrap_or_default()), "{:?}", exception.body());
    }
    assert_eq!(collected.exceptions().len(), 1, "and is one failure");
}

fn cart_of(user: &str) -> anyhow::Result<()> {
    anyhow::bail!("user {user} has no cart")
}

/// Report A4: words that came from a variable.
#[test]
fn one_defect_is_one_group_whoever_it_concerns() {
    use anyhow::Context as _;
    let ways: [fn(&str); 9] = [
        |user| _ = cart_of(user).map_err(|error| crumbtrail::capture(&error)),
        |user| _ = cart_of(user).map_err(|error| error!(error = &*error as &dyn Error, "failed")),
        |user| _ = cart_of(user).map_err(|error| error!(%error, "failed")),
        |user| _ = cart_of(user).map_err(|error| error!(?error, "failed")),
        |user| _ = cart_of(user).map_err(|error| error!("{error:#}")),
        |user| _ = cart_of(user).with_context(|| format!("serving {user}")).map_err(|error| crumbtrail::capture(&error)),
        |user| _ = cart_of(user).with_context(|| format!("serving {user}")).map_err(|error| error!("failed: {error:?}")),
        |user| {
            let error: Box<dyn Error> = format!("no cart of {user}").into();
            error!(error = &*error, "failed");
        },
        |user| {
            let error: Box<dyn Error + Send + Sync> = format!("no cart of {user}").into();
            crumbtrail::capture(&error);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (_, collected) = testing::collect(|| {
            ["ada", "grace", "Linus", "Margaret Hamilton"].iter().for_each(|user| info_span!("request").in_scope(|| way(user)));
        });
        let groups: std::collections::HashSet<_> = collected.exceptions().iter().map(Exception::group).collect();
        assert_eq!((collected.exceptions().len(), groups.len()), (4, 1), "{number}: {collected:?}");
    }
    // And two defects are two.
    let (_, collected) = testing::collect(|| {
        info_span!("one").in_scope(|| _ = anyhow::Result::<()>::Err(anyhow::anyhow!("no cart")).map_err(|error| error!(%error, "failed")));
        info_span!("two").in_scope(|| error!(error = %anyhow::anyhow!("no stock"), "failed"));
    });
    let [one, two] = collected.exceptions() else { panic!("{collected:?}") };
    assert_ne!(one.group(), two.group());
}

/// Report B10: a caller varies a text; then the service has a defect.
#[test]
fn whoever_varies_a_text_does_not_blind_others() {
    let builder = testing::builder().with_exception_rate(crumbtrail::config::ExceptionRate::default());
    let (_, collected) = testing::collect_with(builder, || {
        for number in 0..6_000u32 {
            // No digits, no literals.
            let text: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            error!("{text}");
            if number % 3 == 0 {
                crumbtrail::capture(&std::io::Error::other(text));
            }
        }
        macro_rules! defects {
            ($($number:literal)*) => { $(error!(concat!("real defect ", $number));)* };
        }
        defects!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    });
    let real = collected.exceptions().iter().filter(|exception| exception.message().starts_with("real defect")).count();
    assert_eq!(real, 20);
}
