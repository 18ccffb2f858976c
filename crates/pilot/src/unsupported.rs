//! What Varka takes and does not act on, as one list, so that nobody believes a setting that nothing obeys.
//!
//! The list is data: a kind, or a field of one, with what happens to traffic instead. The snapshot looks every object up in it
//! when the object comes, admission when it is written, and the document of compatibility is held to it by a test. Who
//! implements a thing takes its row out of the list and out of the document. Fields that no type knows are not here: they are
//! told of as unknown when an object is decoded.

mod list;

use serde_json::Value;
use varka_api::RawObject;
use varka_api::istio::MeshConfig;
use varka_engine::expression::Expression;

use crate::diagnostic::{Diagnostic, Severity};

pub use list::NOT_IMPLEMENTED;

/// A kind, or a field of one, that has no effect or not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotImplemented {
    /// API group; empty for MeshConfig, which is no resource.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Field path, `[]` for every element; `spec`: the whole kind. Paths below `spec.trafficPolicy` of a DestinationRule also mean
    /// its subsets and port levels.
    pub path: &'static str,
    /// The values that are meant, `*` at the end for any rest; empty: any that is set.
    pub only: &'static [&'static str],
    /// How bad.
    pub severity: Severity,
    /// What happens to traffic.
    pub effect: &'static str,
}

/// Where a DestinationRule has traffic policies.
const POLICIES: [&str; 4] = [
    "spec.trafficPolicy.",
    "spec.trafficPolicy.portLevelSettings[].",
    "spec.subsets[].trafficPolicy.",
    "spec.subsets[].trafficPolicy.portLevelSettings[].",
];

/// Where one is set.
struct Place {
    path: String,
    /// What it is set to, where only some values are meant.
    value: Option<String>,
}

impl NotImplemented {
    /// Whether nothing of the kind is implemented.
    pub fn is_whole_kind(&self) -> bool {
        self.path == "spec"
    }

    /// `spec.tracing`, or `spec.resolution: DYNAMIC_DNS`, for people.
    pub fn field(&self) -> String {
        if self.only.is_empty() { self.path.to_owned() } else { format!("{}: {}", self.path, self.only.join(", ")) }
    }

    fn is_of(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && self.group == group
    }

    /// Paths in `root` where it is set, with the value where only some are meant.
    fn places(&self, root: &Value) -> Vec<Place> {
        if self.is_whole_kind() {
            return vec![Place { path: self.path.to_owned(), value: None }];
        }
        let mut found = Vec::new();
        match self.path.strip_prefix(POLICIES[0]) {
            Some(rest) => {
                POLICIES.iter().for_each(|place| self.walk(root, &format!("{place}{rest}"), "", &mut found));
            }
            None => self.walk(root, self.path, "", &mut found),
        }
        found
    }

    fn walk(&self, parent: &Value, path: &str, at: &str, found: &mut Vec<Place>) {
        let (segment, rest) = path.split_once('.').map_or((path, None), |(segment, rest)| (segment, Some(rest)));
        let name = segment.strip_suffix("[]");
        let Some(value) = parent.get(name.unwrap_or(segment)) else { return };
        let at = if at.is_empty() { String::new() } else { format!("{at}.") } + name.unwrap_or(segment);
        match (rest, name) {
            (Some(rest), None) => self.walk(value, rest, &at, found),
            (Some(rest), Some(_)) => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.walk(item, rest, &format!("{at}[{i}]"), found);
                }
            }
            (None, _) => {
                let meant =
                    self.only.is_empty() || value.as_str().is_some_and(|v| self.only.iter().any(|o| fits(o, v)));
                if is_set(value) && meant {
                    let value = value.as_str().filter(|_| !self.only.is_empty()).map(str::to_owned);
                    found.push(Place { path: at, value });
                }
            }
        }
    }

    fn diagnostic(&self, resource: &str, Place { path, value }: Place, position: Option<String>) -> Diagnostic {
        let name = path.rsplit('.').next().unwrap_or_default();
        let what = if self.is_whole_kind() { self.kind } else { name };
        let message = match value {
            None => format!("{what} is not implemented"),
            Some(value) => format!("{what} {value} is not implemented"),
        };
        Diagnostic {
            severity: self.severity,
            code: "not-implemented",
            resource: resource.to_owned(),
            path,
            position,
            message,
            effect: self.effect.to_owned(),
        }
    }
}

