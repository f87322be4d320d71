//! Where the service runs, as far as files and variables tell: the container, the Kubernetes pod,
//! the cloud. Comes in: the environment, `/proc/self`, a pod's service account. Goes out: resource
//! attributes. No network is asked: what only a metadata service knows is the collector's to add
//! (its `resourcedetection` processor).

use std::{fs, path::Path};

use super::EnvVars;

/// Which of them are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Detectors {
    container: bool,
    kubernetes: bool,
    cloud: bool,
}

impl Default for Detectors {
    fn default() -> Self {
        Self { container: true, kubernetes: true, cloud: true }
    }
}

/// `OTEL_EXPERIMENTAL_RESOURCE_DETECTORS`: a list. Those of other SDKs that stand for what is told
/// in any case are fine.
pub(super) fn parse(text: &str) -> Result<Detectors, String> {
    let mut wanted = Detectors { container: false, kubernetes: false, cloud: false };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "all" | "*" => wanted = Detectors::default(),
            "none" => wanted = Detectors { container: false, kubernetes: false, cloud: false },
            "container" => wanted.container = true,
            "k8s" | "kubernetes" => wanted.kubernetes = true,
            "cloud" => wanted.cloud = true,
            "otel" | "env" | "host" | "os" | "process" | "service" | "serviceinstance" => {}
            other => return Err(format!("{other:?} is none of all, none, container, k8s, cloud; all are used")),
        }
    }
    Ok(wanted)
}

/// `root`: where `proc` and `var` are.
pub(super) fn detect(environment: &EnvVars, root: &Path, wanted: Detectors) -> Vec<(String, String)> {
    let mut detection = Detection { environment, root, found: Vec::new() };
    if wanted.container {
        detection.container();
    }
    if wanted.kubernetes {
        detection.kubernetes();
    }
    if wanted.cloud {
        detection.cloud();
    }
    detection.found
}

struct Detection<'a> {
    environment: &'a EnvVars,
    root: &'a Path,
    found: Vec<(String, String)>,
}

/// Bytes of one file that are looked at.
const MAX_FILE: u64 = 1 << 20;
/// Hexadecimal digits of a container's id.
const ID: usize = 64;

