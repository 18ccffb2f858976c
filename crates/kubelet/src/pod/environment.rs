//! A container's environment and command line: values, references, and `$(NAME)` in them. Pure: what is referred to comes in as functions.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};
use std::sync::Arc;

use super::downward::{self, DownwardError};

/// Why a container's environment cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("{kind} \"{name}\" not found")]
    NoObject { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {name}")]
    NoKey { kind: &'static str, name: String, key: String },
    #[error("{kind} {name}, key {key}: the value is not text")]
    NotText { kind: &'static str, name: String, key: String },
    #[error("env {name}: {source}")]
    Field { name: String, source: DownwardError },
    #[error("env {name}: {source}")]
    Long { name: String, source: TooLong },
    #[error(
        "the environment is larger than {MOST} bytes, with what its references stand for: no program can be started with it"
    )]
    Large,
}

/// Longest value of a variable, and longest argument, that Linux gives to a program (`MAX_ARG_STRLEN`), without its end.
pub const LONGEST_VALUE: usize = 128 * 1024 - 1;
/// Largest environment and arguments that Linux gives to a program: a quarter of the default stack.
const MOST: usize = 2 * 1024 * 1024;

/// References stand for more than a program can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "with what its references stand for it is longer than {LONGEST_VALUE} bytes: no program can be started with it"
)]
pub struct TooLong;

/// Where references lead.
pub(crate) struct Lookup<'a> {
    pub(crate) config_map: &'a dyn Fn(&str) -> Option<Arc<ConfigMap>>,
    pub(crate) secret: &'a dyn Fn(&str) -> Option<Arc<Secret>>,
    pub(crate) pod: &'a Pod,
    pub(crate) facts: downward::Facts,
}

fn text_of(
    kind: &'static str,
    name: &str,
    key: &str,
    value: Option<&ByteString>,
) -> Result<Option<String>, EnvironmentError> {
    let text = |bytes: &ByteString| String::from_utf8(bytes.0.clone());
    value.map(text).transpose().map_err(|_| EnvironmentError::NotText {
        kind,
        name: name.to_owned(),
        key: key.to_owned(),
    })
}

