//! What exceptions say, and what they must not: own code, privacy, users, hooks, rates.

use std::ops::ControlFlow;

use super::Builder;
use crate::{Breadcrumb, Exception, exception::storm::ExceptionRate, scrub::Scrubber};

impl Builder {
    /// Functions whose path begins so are own code, whatever their crate:
    /// `with_in_app_include("vendored::shop")`.
    pub fn with_in_app_include(mut self, beginning: impl Into<String>) -> Self {
        self.in_app[0].push(beginning.into());
        self
    }

    /// Functions whose path begins so are not own code, although their crate is: generated code,
    /// say. Wins over everything else.
    pub fn with_in_app_exclude(mut self, beginning: impl Into<String>) -> Self {
        self.in_app[1].push(beginning.into());
        self
    }

    /// What is taken out of records; [`Scrubber::default`] by default.
    pub fn with_scrubber(mut self, scrubber: Scrubber) -> Self {
        self.scrubber = scrubber;
        self
    }

    /// Whether personal data is sent: e-mail addresses, the addresses of clients, full names. Not
    /// by default. Wins over the [scrubber](Self::with_scrubber)'s own
    /// [option](Scrubber::with_default_pii).
    #[doc(alias = "send_default_pii")]
    pub fn with_default_pii(mut self, personal: bool) -> Self {
        self.code.default_pii = Some(personal);
        self
    }

    /// Whether the resource says with which arguments the process was started
    /// (`process.command_args`); not by default. Secrets among them are taken out.
    pub fn with_process_arguments(mut self, arguments: bool) -> Self {
        self.code.process_arguments = Some(arguments);
        self
    }

    /// Whether log records say who they are for (`user.*`), as exceptions always do; not by
    /// default. Costs each of them about 0.1 µs.
    pub fn with_user_on_logs(mut self, user: bool) -> Self {
        self.code.signals.logs.with_user = Some(user);
        self
    }

    /// Whether spans say who they are for (`user.*`), as exceptions always do; not by default.
    /// Costs each of them about 0.1 µs.
    pub fn with_user_on_spans(mut self, user: bool) -> Self {
        self.code.signals.traces.with_user = Some(user);
        self
    }

    /// Fields of spans that log records in them carry, too, by their names; none by default. An
    /// inner span's field wins over an outer one's, an event's own over both. Values are told as
    /// the span tells them: what is secret there is secret here. Each log record in a span costs a
    /// look through the fields of the spans around it, and allocates.
    ///
    /// ```
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_span_fields_on_logs(["order.id"]);
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     let _order = tracing::info_span!("order", order.id = 7, basket = "b-12").entered();
    ///     let _charge = tracing::info_span!("charge").entered();
    ///     tracing::info!("card charged");
    /// });
    /// let log = &collected.logs()[0];
    /// assert_eq!((log.attribute("order.id"), log.attribute("basket")), (Some(&7.into()), None));
    /// ```
    pub fn with_span_fields_on_logs<F: Into<String>>(mut self, fields: impl IntoIterator<Item = F>) -> Self {
        self.code.span_fields.extend(fields.into_iter().map(Into::into));
        self
    }

    /// Whether events in a span that are logs or breadcrumbs are events of that span, too, for a
    /// backend that has traces and no logs; not by default. An event's message is its name there.
    /// Costs such an event its JSON text. A span has as many as its [limit](crate::config::EnvVars)
    /// allows, 128 by default, and what fits into 32 KiB; the rest is counted. Exceptions are there
    /// in any case.
    ///
    /// ```
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_events_on_spans(true);
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     let _order = tracing::info_span!("order").entered();
    ///     tracing::info!(amount = 7, "card charged");
    /// });
    /// assert_eq!(collected.span("order").events(), ["card charged"]);
    /// ```
    pub fn with_events_on_spans(mut self, events: bool) -> Self {
        self.code.events_on_spans = Some(events);
        self
    }

    /// Whether spans say for how many nanoseconds they were entered (`busy_ns`) and were not
    /// (`idle_ns`), as those of `tracing-opentelemetry` do; not by default. A future's span is
    /// entered while it is polled, so what it spends waiting is idle. Costs every entry and exit a
    /// look at the clock.
    ///
    /// ```
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_span_timings(true);
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     tracing::info_span!("order").in_scope(|| std::thread::sleep(std::time::Duration::from_millis(1)));
    /// });
    /// let busy = collected.spans()[0].attribute("busy_ns").and_then(|busy| busy.as_i64());
    /// assert!(busy.is_some_and(|busy| busy >= 1_000_000));
    /// ```
    pub fn with_span_timings(mut self, timings: bool) -> Self {
        self.code.span_timings = Some(timings);
        self
    }

    /// Entries of the `baggage` header that become tags of a request: what a caller sends along
    /// (see [`propagation`](crate::propagation)), or
    /// [`Scope::copy_baggage`](crate::Scope::copy_baggage) is given; none by default. Baggage comes
    /// from whoever calls: allow only what may be told.
    pub fn with_baggage<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.code.baggage.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Sees every exception before it is sent; may change it, set its group, or drop it by `Break`
    /// (counted as [`LossReason::Filtered`](crate::stats::LossReason::Filtered)). Runs on the
    /// worker's thread, once for each exception, after secrets are out; what it logs is not
    /// recorded. Should it panic, that record is dropped and counted as
    /// [`LossReason::CallbackError`](crate::stats::LossReason::CallbackError), and nothing else
    /// happens.
    ///
    /// With a hook, the first form of a record, which is on disk before its stack has names, says
    /// only which defect it is: should the process end just then, no hook has seen more.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_before_send(|exception| {
    ///     if exception.message().contains("Broken pipe") {
    ///         return ControlFlow::Break(());
    ///     }
    ///     exception.set_attribute("team", "payments");
    ///     ControlFlow::Continue(())
    /// });
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     tracing::error!("Broken pipe (os error 32)");
    ///     tracing::error!("card refused");
    /// });
    /// assert_eq!(collected.exceptions().len(), 1);
    /// assert_eq!(collected.exceptions()[0].attribute("team"), Some(&"payments".into()));
    /// ```
    pub fn with_before_send(mut self, hook: impl Fn(&mut Exception) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.hooks.set_before_send(hook);
        self
    }

    /// Sees every breadcrumb of an exception before it is sent; may change it, or drop it by
    /// `Break`. Runs as [`with_before_send`](Self::with_before_send) does, before it. Should it
    /// panic, the breadcrumb is dropped.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_before_breadcrumb(|crumb| {
    ///     if crumb.target().starts_with("noisy") { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// });
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     let _request = tracing::info_span!("request").entered();
    ///     tracing::info!(target: "noisy::heartbeat", "alive");
    ///     tracing::info!("charging card");
    ///     tracing::error!("card refused");
    /// });
    /// assert_eq!(collected.exceptions()[0].breadcrumbs().messages(), ["charging card"]);
    /// ```
    pub fn with_before_breadcrumb(mut self, hook: impl Fn(&mut Breadcrumb) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.hooks.set_before_breadcrumb(hook);
        self
    }

    /// How many records a group of exceptions gets in a storm, see [`ExceptionRate`].
    pub fn with_exception_rate(mut self, rate: ExceptionRate) -> Self {
        self.rate = rate;
        self
    }
}
