//! A service that fails in many ways.
#![allow(clippy::unnecessary_literal_unwrap, clippy::useless_vec, unreachable_pub, reason = "it is wrong on purpose")]

use std::{error::Error, fmt, hint::black_box, num::ParseIntError};

use crumbtrail::ResultExt as _;
use tracing::error;

use super::Raise;

/// The same defect, with other data, from another caller, or seen from another place.
pub const SAME: &[(&str, Raise, Raise)] = &[
    ("an event with a number in its text", |n| error!("order {n} not found"), |n| order_not_found(n)),
    ("an event with a name in its text", user_missing, user_missing),
    ("an event with quoted text", |n| quoted(n), |n| quoted(n)),
    ("an event with a path in its text", path_missing, path_missing),
    ("an event with a field that varies", |n| with_field(n), |n| with_field(n)),
    ("an event with an error of a type", event_with_error, event_with_error),
    ("an event with an error as text", event_with_text_error, event_with_text_error),
    ("an event without a message", event_without_message, event_without_message),
    ("an event from another caller", |n| deep(n), |n| deeper(n)),
    ("an error captured with other data", capture_declined, capture_declined),
    ("an error captured from another caller", |n| capture_declined(n), |n| wrapper(n)),
    ("an error of a generic type with other arguments", capture_generic_u8, capture_generic_string),
    ("an error with the same cause, captured through a Result", captured_result, captured_result),
    ("an error captured behind dyn Error", capture_dyn, capture_dyn),
    ("an error boxed as Send and Sync", capture_boxed, capture_boxed),
    ("a panic with a literal", panic_literal, panic_literal),
    ("a panic with values", panic_formatted, panic_formatted),
    ("a panic with other words in its values", panic_named, panic_named),
    ("an index out of bounds", out_of_bounds, out_of_bounds),
    ("an unwrap of None", unwrap_none, unwrap_none),
    ("an unwrap of an error with data", unwrap_error, unwrap_error),
    ("an assertion with values", assertion, assertion),
    ("a slice out of range", slice_range, slice_range),
    ("an arithmetic panic", division, division),
    ("a panic in a closure", |n| panic_in_closure(n), |n| panic_in_closure(n)),
    ("a panic in a generic function with other arguments", |n| panic_generic(n), |n| panic_generic(n.to_string())),
    ("a panic from another caller", |n| panic_literal(n), |n| panic_wrapper(n)),
    ("a panic in a recursive function, from another depth", |n| _ = recursive(n), |n| _ = recursive(n + 5)),
    ("a panic in a future", |n| panic_in_future(n), |n| panic_in_future(n + 1)),
    ("an error captured in a future", |n| capture_in_future(n), |n| capture_in_future(n + 1)),
    ("an explicit panic on another thread", panic_on_thread, panic_on_thread),
    ("an error whose message is one long number", |n| numbers_only(n), |n| numbers_only(n * 1_000_000)),
];

/// Other defects, however alike they look.
pub const DIFFERENT: &[(&str, Raise, Raise)] = &[
    ("two events", |n| error!("order {n} not found"), |n| error!("basket {n} not found")),
    ("two events with literals that begin alike", |n| error!("payment of {n} failed"), |n| error!("payment of {n} refused")),
    ("events in two modules", |_| error!("failed"), |_| inner::failed()),
    ("events with errors of two types", event_with_error, event_with_other_error),
    ("events with and without an error", |_| error!("payment failed"), event_with_error),
    ("events with errors as text, of other literals", event_with_text_error, event_with_other_text_error),
    ("events without message, with other fields", event_without_message, event_without_message_but_other_fields),
    ("an event and a capture of the same error", event_with_error, capture_declined),
    ("errors of two types captured in one function", |_| capture_either(true), |_| capture_either(false)),
    ("errors of one type captured in two functions", capture_declined, capture_declined_elsewhere),
    ("errors with other causes", captured_result, captured_other_cause),
    ("errors of two types behind dyn Error", |_| capture_some_dyn(true), |_| capture_some_dyn(false)),
    ("text errors of other literals", |_| capture_text("disk is full"), |_| capture_text("network is down")),
    ("enumeration errors captured in two modules", capture_declined, inner::capture_declined),
    ("two panics with literals in one function", |_| either_panic(true), |_| either_panic(false)),
    ("panics in two functions", panic_literal, panic_literal_elsewhere),
    ("panics with values in two functions", panic_formatted, panic_named),
    ("an unwrap of None and an expect", unwrap_none, expect_none),
    ("unwraps of None in two functions", unwrap_none, unwrap_none_elsewhere),
    ("an index out of bounds and an assertion in one function", |_| either_check(true), |_| either_check(false)),
    ("a panic and an event of the same text", |_| panic_text(), |_| error!("no stock")),
    ("a panic and a capture in one function", |_| panic_or_capture(true), |_| panic_or_capture(false)),
    ("panics in two modules", panic_literal, inner::panic_literal),
    ("panics in two methods of one type", |_| Cart.add(), |_| Cart.remove()),
    ("panics in the same method of two types", |_| Cart.add(), |_| Wishlist.add()),
    ("errors in two futures", |n| capture_in_future(n), |n| capture_in_another_future(n)),
    ("divisions in two functions", division, division_elsewhere),
    ("errors of one name in two modules", |_| _ = crumbtrail::capture(&Declined(1)), |_| inner::capture_own_declined()),
];

