//! The service: who reports.

/// Name, version and revision of the service, and which crates are its own. Made by [`service!`](crate::service).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) own_crate: String,
}

impl Service {
    /// A service by name. Prefer [`service!`](crate::service), which also knows version, revision and crate.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: None, revision: None, own_crate: String::new() }
    }

    /// Another name (`service.name`); `OTEL_SERVICE_NAME` still wins over it when the environment is read.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The release (`service.version`).
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The commit it was built from (`vcs.ref.head.revision`).
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into()).filter(|revision: &String| !revision.is_empty());
        self
    }

    /// The service's own crate, as `module_path!()` begins with it. Its frames come first in reports and its DEBUG events are kept as breadcrumbs.
    #[must_use]
    pub fn with_crate(mut self, module_path: &str) -> Self {
        self.own_crate = module_path.split("::").next().unwrap_or_default().to_owned();
        self
    }
}

/// The calling package as a [`Service`]: `CARGO_PKG_NAME` and `CARGO_PKG_VERSION` of the *caller*, its crate, and the git revision from `GIT_COMMIT_SHA` or `VCS_REF` at build time. (Where those are set at run time, they are read by [`from_env`](crate::Builder::from_env).)
///
/// ```
/// let service = crumbtrail::service!();
/// assert_eq!(service, crumbtrail::service!());
/// assert_ne!(service, crumbtrail::service!().with_version("2.0.0"));
/// ```
#[macro_export]
macro_rules! service {
    () => {
        $crate::Service::new(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).with_crate(module_path!()).with_revision(
            match (option_env!("GIT_COMMIT_SHA"), option_env!("VCS_REF")) {
                (Some(revision), _) | (None, Some(revision)) => revision,
                (None, None) => "",
            },
        )
    };
}
