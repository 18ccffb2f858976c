//! What an image name means on this machine: which program to run and what its file system needs, from `LocalRuntime` objects and a built-in table.
//!
//! Nothing is pulled from a registry and nothing is unpacked; a name without a meaning is refused with the lines to add.

pub mod mariadb;

mod builtin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::{Deserialize, Serialize};

use crate::init::protocol::{Bind, Edit};

/// The annotation on a `LocalRuntime` that says which directory its relative paths start from.
pub const DIRECTORY_ANNOTATION: &str = "local.varka.dev/directory";
/// Where this binary is in every container.
pub(crate) const SELF: &str = "/varka";
/// The search path of containers, as images have it.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The `LocalRuntime` kind.
pub(crate) fn local_runtime() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("local.varka.dev", "v1alpha1", "LocalRuntime"))
}

/// `spec` of a `LocalRuntime`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LocalRuntimeSpec {
    /// The images it gives a meaning to; the first match counts.
    pub images: Vec<ImageSpec>,
}

/// What one image name, or all names that fit a pattern, stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ImageSpec {
    /// The image's name; `*` stands for any characters. The tag is compared only where this gives one.
    pub image: String,
    /// The program and its fixed arguments, as an image's ENTRYPOINT. A relative path starts from the object's directory.
    pub entrypoint: Vec<String>,
    /// The default arguments, as an image's CMD.
    pub cmd: Vec<String>,
    /// Environment that the container's own adds to, by name.
    pub env: BTreeMap<String, String>,
    /// The directory to start in, from the object's directory. Default: `/`.
    pub working_dir: Option<String>,
    /// The signal that asks the program to end, such as `SIGQUIT`. Default: `SIGTERM`.
    pub stop_signal: Option<String>,
    /// How the program comes to be.
    pub build: Option<BuildSpec>,
}

/// How to build a program; `varka up` runs it before it starts pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BuildSpec {
    /// The command, run in the object's directory.
    pub command: Vec<String>,
    /// Files and directories that it reads, from the object's directory; newer ones make it run again.
    pub inputs: Vec<String>,
}

/// An image that has a meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: PathBuf,
    pub(crate) stop_signal: Option<String>,
    /// What to change in the file system.
    pub(crate) edits: Vec<Edit>,
    /// What to show of the host, read-only.
    pub(crate) binds: Vec<Bind>,
    /// Whether arguments that start with `-` belong to the entry point's first word (curl's image, which has no entry point of its own).
    pub(crate) dashed_to: Option<String>,
}

/// Why an image cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "image \"{image}\" has no meaning on this machine, where nothing is pulled. Say which program it stands for, in a LocalRuntime:\n\
         apiVersion: local.varka.dev/v1alpha1\nkind: LocalRuntime\nmetadata: {{name: images}}\nspec:\n  images:\n  - image: {name}\n    \
         entrypoint: [./path/to/program]"
    )]
    Unknown { image: String, name: String },
    #[error("image \"{image}\" stands for {program}, which is not there{hint}")]
    NoProgram { image: String, program: String, hint: String },
    #[error("LocalRuntime \"{object}\" cannot be read: {reason}")]
    BadObject { object: String, reason: String },
}

/// Splits a reference into its name and its tag or digest.
fn split_reference(reference: &str) -> (&str, Option<&str>) {
    let reference = reference.split_once('@').map_or(reference, |(name, _)| name);
    match reference.rsplit_once(':') {
        // A colon before the last slash belongs to a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (reference, None),
    }
}

/// The short form of a name: without Docker Hub's host and its `library/`.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/")).unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces: Vec<&str> = parts.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn matches(pattern: &str, reference: &str) -> bool {
    let (wanted, wanted_tag) = split_reference(pattern);
    let (name, tag) = split_reference(reference);
    let named = fits(wanted, name) || fits(familiar(wanted), familiar(name));
    named && wanted_tag.is_none_or(|wanted| fits(wanted, tag.unwrap_or("latest")))
}

