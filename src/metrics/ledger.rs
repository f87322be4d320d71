//! The ledger as metrics, under the names of the SDK conventions (`otel.sdk.*`) where there are
//! any.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{Meter, ObservableCounter},
};

use crate::{
    ledger::{LossReason, RecordKind, RecordStats},
    state::Core,
};

/// Registers them. They are read with all others; a signal that never had a record is left out.
///
/// - `otel.sdk.processor.{log,span}.processed`: records handed over; with `error.type` those that
///   were not.
/// - `otel.sdk.exporter.{log,span,metric_data_point}.exported`: records acknowledged; with
///   `error.type` those lost, by reason.
/// - `otel.sdk.exporter.{log,span,metric_data_point}.inflight`: records on their way.
/// - `crumbtrail.spool.records`: records that wait on disk.
///
/// Exceptions are log records with `crumbtrail.signal` = `exceptions`.
pub(crate) fn self_metrics(meter: &Meter, core: &Arc<Core>) {
    for (kind, unit, signals) in [
        ("log", "{log_record}", &[RecordKind::Exceptions, RecordKind::Logs][..]),
        ("span", "{span}", &[RecordKind::Spans]),
        ("metric_data_point", "{data_point}", &[RecordKind::Metrics]),
    ] {
        if kind != "metric_data_point" {
            let name = format!("otel.sdk.processor.{kind}.processed");
            let _ = counter(
                meter,
                name,
                unit,
                "Records handed over for export, and those that could not be.",
                core,
                signals,
                |line, observe| {
                    let unprocessed =
                        LossReason::ALL.into_iter().filter(|reason| is_before_export(*reason)).map(|reason| (line.lost_to(reason), reason));
                    let total: u64 = unprocessed.clone().map(|(count, _)| count).sum();
                    observe(line.accepted().saturating_sub(total), None);
                    unprocessed.for_each(|(count, reason)| observe(count, Some(reason)));
                },
            );
        }
        let name = format!("otel.sdk.exporter.{kind}.exported");
        let _ =
            counter(meter, name, unit, "Records a receiver acknowledged, and those lost on the way.", core, signals, |line, observe| {
                observe(line.delivered(), None);
                let lost = LossReason::ALL.into_iter().filter(|reason| !is_before_export(*reason));
                lost.for_each(|reason| observe(line.lost_to(reason), Some(reason)));
            });
        let of = Arc::downgrade(core);
        let _ = meter
            .i64_observable_up_down_counter(format!("otel.sdk.exporter.{kind}.inflight"))
            .with_unit(unit)
            .with_description("Records on their way, in memory only.")
            .with_callback(move |observer| {
                let Some(core) = of.upgrade() else { return };
                let stats = core.stats();
                for signal in signals.iter().filter(|signal| stats.of(**signal).accepted() > 0) {
                    observer.observe(stats.of(*signal).pending() as i64, &attributes(*signal, None));
                }
            })
            .build();
    }
    let of = Arc::downgrade(core);
    let _ = meter
        .i64_observable_up_down_counter("crumbtrail.spool.records")
        .with_unit("{record}")
        .with_description("Records that wait on disk.")
        .with_callback(move |observer| {
            let Some(core) = of.upgrade() else { return };
            let stats = core.stats();
            for signal in RecordKind::ALL.into_iter().filter(|signal| stats.of(*signal).spooled() > 0) {
                observer.observe(stats.of(signal).spooled() as i64, &attributes(signal, None));
            }
        })
        .build();
}

/// What a line of the ledger has to say: numbers, each with the reason of a loss or none.
type Observe = fn(&RecordStats, &mut dyn FnMut(u64, Option<LossReason>));

fn counter(
    meter: &Meter,
    name: String,
    unit: &'static str,
    description: &'static str,
    core: &Arc<Core>,
    signals: &'static [RecordKind],
    say: Observe,
) -> ObservableCounter<u64> {
    let of = Arc::downgrade(core);
    let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
    counter
        .with_callback(move |observer| {
            let Some(core) = of.upgrade() else { return };
            let stats = core.stats();
            for signal in signals {
                let line = stats.of(*signal);
                if line.accepted() > 0 {
                    say(line, &mut |count, reason| {
                        if reason.is_none() || count > 0 {
                            observer.observe(count, &attributes(*signal, reason));
                        }
                    });
                }
            }
        })
        .build()
}

/// Lost before it came to exporting.
fn is_before_export(reason: LossReason) -> bool {
    matches!(reason, LossReason::QueueOverflow | LossReason::Overload | LossReason::Reentrant | LossReason::ThreadEnding)
}

fn attributes(signal: RecordKind, reason: Option<LossReason>) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("otel.component.name", "crumbtrail"), KeyValue::new("crumbtrail.signal", signal.as_str())];
    attributes.extend(reason.map(|reason| {
        // The conventions' own word for it.
        KeyValue::new("error.type", if reason == LossReason::QueueOverflow { "queue_full" } else { reason.as_str() })
    }));
    attributes
}