fn fits(wanted: &str, value: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == value, |start| value.starts_with(start))
}

/// Whether a value says more than the default does.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
    }
}

/// Everything in `object` that is not implemented, for whoever writes it.
pub fn not_implemented(object: &RawObject) -> Vec<Diagnostic> {
    let mut found = of_object(object);
    if object.kind == "Telemetry" {
        found.extend(filters(object));
    }
    found
}

/// Filters of access logs that cannot be evaluated. Compiling tells of them too.
fn filters(object: &RawObject) -> Vec<Diagnostic> {
    let logging = object.value.pointer("/spec/accessLogging").and_then(Value::as_array);
    let filter = |(i, setting): (usize, &Value)| {
        let expression = setting.pointer("/filter/expression")?.as_str()?;
        let error = Expression::parse(expression).err()?;
        let path = format!("spec.accessLogging[{i}].filter.expression");
        Some(Diagnostic {
            severity: Severity::Warning,
            code: "access-log-filter",
            resource: label(object),
            position: object.position.at(&path),
            path,
            message: format!("the expression cannot be evaluated: {error}"),
            effect: "every request is logged".to_owned(),
        })
    };
    logging.into_iter().flatten().enumerate().filter_map(filter).collect()
}

/// What of it compiling does not tell: filters of access logs are looked at there.
pub(crate) fn on_arrival(object: &RawObject) -> Vec<Diagnostic> {
    of_object(object)
}

fn of_object(object: &RawObject) -> Vec<Diagnostic> {
    let group = object.group();
    let mut found = Vec::new();
    for entry in NOT_IMPLEMENTED.iter().filter(|e| e.is_of(group, &object.kind)) {
        for place in entry.places(&object.value) {
            let position = object.position.at(&place.path);
            found.push(entry.diagnostic(&label(object), place, position));
        }
    }
    found
}

/// The Gateway API has a kind whose name is Istio's too.
pub(crate) fn label(object: &RawObject) -> String {
    let label = object.label();
    match label.strip_prefix("Gateway ") {
        Some(name) if object.group() == list::GATEWAY_API => format!("Gateway.{} {name}", list::GATEWAY_API),
        _ => label,
    }
}

/// Everything in the mesh's settings that is not implemented. `resource` is where they are written.
pub(crate) fn in_mesh(mesh: &MeshConfig, resource: &str) -> Vec<Diagnostic> {
    let Ok(value) = serde_json::to_value(mesh) else { return Vec::new() };
    let root = serde_json::json!({ "mesh": value });
    let entries = NOT_IMPLEMENTED.iter().filter(|e| e.is_of("", "MeshConfig"));
    let found = entries.flat_map(|entry| entry.places(&root).into_iter().map(move |place| (entry, place)));
    let mut found: Vec<_> = found.map(|(entry, place)| entry.diagnostic(resource, place, None)).collect();
    found.extend(log_providers(mesh, resource));
    found
}

/// Default providers of access logs that nothing is written for.
fn log_providers(mesh: &MeshConfig, resource: &str) -> Vec<Diagnostic> {
    let writes = |name: &str| {
        name == "envoy" || mesh.extension_providers.iter().any(|p| p.name == name && p.envoy_file_access_log.is_some())
    };
    let names = mesh.default_providers.get("accessLogging").into_iter().flatten();
    let diagnostic = |name: &String| Diagnostic {
        severity: Severity::Warning,
        code: "unknown-provider",
        resource: resource.to_owned(),
        path: "mesh.defaultProviders.accessLogging".to_owned(),
        position: None,
        message: format!("MeshConfig has no file access log provider `{name}`"),
        effect: "nothing is logged for it".to_owned(),
    };
    names.filter(|name| !writes(name)).map(diagnostic).collect()
}

/// A kind of which nothing is implemented, as a name that tells it from all others.
pub(crate) fn kind(group: &str, kind: &str) -> Option<&'static NotImplemented> {
    NOT_IMPLEMENTED.iter().find(|e| e.is_of(group, kind) && e.is_whole_kind())
}

#[cfg(test)]
mod tests;