impl Detection<'_> {
    fn container(&mut self) {
        let of_group = self.file("proc/self/cgroup").as_deref().and_then(id_in_cgroup);
        // With control groups of version 2 that file says `/`; the runtime's mounts have the id.
        let id = of_group.or_else(|| self.file("proc/self/mountinfo").as_deref().and_then(id_in_mounts));
        self.set("container.id", id);
    }

    /// Names come from the downward API, by the variables that OpenTelemetry's operator sets and
    /// those that people do.
    fn kubernetes(&mut self) {
        const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount/namespace";
        let namespace = self.file(ACCOUNT);
        if namespace.is_none() && self.variable("KUBERNETES_SERVICE_HOST").is_none() {
            return;
        }
        let first = |names: &[&str]| names.iter().find_map(|name| self.variable(name));
        let found = [
            ("k8s.namespace.name", first(&["OTEL_RESOURCE_ATTRIBUTES_POD_NAMESPACE", "K8S_NAMESPACE_NAME", "POD_NAMESPACE"]).or(namespace)),
            // A pod's host name is its own, unless it is said otherwise.
            ("k8s.pod.name", first(&["OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "K8S_POD_NAME", "POD_NAME", "HOSTNAME"])),
            ("k8s.pod.uid", first(&["OTEL_RESOURCE_ATTRIBUTES_POD_UID", "K8S_POD_UID", "POD_UID"]).or_else(|| self.pod_uid())),
            ("k8s.node.name", first(&["OTEL_RESOURCE_ATTRIBUTES_NODE_NAME", "K8S_NODE_NAME", "NODE_NAME"])),
            ("k8s.container.name", first(&["K8S_CONTAINER_NAME"])),
            ("k8s.cluster.name", first(&["K8S_CLUSTER_NAME"])),
        ];
        found.into_iter().for_each(|(key, value)| self.set(key, value));
    }

    fn pod_uid(&self) -> Option<String> {
        ["proc/self/cgroup", "proc/self/mountinfo"].iter().find_map(|path| uid_of_pod(&self.file(path)?))
    }

    fn cloud(&mut self) {
        let is_set = |name| self.variable(name).is_some();
        // The most particular first: a function has the variables of what it runs on, too.
        let (provider, platform, named) = if is_set("AWS_LAMBDA_FUNCTION_NAME") {
            let named = [
                ("faas.name", "AWS_LAMBDA_FUNCTION_NAME"),
                ("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
                ("faas.instance", "AWS_LAMBDA_LOG_STREAM_NAME"),
                ("cloud.region", "AWS_REGION"),
            ];
            ("aws", "aws_lambda", named.to_vec())
        } else if is_set("ECS_CONTAINER_METADATA_URI_V4") || is_set("ECS_CONTAINER_METADATA_URI") {
            ("aws", "aws_ecs", vec![("cloud.region", "AWS_REGION")])
        } else if is_set("FUNCTION_TARGET") && is_set("K_SERVICE") {
            ("gcp", "gcp_cloud_functions", vec![("faas.name", "K_SERVICE"), ("faas.version", "K_REVISION")])
        } else if is_set("K_SERVICE") && is_set("K_CONFIGURATION") {
            ("gcp", "gcp_cloud_run", vec![("faas.name", "K_SERVICE"), ("faas.version", "K_REVISION")])
        } else if is_set("CLOUD_RUN_JOB") {
            ("gcp", "gcp_cloud_run", vec![("faas.name", "CLOUD_RUN_JOB"), ("faas.instance", "CLOUD_RUN_EXECUTION")])
        } else if is_set("GAE_SERVICE") {
            (
                "gcp",
                "gcp_app_engine",
                vec![("faas.name", "GAE_SERVICE"), ("faas.version", "GAE_VERSION"), ("faas.instance", "GAE_INSTANCE")],
            )
        } else if is_set("CONTAINER_APP_NAME") {
            ("azure", "azure.container_apps", vec![])
        } else if is_set("FUNCTIONS_EXTENSION_VERSION") {
            ("azure", "azure.functions", vec![("faas.name", "WEBSITE_SITE_NAME"), ("cloud.region", "REGION_NAME")])
        } else if is_set("WEBSITE_SITE_NAME") {
            ("azure", "azure.app_service", vec![("cloud.region", "REGION_NAME")])
        } else if is_set("HEROKU_APP_ID") {
            ("heroku", "", vec![])
        } else {
            return;
        };
        self.set("cloud.provider", Some(provider.to_owned()));
        self.set("cloud.platform", Some(platform.to_owned()).filter(|platform| !platform.is_empty()));
        for (key, variable) in named {
            let value = self.variable(variable);
            self.set(key, value);
        }
    }

    fn set(&mut self, key: &str, value: Option<String>) {
        self.found.extend(value.map(|value| (key.to_owned(), value)));
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.0.get(name)?.to_str()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn file(&self, path: &str) -> Option<String> {
        use std::io::Read as _;
        let mut text = String::new();
        fs::File::open(self.root.join(path)).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A line is `hierarchy:controllers:path`; the path ends in the id, which some runtimes wrap:
/// `docker-<id>.scope`, `cri-containerd-<id>.scope`.
fn id_in_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let last = line.splitn(3, ':').nth(2)?.rsplit('/').next()?;
        let bare = last.strip_suffix(".scope").unwrap_or(last);
        let id = bare.rsplit(['-', ':']).next()?;
        is_id(id).then(|| id.to_owned())
    })
}

/// Of Docker's and Podman's mounts into a container. (Those of containerd have the pod's sandbox,
/// which is another container.)
fn id_in_mounts(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let source = line.split(' ').nth(3)?;
        let (_, rest) = source.split_once("containers/")?;
        let (id, file) = rest.split_once('/')?;
        let is_of_runtime = ["hostname", "hosts", "resolv.conf"].iter().any(|name| file.ends_with(name));
        (is_of_runtime && is_id(id)).then(|| id.to_owned())
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// In `…/kubepods-burstable-pod<uid>.slice/…`, with `_` or `-` between its parts.
fn uid_of_pod(text: &str) -> Option<String> {
    text.match_indices("pod").find_map(|(at, _)| {
        let uid = text.get(at + 3..at + 39)?.replace('_', "-");
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let is_uuid = uid.bytes().enumerate().all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
        is_uuid.then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], files: &[(&str, &str)], detectors: &str) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        detect(&EnvVars::from_iter(variables.iter().copied()), root.path(), parse(detectors).unwrap())
    }

    fn value<'a>(found: &'a [(String, String)], key: &str) -> &'a str {
        found.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_is_known_by_its_group_or_its_mounts() {
        for path in [
            format!("/docker/{CONTAINER}"),
            format!("/system.slice/docker-{CONTAINER}.scope"),
            format!("/kubepods/besteffort/pod1-2/cri-containerd:{CONTAINER}"),
            format!("/kubepods.slice/crio-{CONTAINER}.scope"),
        ] {
            let of_group = found(&[], &[("proc/self/cgroup", &format!("12:cpu:/\n1:name=systemd:{path}"))], "all");
            assert_eq!(value(&of_group, "container.id"), CONTAINER, "{path}");
        }
        let mounts = |source: &str| {
            let line = format!("473 456 254:1 {source} /etc/hostname rw,relatime - ext4 /dev/vda1 rw");
            found(&[], &[("proc/self/cgroup", "0::/"), ("proc/self/mountinfo", &line)], "container")
        };
        assert_eq!(value(&mounts(&format!("/var/lib/docker/containers/{CONTAINER}/hostname")), "container.id"), CONTAINER);
        let podman = format!("/home/ada/overlay-containers/{CONTAINER}/userdata/hostname");
        assert_eq!(value(&mounts(&podman), "container.id"), CONTAINER);
        let sandbox = format!("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{CONTAINER}/hostname");
        assert_eq!(mounts(&sandbox), []);
        assert_eq!(found(&[], &[("proc/self/cgroup", "0::/user.slice/session-2.scope")], "all"), []);
    }

    #[test]
    fn a_pod_is_known_by_the_downward_api_and_its_account() {
        let uid = "275ecb36-5aa8-4c2a-9c47-d8bb681b9aff";
        let group = format!("0::/kubepods.slice/kubepods-burstable-pod{}.slice/cri-containerd-{CONTAINER}.scope", uid.replace('-', "_"));
        let pod = found(
            &[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("HOSTNAME", "shop-7f9-x2"), ("NODE_NAME", "node-3")],
            &[("var/run/secrets/kubernetes.io/serviceaccount/namespace", "shop\n"), ("proc/self/cgroup", &group)],
            "all",
        );
        for (key, expected) in [
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "shop-7f9-x2"),
            ("k8s.pod.uid", uid),
            ("k8s.node.name", "node-3"),
            ("container.id", CONTAINER),
        ] {
            assert_eq!(value(&pod, key), expected, "{pod:?}");
        }
        // A host name is no pod's where there is no Kubernetes.
        assert_eq!(found(&[("HOSTNAME", "laptop"), ("POD_NAME", "p")], &[], "all"), []);
        assert_eq!(found(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("HOSTNAME", "p")], &[], "container,cloud"), []);
    }

    #[test]
    fn a_cloud_is_known_by_its_variables() {
        for (variables, platform, name) in [
            (&[("AWS_LAMBDA_FUNCTION_NAME", "pay"), ("AWS_REGION", "eu-central-1")][..], "aws_lambda", "pay"),
            (&[("K_SERVICE", "shop"), ("K_CONFIGURATION", "shop")], "gcp_cloud_run", "shop"),
            (&[("K_SERVICE", "pay"), ("FUNCTION_TARGET", "pay"), ("K_CONFIGURATION", "c")], "gcp_cloud_functions", "pay"),
            (&[("WEBSITE_SITE_NAME", "shop"), ("FUNCTIONS_EXTENSION_VERSION", "~4")], "azure.functions", "shop"),
            (&[("CONTAINER_APP_NAME", "shop")], "azure.container_apps", ""),
            (&[("HEROKU_APP_ID", "1")], "", ""),
        ] {
            let found = found(variables, &[], "all");
            assert_eq!((value(&found, "cloud.platform"), value(&found, "faas.name")), (platform, name));
            assert!(!value(&found, "cloud.provider").is_empty());
        }
        assert_eq!(found(&[("AWS_REGION", "eu-central-1")], &[], "all"), [], "a region alone is what a laptop has, too");
        assert!(parse("kubernets").is_err());
        assert_eq!(parse(" none "), parse("host,os"));
    }
}