/// Different defects of one kind: the coarse id is one.
pub const COARSELY_SAME: &[(&str, Raise, Raise)] = &[
    ("errors of one type captured in two functions of a file", capture_declined, capture_declined_elsewhere),
    ("two panics of a file", panic_literal, panic_literal_elsewhere),
    ("two events of a module", |n| error!("order {n} not found"), |n| error!("basket {n} not found")),
    ("events of a module with one error", event_with_error, another_event_with_error),
];

#[derive(Debug)]
struct Declined(u32);

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "card declined with code {}", self.0)
    }
}

impl Error for Declined {}

#[derive(Debug)]
struct Unreadable(Box<dyn Error + Send + Sync>);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer cannot be read")
    }
}

impl Error for Unreadable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[derive(Debug)]
struct Wrong<T>(T);

impl<T> fmt::Display for Wrong<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrong")
    }
}

impl<T: fmt::Debug> Error for Wrong<T> {}

fn parse_error() -> ParseIntError {
    "x".parse::<u8>().unwrap_err()
}

fn name(number: u32) -> String {
    ["ada", "grace", "linus"][number as usize % 3].to_owned()
}

fn order_not_found(number: u32) {
    error!("order {number} not found");
}

fn user_missing(number: u32) {
    error!("user {} is missing", name(number));
}

fn quoted(number: u32) {
    error!("no such item: {:?}", name(number));
}

fn path_missing(number: u32) {
    error!("cannot open /var/lib/{}/{number}.db", name(number));
}

fn with_field(number: u32) {
    error!(order = number, user = name(number), "payment failed for good");
}

fn event_with_error(number: u32) {
    error!(error = &Declined(number) as &dyn Error, "payment failed");
}

fn another_event_with_error(number: u32) {
    error!(error = &Declined(number) as &dyn Error, "refund failed");
}

fn event_with_other_error(_: u32) {
    error!(error = &parse_error() as &dyn Error, "payment failed");
}

fn event_with_text_error(number: u32) {
    error!(error = %format_args!("cannot reach {}", name(number)), "sync failed");
}

fn event_with_other_text_error(number: u32) {
    error!(error = %format_args!("cannot read {}", name(number)), "sync failed");
}

fn event_without_message(number: u32) {
    error!(order = number, state = name(number));
}

fn event_without_message_but_other_fields(number: u32) {
    error!(basket = number, state = name(number));
}

#[inline(never)]
fn deep(number: u32) {
    error!("deep failure {number}");
}

fn deeper(number: u32) {
    deep(number);
    black_box(());
}

fn capture_declined(number: u32) {
    crumbtrail::capture(&Declined(number));
}

fn capture_declined_elsewhere(number: u32) {
    crumbtrail::capture(&Declined(number));
}

fn wrapper(number: u32) {
    let doubled = number * 2;
    capture_declined(doubled);
    black_box(());
}

fn capture_generic<T: fmt::Debug>(value: T) {
    crumbtrail::capture(&Wrong(value));
}

fn capture_generic_u8(number: u32) {
    capture_generic(number as u8);
}

fn capture_generic_string(number: u32) {
    capture_generic(name(number));
}

fn captured_result(number: u32) {
    let outcome: Result<(), Unreadable> = Err(Unreadable(if number == 0 { "x".into() } else { Box::new(parse_error()) }));
    let _ = outcome.capture_err();
}

fn captured_other_cause(_: u32) {
    let outcome: Result<(), Unreadable> = Err(Unreadable(Box::new(fmt::Error)));
    let _ = outcome.capture_err();
}

fn capture_dyn(number: u32) {
    let boxed: Box<dyn Error> = Box::new(Declined(number));
    crumbtrail::capture(&*boxed);
}

fn capture_boxed(number: u32) {
    let outcome: Result<(), Box<dyn Error + Send + Sync>> = Err(Box::new(Declined(number)));
    let _ = outcome.capture_err();
}