impl Lookup<'_> {
    fn key(
        &self,
        kind: &'static str,
        name: &str,
        key: &str,
        optional: bool,
        found: Option<Result<Option<String>, EnvironmentError>>,
    ) -> Result<Option<String>, EnvironmentError> {
        match found {
            None if optional => Ok(None),
            None => Err(EnvironmentError::NoObject { kind, name: name.to_owned() }),
            Some(value) => match value? {
                None if !optional => Err(EnvironmentError::NoKey { kind, name: name.to_owned(), key: key.to_owned() }),
                value => Ok(value),
            },
        }
    }

    fn source(
        &self,
        name: &str,
        source: &EnvVarSource,
        container: &Container,
    ) -> Result<Option<String>, EnvironmentError> {
        let field = |source| EnvironmentError::Field { name: name.to_owned(), source };
        if let Some(reference) = &source.config_map_key_ref {
            let found = (self.config_map)(&reference.name);
            let value = found.map(|map| Ok(map.data.as_ref().and_then(|d| d.get(&reference.key)).cloned()));
            return self.key("configmap", &reference.name, &reference.key, reference.optional.unwrap_or(false), value);
        }
        if let Some(reference) = &source.secret_key_ref {
            let found = (self.secret)(&reference.name);
            let value = found.map(|secret| {
                text_of(
                    "secret",
                    &reference.name,
                    &reference.key,
                    secret.data.as_ref().and_then(|d| d.get(&reference.key)),
                )
            });
            return self.key("secret", &reference.name, &reference.key, reference.optional.unwrap_or(false), value);
        }
        if let Some(reference) = &source.field_ref {
            return downward::field(self.pod, &self.facts, &reference.field_path).map(Some).map_err(field);
        }
        if let Some(reference) = &source.resource_field_ref {
            return downward::resource(self.pod, Some(container), &self.facts, reference).map(Some).map_err(field);
        }
        Ok(None)
    }

    /// All of `envFrom`, later ones over earlier ones.
    fn imported(&self, container: &Container) -> Result<BTreeMap<String, String>, EnvironmentError> {
        let mut all = BTreeMap::new();
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.clone().unwrap_or_default();
            if let Some(reference) = &source.config_map_ref {
                match (self.config_map)(&reference.name) {
                    Some(map) => {
                        all.extend(map.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.clone())))
                    }
                    None if reference.optional == Some(true) => {}
                    None => return Err(EnvironmentError::NoObject { kind: "configmap", name: reference.name.clone() }),
                }
            }
            if let Some(reference) = &source.secret_ref {
                let secret = match (self.secret)(&reference.name) {
                    Some(secret) => secret,
                    None if reference.optional == Some(true) => continue,
                    None => return Err(EnvironmentError::NoObject { kind: "secret", name: reference.name.clone() }),
                };
                for (key, value) in secret.data.iter().flatten() {
                    let text = text_of("secret", &reference.name, key, Some(value))?.unwrap_or_default();
                    all.insert(format!("{prefix}{key}"), text);
                }
            }
        }
        Ok(all)
    }

    /// The environment of a container over `base` (the image's and the services'), in no particular order.
    pub(crate) fn environment(
        &self,
        container: &Container,
        base: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EnvironmentError> {
        let mut all = base;
        all.extend(self.imported(container)?);
        let mut size: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
        for variable in container.env.iter().flatten() {
            let value = match (&variable.value, &variable.value_from) {
                (None, Some(source)) => self.source(&variable.name, source, container)?,
                // A reference may name only what stands before it, so a single pass is the rule and not a shortcut.
                (value, _) => {
                    let value = expand(value.as_deref().unwrap_or_default(), &all);
                    Some(value.map_err(|source| EnvironmentError::Long { name: variable.name.clone(), source })?)
                }
            };
            if let Some(value) = value {
                // Values that refer to values double with each line.
                size += variable.name.len() + value.len();
                if size > MOST {
                    return Err(EnvironmentError::Large);
                }
                all.insert(variable.name.clone(), value);
            }
        }
        Ok(all)
    }
}

/// Puts variables in for `$(NAME)`; an unknown name stays as it is, and `$$` stands for `$`.
///
/// # Errors
/// The result would be longer than [`LONGEST_VALUE`].
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, TooLong> {
    let mut out = String::with_capacity(text.len().min(LONGEST_VALUE));
    let mut add = |part: &str| {
        out.push_str(part);
        if out.len() > LONGEST_VALUE { Err(TooLong) } else { Ok(()) }
    };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        add(before)?;
        if let Some(after) = from.strip_prefix("$$") {
            add("$")?;
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            match variables.get(name) {
                Some(value) => add(value)?,
                None => add(from.get(..name.len() + 3).unwrap_or_default())?,
            }
            rest = after;
        } else {
            add("$")?;
            rest = from.get(1..).unwrap_or_default();
        }
    }
    add(rest)?;
    Ok(out)
}