/// The meaning of an image: of the first `LocalRuntime` (by name) that knows it, else of the built-in table.
pub(crate) fn resolve(reference: &str, objects: &[DynamicObject]) -> Result<Image, ImageError> {
    let mut bad = None;
    let mut sorted: Vec<&DynamicObject> = objects.iter().collect();
    sorted.sort_by_key(|object| object.metadata.name.clone());
    for object in sorted {
        let name = object.metadata.name.clone().unwrap_or_default();
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        match serde_json::from_value::<LocalRuntimeSpec>(spec) {
            Ok(spec) => {
                if let Some(found) = spec.images.iter().find(|image| matches(&image.image, reference)) {
                    let directory = object.metadata.annotations.as_ref().and_then(|all| all.get(DIRECTORY_ANNOTATION));
                    return from_object(reference, found, Path::new(directory.map_or("/", String::as_str)));
                }
            }
            // Another object may still know the image.
            Err(error) => bad = Some(ImageError::BadObject { object: name, reason: error.to_string() }),
        }
    }
    if let Some(image) = builtin::images().into_iter().find(|(names, _)| names.iter().any(|n| matches(n, reference))) {
        return Ok(image.1);
    }
    let name = split_reference(reference).0.to_owned();
    Err(bad.unwrap_or_else(|| ImageError::Unknown { image: reference.to_owned(), name }))
}

fn from_object(reference: &str, spec: &ImageSpec, directory: &Path) -> Result<Image, ImageError> {
    let mut entrypoint = spec.entrypoint.clone();
    let mut binds = vec![Bind { source: directory.into(), target: directory.into(), read_only: true }];
    if directory == Path::new("/") {
        binds.clear();
    }
    if let Some(program) = entrypoint.first_mut().filter(|program| program.contains('/')) {
        let path = normal(&directory.join(&*program));
        if !path.is_file() {
            let hint =
                spec.build.as_ref().filter(|build| !build.command.is_empty()).map_or_else(String::new, |build| {
                    format!("; build it: cd {} && {}", directory.display(), build.command.join(" "))
                });
            return Err(ImageError::NoProgram {
                image: reference.to_owned(),
                program: path.display().to_string(),
                hint,
            });
        }
        // A link on the way to it would lead nowhere inside.
        let path = path.canonicalize().unwrap_or(path);
        // A program built elsewhere is shown alone, not the directory that happens to hold it.
        if !path.starts_with(directory) && !path.starts_with("/usr") {
            binds.push(Bind { source: path.clone(), target: path.clone(), read_only: true });
        }
        *program = path.display().to_string();
    }
    let working_dir = spec.working_dir.as_ref().map_or_else(|| PathBuf::from("/"), |dir| normal(&directory.join(dir)));
    Ok(Image {
        entrypoint,
        cmd: spec.cmd.clone(),
        env: spec.env.clone(),
        working_dir,
        stop_signal: spec.stop_signal.clone(),
        edits: Vec::new(),
        binds,
        dashed_to: None,
    })
}

/// The path without `.` and `..`, which the container's mounts must not depend on.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

impl Image {
    /// The command line of a container with this image, before variables are put in: OCI's rule for `command` and `args`.
    pub(crate) fn command_line(&self, container: &Container) -> Vec<String> {
        let args = container.args.clone().unwrap_or_default();
        if let Some(command) = container.command.as_ref().filter(|c| !c.is_empty()) {
            return command.iter().cloned().chain(args).collect();
        }
        let args = if args.is_empty() { self.cmd.clone() } else { args };
        let dashed = args.first().is_some_and(|first| first.starts_with('-'));
        let leading = self.dashed_to.iter().filter(|_| dashed).cloned();
        self.entrypoint.iter().cloned().chain(leading).chain(args).collect()
    }
}

#[cfg(test)]
mod tests;