fn capture_some_dyn(declined: bool) {
    let boxed: Box<dyn Error> = if declined { Box::new(Declined(1)) } else { Box::new(parse_error()) };
    crumbtrail::capture(&*boxed);
}

fn capture_either(declined: bool) {
    if declined {
        crumbtrail::capture(&Declined(1));
    } else {
        crumbtrail::capture(&parse_error());
    }
}

fn capture_text(text: &'static str) {
    let error: Box<dyn Error + Send + Sync> = text.into();
    crumbtrail::capture(&error);
}

fn numbers_only(number: u32) {
    let error: Box<dyn Error + Send + Sync> = number.to_string().into();
    crumbtrail::capture(&error);
}

fn panic_literal(_: u32) {
    panic!("the cart is empty");
}

fn panic_literal_elsewhere(_: u32) {
    panic!("the cart is empty");
}

fn panic_wrapper(number: u32) {
    let more = number + 1;
    panic_literal(more);
    black_box(());
}

fn panic_formatted(number: u32) {
    panic!("item {number} has no price");
}

fn panic_named(number: u32) {
    panic!("{} has no cart", name(number));
}

fn either_panic(first: bool) {
    if first {
        panic!("no cart");
    }
    panic!("no user");
}

fn out_of_bounds(number: u32) {
    let items = vec![1, 2, 3];
    black_box(items[black_box(number as usize + 3)]);
}

fn unwrap_none(number: u32) {
    black_box(None::<u32>.filter(|_| number > 9)).unwrap();
}

fn unwrap_none_elsewhere(number: u32) {
    black_box(None::<u32>.filter(|_| number > 9)).unwrap();
}

fn expect_none(number: u32) {
    black_box(None::<u32>.filter(|_| number > 9)).expect("a price");
}

fn unwrap_error(number: u32) {
    Err::<(), _>(Declined(number)).unwrap();
}

fn assertion(number: u32) {
    assert_eq!(black_box(number), 77);
}

fn slice_range(number: u32) {
    let items = [1, 2, 3];
    black_box(&items[..black_box(number as usize + 5)]);
}

fn division(number: u32) {
    black_box(number / black_box(0));
}

fn division_elsewhere(number: u32) {
    black_box(number / black_box(0));
}

fn either_check(index: bool) {
    let items = vec![1];
    if index {
        black_box(items[black_box(5)]);
    }
    assert_eq!(black_box(1), 2);
}

fn panic_in_closure(number: u32) {
    let fails = |number: u32| panic!("closure {number} failed");
    fails(number);
}

fn panic_generic<T: fmt::Debug>(value: T) {
    panic!("cannot handle {value:?}");
}

fn panic_text() {
    panic!("no stock");
}

fn panic_or_capture(panics: bool) {
    if panics {
        panic!("declined");
    }
    crumbtrail::capture(&Declined(1));
}

fn recursive(depth: u32) -> u32 {
    if depth == 0 {
        panic!("at the bottom");
    }
    black_box(recursive(depth - 1) + depth)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn panic_in_future(number: u32) {
    async fn fails(number: u32) {
        for _ in 0..number {
            tokio::task::yield_now().await;
        }
        panic!("future failed");
    }
    block_on(fails(number));
}

fn capture_in_future(number: u32) {
    async fn fails(number: u32) {
        tokio::task::yield_now().await;
        crumbtrail::capture(&Declined(number));
    }
    block_on(fails(number));
}

fn capture_in_another_future(number: u32) {
    async fn fails_too(number: u32) {
        tokio::task::yield_now().await;
        crumbtrail::capture(&Declined(number));
    }
    block_on(fails_too(number));
}

fn panic_on_thread(number: u32) {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let thread = std::thread::spawn(move || tracing::dispatcher::with_default(&dispatch, || panic!("thread {number} failed")));
    let _ = thread.join();
}

struct Cart;
struct Wishlist;

impl Cart {
    fn add(&self) {
        panic!("full");
    }

    fn remove(&self) {
        panic!("full");
    }
}

impl Wishlist {
    fn add(&self) {
        panic!("full");
    }
}

mod inner {
    use std::{error::Error, fmt};

    use tracing::error;

    pub(super) fn failed() {
        error!("failed");
    }

    pub(super) fn capture_declined(number: u32) {
        crumbtrail::capture(&super::Declined(number));
    }

    pub(super) fn panic_literal(_: u32) {
        panic!("the cart is empty");
    }

    #[derive(Debug)]
    struct Declined;

    impl fmt::Display for Declined {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("declined")
        }
    }

    impl Error for Declined {}

    pub(super) fn capture_own_declined() {
        crumbtrail::capture(&Declined);
    }
}
