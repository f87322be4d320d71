//! Whether receivers can be reached, as a whole: what is wrong is said once, and when it is well
//! again there is an account of what it cost.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::host::Host;
use crate::{
    ledger::{LossReason, RecordKind, Stats},
    text::cut,
};

/// A time in which something could not be delivered, and what was lost during it.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) lasted: Duration,
    /// What was wrong, as far as it was said.
    pub(crate) reasons: Vec<String>,
    pub(crate) lost: Vec<(RecordKind, LossReason, u64)>,
}

/// What the lanes have met. Shared by them, on the worker's thread.
pub(super) struct Health {
    host: Arc<dyn Host>,
    trouble: RefCell<Option<Trouble>>,
    /// Those that have ended and are not yet told of, as one.
    ended: RefCell<Option<Outage>>,
    told: Cell<Option<Instant>>,
    remarks: RefCell<BTreeSet<String>>,
    /// What was said of refusals.
    refusals: RefCell<[BTreeSet<String>; RecordKind::ALL.len()]>,
}

struct Trouble {
    since: Instant,
    before: Stats,
    lanes: [State; RecordKind::ALL.len()],
    said: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Well,
    Failing,
    /// It failed, and has nothing left to try with.
    Idle,
}

/// An outage that lasted this long, or cost something, is told of in the data, too.
const WORTH_A_RECORD: Duration = Duration::from_secs(5);
/// A receiver that comes and goes must not fill the logs.
const BETWEEN_RECORDS: Duration = Duration::from_secs(30);
/// Different things said in one outage at most.
const MAX_SAID: usize = 8;
/// Bytes of one of them.
const MAX_COMPLAINT: usize = 1_000;

impl Health {
    pub(super) fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            trouble: RefCell::default(),
            ended: RefCell::default(),
            told: Cell::default(),
            remarks: RefCell::default(),
            refusals: RefCell::default(),
        }
    }

    /// A signal cannot be delivered.
    pub(super) fn fails(&self, signal: RecordKind, endpoint: &str, why: &str) {
        let mut trouble = self.trouble.borrow_mut();
        let trouble = trouble.get_or_insert_with(|| Trouble {
            since: Instant::now(),
            before: self.host.stats(),
            lanes: [State::Well; RecordKind::ALL.len()],
            said: BTreeSet::new(),
        });
        trouble.lanes[signal as usize] = State::Failing;
        let complaint = self.host.scrubber().scrub(&format!("cannot deliver to {endpoint}: {}", cut(why, MAX_COMPLAINT))).into_owned();
        say(&mut trouble.said, &complaint);
    }

    /// A signal is refused. That is no outage: nothing comes back by itself.
    pub(super) fn refuses(&self, signal: RecordKind, endpoint: &str, why: &str) {
        let complaint = format!("{} are refused by {endpoint}: {}", signal.as_str(), cut(why, MAX_COMPLAINT));
        say(&mut self.refusals.borrow_mut()[signal as usize], &self.host.scrubber().scrub(&complaint));
    }

    /// A signal has nothing left to deliver: it does not hold up the end of the outage.
    pub(super) fn is_idle(&self, signal: RecordKind) {
        if let Some(trouble) = self.trouble.borrow_mut().as_mut()
            && trouble.lanes[signal as usize] == State::Failing
        {
            trouble.lanes[signal as usize] = State::Idle;
        }
    }

    /// A signal is delivered. When none fails any more, the outage is over.
    pub(super) fn is_well(&self, signal: RecordKind) {
        let mut slot = self.trouble.borrow_mut();
        let Some(trouble) = slot.as_mut() else { return };
        trouble.lanes[signal as usize] = State::Well;
        if trouble.lanes.contains(&State::Failing) {
            return;
        }
        let Some(trouble) = slot.take() else { return };
        let after = self.host.stats();
        let lines = RecordKind::ALL.into_iter().flat_map(|signal| LossReason::ALL.into_iter().map(move |reason| (signal, reason)));
        let lost = lines.filter_map(|(signal, reason)| {
            let count = after.of(signal).lost_to(reason).saturating_sub(trouble.before.of(signal).lost_to(reason));
            (count > 0).then_some((signal, reason, count))
        });
        let outage = Outage { lasted: trouble.since.elapsed(), reasons: trouble.said.into_iter().collect(), lost: lost.collect() };
        crate::diagnose(format_args!("{outage}"));
        if outage.lasted > WORTH_A_RECORD || !outage.lost.is_empty() {
            let mut ended = self.ended.borrow_mut();
            *ended = Some(match ended.take() {
                Some(earlier) => earlier.and(outage),
                None => outage,
            });
        }
    }

    /// A receiver took the request and said something about it, or refused a part of it. How much
    /// is in the ledger: here it would make every remark another.
    pub(super) fn remarks(&self, signal: RecordKind, endpoint: &str, refused: bool, remark: &str) {
        let signal = signal.as_str();
        let what = if refused {
            format!("some {signal} are refused by {endpoint}")
        } else {
            format!("{endpoint} took {signal}, but says something")
        };
        let complaint = format!("{what}: {}", cut(remark, MAX_COMPLAINT));
        say(&mut self.remarks.borrow_mut(), &self.host.scrubber().scrub(&complaint));
    }

    /// What has ended and is to be told of: at once, and then not more often than twice a minute.
    pub(super) fn ended(&self) -> Option<Outage> {
        if self.ended.borrow().is_none() || self.told.get().is_some_and(|told| told.elapsed() < BETWEEN_RECORDS) {
            return None;
        }
        self.told.set(Some(Instant::now()));
        self.ended.take()
    }
}

/// What a receiver says is a stranger's text: it goes on one line, without what a terminal would
/// obey, and not without end.
fn say(said: &mut BTreeSet<String>, complaint: &str) {
    let complaint = crate::text::printable(complaint, MAX_COMPLAINT);
    if said.len() < MAX_SAID && !said.contains(&complaint) {
        crate::diagnose(format_args!("{complaint}"));
        said.insert(complaint);
    }
}

impl Outage {
    /// Both, as one.
    fn and(mut self, later: Self) -> Self {
        self.lasted += later.lasted;
        for reason in later.reasons {
            if self.reasons.len() < MAX_SAID && !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
        for (signal, reason, count) in later.lost {
            match self.lost.iter_mut().find(|line| (line.0, line.1) == (signal, reason)) {
                Some(line) => line.2 += count,
                None => self.lost.push((signal, reason, count)),
            }
        }
        self
    }
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "delivery works again after {:.1} s; ", self.lasted.as_secs_f64())?;
        if self.lost.is_empty() {
            return write!(f, "nothing was lost");
        }
        write!(f, "lost meanwhile:")?;
        self.lost.iter().enumerate().try_for_each(|(index, (signal, reason, count))| {
            write!(f, "{} {count} {} to {}", if index > 0 { "," } else { "" }, signal.as_str(), reason.as_str())
        })
    }
}
