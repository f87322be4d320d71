//! What happens around each reading of the metrics: what is counted elsewhere comes into
//! instruments.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Counter};

use super::{Around, Meters, ledger::self_metrics};
use crate::{exception::storm::Storm, fork::PerProcess, state::Core};

/// What this telemetry counts itself: exceptions, its own books, requests; and what the recorder
/// has. In each process once, when its metrics are read for the first time.
pub(crate) fn around(
    core: &Arc<Core>,
    release: Vec<KeyValue>,
    #[cfg(feature = "metrics-0-24")] recorder: super::recorder::MetricsRecorder,
) -> Around {
    let (of, registered, count_exceptions) = (Arc::downgrade(core), PerProcess::new(), exception_counter(release));
    let before = move |meters: &Meters| {
        #[cfg(feature = "metrics-0-24")]
        recorder.publish();
        let Some(core) = of.upgrade() else { return };
        registered.get_or_init(|| self_metrics(&meters.meter("crumbtrail"), &core));
        count_exceptions(meters, &core.storm);
    };
    #[cfg(feature = "tower")]
    let after = {
        let of = Arc::downgrade(core);
        move |request: &mut _| of.upgrade().iter().for_each(|core| core.requests.attach_exemplars(request))
    };
    #[cfg(not(feature = "tower"))]
    let after = |_: &mut _| {};
    Around { before: Box::new(before), after: Box::new(after) }
}

/// Counts every exception: `crumbtrail.exceptions`, unit `{exception}`, by type, group and release.
/// The callers count in the storm table; before each reading the counts come here, under the names
/// their groups have by then. So "first seen in" and "again since" a release are questions about
/// one metric.
fn exception_counter(release: Vec<KeyValue>) -> impl Fn(&Meters, &Storm) + Send + Sync {
    let counter = PerProcess::<Counter<u64>>::new();
    move |meters, storm| {
        let counter = counter.get_or_init(|| {
            meters
                .meter("crumbtrail")
                .u64_counter("crumbtrail.exceptions")
                .with_unit("{exception}")
                .with_description("Exceptions raised, whether or not their records were limited.")
                .build()
        });
        storm.counts(|count, labels| {
            let names = [
                ("exception.type", &labels.type_name),
                ("crumbtrail.group.id", &labels.group),
                ("crumbtrail.group.coarse", &labels.coarse),
            ];
            let known = names.into_iter().filter(|(_, name)| !name.is_empty()).map(|(key, name)| KeyValue::new(key, name.clone()));
            counter.add(count, &known.chain(release.iter().cloned()).collect::<Vec<_>>());
        });
    }
}
