//! One of something for each signal.

/// A signal of OpenTelemetry's. Exceptions are logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Logs,
    Traces,
    Metrics,
}

impl Signal {
    pub(crate) const ALL: [Self; 3] = [Self::Logs, Self::Traces, Self::Metrics];
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerSignal<T> {
    pub(crate) logs: T,
    pub(crate) traces: T,
    pub(crate) metrics: T,
}

impl<T> PerSignal<T> {
    /// Makes each by its signal.
    pub(crate) fn of(mut make: impl FnMut(Signal) -> T) -> Self {
        Self { logs: make(Signal::Logs), traces: make(Signal::Traces), metrics: make(Signal::Metrics) }
    }

    /// The same, as far as all can be made.
    pub(crate) fn try_of<E>(mut make: impl FnMut(Signal) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { logs: make(Signal::Logs)?, traces: make(Signal::Traces)?, metrics: make(Signal::Metrics)? })
    }

    pub(crate) fn get(&self, signal: Signal) -> &T {
        match signal {
            Signal::Logs => &self.logs,
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        }
    }

    pub(crate) fn get_mut(&mut self, signal: Signal) -> &mut T {
        match signal {
            Signal::Logs => &mut self.logs,
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
        }
    }
}
