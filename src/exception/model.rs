//! An exception as hooks and tests see it: everything that the record will say, typed, and to be
//! changed.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{ErrorId, GroupId, Mechanism, SourceLocation, storm::Labels};
use crate::{AttributeValue, FlagEvaluation, User, attribute, breadcrumb::Breadcrumbs, stack::resolve::Frame, trail::record::SpanIds};

/// An exception about to be sent. Given to
/// [`Builder::with_before_send`](crate::Builder::with_before_send), and kept by
/// [`testing`](crate::testing).
///
/// Secrets are out already. What a hook puts in is sent as it is, within the limits of a record.
#[derive(Clone)]
pub struct Exception {
    pub(crate) id: ErrorId,
    pub(crate) time: u64,
    pub(crate) mechanism: Mechanism,
    pub(crate) fatal: bool,
    pub(crate) level: tracing_core::Level,
    pub(crate) ids: SpanIds,
    pub(crate) target: String,
    pub(crate) body: Option<String>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) unresolved: bool,
    /// An earlier exception of the request, whose error this one wraps.
    pub(crate) wraps: Option<ErrorId>,
    /// The root that had just ended in the same task, of one outside of spans.
    pub(crate) preceding: Option<SpanIds>,
    /// The group was made without the names that it is made of.
    pub(crate) provisional: bool,
    /// The stack is where the error was made, not where it was reported.
    pub(crate) errors_own_stack: bool,
    pub(crate) breadcrumbs: Breadcrumbs,
    pub(crate) left_out: usize,
    pub(crate) user: Option<User>,
    pub(crate) session: Option<String>,
    pub(crate) attributes: Vec<(String, AttributeValue)>,
    pub(crate) flags: Vec<FlagEvaluation>,
    pub(crate) attachments: Vec<String>,
    pub(crate) group: GroupId,
    pub(crate) coarse: GroupId,
    pub(crate) place: Option<SourceLocation>,
    pub(crate) thread_name: Option<String>,
    pub(crate) thread_id: Option<i64>,
    pub(crate) suppressed: u64,
    pub(crate) lean: bool,
    pub(crate) truncated: bool,
    pub(crate) dropped: u32,
}

/// An error or one of its causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Empty: not known.
    pub(crate) type_name: String,
    pub(crate) exact: bool,
    pub(crate) message: String,
}

impl Cause {
    /// The path of the error's type without generic arguments; `None` where that is not known.
    pub fn type_name(&self) -> Option<&str> {
        Some(self.type_name.as_str()).filter(|name| !name.is_empty())
    }

    /// The text of the error, as its `Display` shows it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Exception {
    /// The id of its record.
    pub fn id(&self) -> ErrorId {
        self.id
    }