/// The variables by which a pod finds the Services of its namespace (`enableServiceLinks`), and always the API server.
pub(crate) fn service_links(services: &[Arc<Service>], namespace: &str, all: bool) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        let is_api = of == "default" && name == "kubernetes";
        let Some(spec) = service.spec.as_ref().filter(|_| is_api || all && of == namespace) else { continue };
        let Some(address) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let upper = name.to_uppercase().replace(['-', '.'], "_");
        env.insert(format!("{upper}_SERVICE_HOST"), address.to_owned());
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            if index == 0 {
                env.insert(format!("{upper}_SERVICE_PORT"), port.port.to_string());
                env.insert(format!("{upper}_PORT"), format!("{}://{address}:{}", protocol.to_lowercase(), port.port));
            }
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                env.insert(
                    format!("{upper}_SERVICE_PORT_{}", port_name.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                );
            }
            let stem = format!("{upper}_PORT_{}_{protocol}", port.port);
            env.insert(stem.clone(), format!("{}://{address}:{}", protocol.to_lowercase(), port.port));
            env.insert(format!("{stem}_PROTO"), protocol.to_lowercase());
            env.insert(format!("{stem}_PORT"), port.port.to_string());
            env.insert(format!("{stem}_ADDR"), address.to_owned());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    fn with<T>(body: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let map: ConfigMap = serde_json::from_value(serde_json::json!({"data": {"a": "1", "b": "2"}})).unwrap();
        let secret: Secret =
            serde_json::from_value(serde_json::json!({"data": {"p": "c2VjcmV0", "bin": "/w=="}})).unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "web-1"}})).unwrap();
        let (map, secret) = (Arc::new(map), Arc::new(secret));
        body(&Lookup {
            config_map: &|name| (name == "m").then(|| Arc::clone(&map)),
            secret: &|name| (name == "s").then(|| Arc::clone(&secret)),
            pod: &pod,
            facts: downward::Facts::default(),
        })
    }

    #[test]
    fn references_are_followed_and_later_values_win() {
        let c = container(
            serde_json::json!({"name": "c", "envFrom": [{"prefix": "X_", "configMapRef": {"name": "m"}}], "env": [
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "URL", "value": "db://$(P)@$(X_a)/$(NONE)$$(P)"},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": true}}},
                {"name": "PATH", "value": "/bin"},
            ]}),
        );
        let base = BTreeMap::from([("PATH".to_owned(), "/usr".to_owned())]);
        let env = with(|lookup| lookup.environment(&c, base)).unwrap();
        assert_eq!(env["URL"], "db://secret@1/$(NONE)$(P)");
        assert_eq!((env["N"].as_str(), env["PATH"].as_str(), env["X_b"].as_str()), ("web-1", "/bin", "2"));
        assert!(!env.contains_key("MAYBE"));
    }

    #[test]
    fn values_that_double_with_each_line_end_at_what_a_program_can_be_given() {
        let doubling = |lines: usize, first: usize| {
            let value = |i: usize| if i == 0 { "x".repeat(first) } else { format!("$(V{0})$(V{0})", i - 1) };
            let env: Vec<_> =
                (0..lines).map(|i| serde_json::json!({"name": format!("V{i}"), "value": value(i)})).collect();
            let c = container(serde_json::json!({"name": "c", "env": env}));
            with(|lookup| lookup.environment(&c, BTreeMap::new())).map(|all| all.len())
        };
        assert_eq!(doubling(10, 1), Ok(10));
        assert_eq!(doubling(64, 1), Err(EnvironmentError::Long { name: "V17".to_owned(), source: TooLong }));
        let many: Vec<_> = (0..64)
            .map(|i| serde_json::json!({"name": format!("V{i}"), "value": if i == 0 { "x".repeat(100_000) } else { "$(V0)".to_owned() }}))
            .collect();
        let c = container(serde_json::json!({"name": "c", "env": many}));
        assert_eq!(with(|lookup| lookup.environment(&c, BTreeMap::new())), Err(EnvironmentError::Large));
    }

    #[test]
    fn what_is_missing_is_named() {
        let env = |source: serde_json::Value| {
            let c = container(serde_json::json!({"name": "c", "env": [{"name": "V", "valueFrom": source}]}));
            with(|lookup| lookup.environment(&c, BTreeMap::new())).unwrap_err().to_string()
        };
        assert_eq!(
            env(serde_json::json!({"configMapKeyRef": {"name": "no", "key": "k"}})),
            "configmap \"no\" not found"
        );
        assert_eq!(
            env(serde_json::json!({"secretKeyRef": {"name": "s", "key": "k"}})),
            "couldn't find key k in secret s"
        );
        assert_eq!(
            env(serde_json::json!({"secretKeyRef": {"name": "s", "key": "bin"}})),
            "secret s, key bin: the value is not text"
        );
    }
}