    /// The time at which it happened.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.time)
    }

    /// The way the exception came about: an event, a capture, a panic.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The severity of the exception: the event's level, that of the [report](crate::ErrorReport),
    /// else ERROR.
    pub fn level(&self) -> tracing_core::Level {
        self.level
    }

    /// What a record calls it: the level, or `FATAL`.
    pub(crate) fn severity_text(&self) -> &'static str {
        if self.fatal { "FATAL" } else { self.level.as_str() }
    }

    /// Whether the process goes down with it.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// `exception.type`: the error's type, `panic`, or `error` where the type is not known.
    pub fn type_name(&self) -> &str {
        self.causes.first().and_then(Cause::type_name).unwrap_or("error")
    }

    /// Replaces the type's name.
    pub fn set_type_name(&mut self, name: impl Into<String>) {
        if let Some(first) = self.causes.first_mut() {
            (first.type_name, first.exact) = (name.into(), true);
        }
    }

    /// `exception.message`: what the error says.
    pub fn message(&self) -> &str {
        self.causes.first().map_or("", Cause::message)
    }

    /// Replaces the message.
    pub fn set_message(&mut self, message: impl Into<String>) {
        if let Some(first) = self.causes.first_mut() {
            first.message = message.into();
        }
    }

    /// The text of the event, besides the error.
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// Says something else, or nothing, besides the error.
    pub fn set_body(&mut self, body: Option<String>) {
        self.body = body;
    }

    /// The error and its causes, outermost first. Never empty.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The causes of the error become these; the error itself stays.
    pub fn retain_causes(&mut self, mut keep: impl FnMut(&Cause) -> bool) {
        let mut index = 0;
        self.causes.retain(|cause| {
            index += 1;
            index == 1 || keep(cause)
        });
    }

    /// The stack, innermost first; empty where there is none.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The breadcrumbs that led up to the exception, oldest first.
    pub fn breadcrumbs(&self) -> &Breadcrumbs {
        &self.breadcrumbs
    }

    /// The breadcrumbs, to be changed by a hook.
    pub fn breadcrumbs_mut(&mut self) -> &mut Breadcrumbs {
        &mut self.breadcrumbs
    }

    /// The user who was served, if known.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Replaces the user of the exception, or removes it.
    pub fn set_user(&mut self, user: Option<User>) {
        self.user = user;
    }

    /// The id of the session (`session.id`) the exception belongs to.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// A tag, a part of a context (`cart.items`), or a field of the event.
    pub fn attribute(&self, key: &str) -> Option<&AttributeValue> {
        attribute::get(&self.attributes, key)
    }

    /// All attributes, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.iter().map(|(key, value)| (&**key, value))
    }

    /// Sets an attribute, or replaces it.
    pub fn set_attribute(&mut self, key: impl Into<String>, value: impl Into<AttributeValue>) {
        attribute::set(&mut self.attributes, key.into(), value.into(), usize::MAX);
    }

    /// Removes an attribute and returns it.
    pub fn remove_attribute(&mut self, key: &str) -> Option<AttributeValue> {
        attribute::remove(&mut self.attributes, key)
    }

    /// The feature flags that the request had evaluated, the last one last.
    pub fn flags(&self) -> &[FlagEvaluation] {
        &self.flags
    }

    /// What `error-stack` and `rootcause` reports carry besides errors, as text.
    pub fn attachments(&self) -> &[String] {
        &self.attachments
    }

    /// The group's id (`crumbtrail.group.id`).
    pub fn group(&self) -> String {
        self.group.to_string()
    }

    /// The id of the coarser group it is in (`crumbtrail.group.coarse`).
    pub fn coarse_group(&self) -> String {
        self.coarse.to_string()
    }

    /// Groups it with all exceptions of which the same is said. To divide a group, say what it has
    /// been and what divides it:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_before_send(|exception| {
    ///     if let Some(tenant) = exception.attribute("tenant").map(ToString::to_string) {
    ///         exception.set_group(&format!("{} {tenant}", exception.group()));
    ///     }
    ///     ControlFlow::Continue(())
    /// });
    /// # let (_, collected) = crumbtrail::testing::collect_with(builder, || { for tenant in ["a", "b"] { tracing::error!(tenant, "refused"); } });
    /// # let [first, second] = collected.exceptions() else { panic!("{collected:?}") };
    /// assert_ne!(first.group(), second.group());
    /// ```
    pub fn set_group(&mut self, name: &str) {
        self.group = GroupId::explicit(name);
    }

    /// An earlier exception of the same request whose error this one's wraps
    /// (`crumbtrail.error.wraps`).
    pub fn wraps(&self) -> Option<ErrorId> {
        self.wraps
    }

    /// The root span that had just ended in the same task, for an exception that was reported
    /// outside of any span: its trace id and span id, in lower-case hex
    /// (`crumbtrail.preceding.trace_id`, `crumbtrail.preceding.span_id`). It may be that one's
    /// error, or of what the task has begun since; so it has neither its user nor its breadcrumbs.
    pub fn preceding(&self) -> Option<(String, String)> {
        self.preceding.map(|ids| (format!("{:032x}", ids.trace), format!("{:016x}", ids.span)))
    }

    /// The target of the event, or what stands for it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The place in the source that raised it: file and line.
    pub fn location(&self) -> Option<(&str, u32)> {
        self.place.as_ref().map(|place| (&*place.file, place.line))
    }

    /// The name of the thread it happened on.
    pub fn thread_name(&self) -> Option<&str> {
        self.thread_name.as_deref()
    }

    /// The trace it belongs to; `None` outside of spans.
    pub fn trace_id(&self) -> Option<u128> {
        Some(self.ids.trace).filter(|id| *id != 0)
    }

    /// The span it happened in; `None` outside of spans.
    pub fn span_id(&self) -> Option<u64> {
        Some(self.ids.span).filter(|id| *id != 0)
    }

    /// The number of exceptions of its group that were only counted since the group's last record.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Whether stack and breadcrumbs were left out because its group raises many.
    pub fn is_lean(&self) -> bool {
        self.lean
    }

    /// It is of a group that has been named before.
    pub(crate) fn regroup(&mut self, labels: &Labels) {
        let parse = |text: &str| GroupId::parse(text);
        (self.group, self.coarse) = (parse(&labels.group).unwrap_or(self.group), parse(&labels.coarse).unwrap_or(self.coarse));
        if let Some(first) = self.causes.first_mut().filter(|first| !first.exact && labels.exact) {
            (first.type_name, first.exact) = (labels.type_name.clone(), true);
        }
    }

    /// Keeps only what says which defect it is: for a record that no hook has seen.
    pub(crate) fn withhold(&mut self) {
        let withheld = || "[withheld: the process ended before the hooks could see it]".to_owned();
        self.causes.iter_mut().for_each(|cause| cause.message = withheld());
        self.body = None;
        self.breadcrumbs.0.clear();
        self.user = None;
        self.session = None;
        self.attributes.clear();
        self.flags.clear();
        self.attachments.clear();
        self.thread_name = None;
    }
}

impl fmt::Debug for Exception {
    /// Readable, a line for each thing: for the output of a failed test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.type_name(), self.message())?;
        for cause in &self.causes[1.min(self.causes.len())..] {
            writeln!(f, "  caused by {}: {}", cause.type_name().unwrap_or("error"), cause.message)?;
        }
        if let Some(body) = self.body.as_deref().filter(|body| *body != self.message()) {
            writeln!(f, "  said: {body}")?;
        }
        writeln!(f, "  {} in {} ({})", self.mechanism.as_str(), self.target, self.group)?;
        if let Some(user) = &self.user {
            writeln!(f, "  user: {user:?}")?;
        }
        for (key, value) in &self.attributes {
            writeln!(f, "  {key}: {value:?}")?;
        }
        for flag in &self.flags {
            writeln!(f, "  flag {}: {}", flag.key(), flag.variant().unwrap_or("evaluated"))?;
        }
        for crumb in self.breadcrumbs.iter() {
            writeln!(f, "  - {crumb:?}")?;
        }
        for frame in self.frames.iter().filter(|frame| frame.is_own()).take(5) {
            writeln!(f, "  at {frame:?}")?;
        }
        Ok(())
    }
}
