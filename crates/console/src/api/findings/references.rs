//! What an object names and is not there: hosts that no Service and no ServiceEntry has, subsets that no DestinationRule gives.
//!
//! Warnings, since what is named may come later; until then requests are answered 503. Where it is visible (`exportTo`, Sidecars) is
//! not looked at. Whoever does not see every namespace is told nothing: what they miss may lie in one of the others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use varka_api::RawObject;
use varka_pilot::resolve_host;

use super::finding;
use crate::world::World;

/// So many names are told in place of one that is not there.
const NAMED: usize = 5;

/// What can be named.
#[derive(Debug, Default)]
pub(in crate::api) struct Known {
    /// Of the cluster's own names.
    domain: String,
    /// `name.namespace.svc.DOMAIN`.
    services: BTreeSet<String>,
    /// Hosts of ServiceEntries, with wildcards.
    entries: BTreeSet<String>,
    /// Of each host.
    subsets: BTreeMap<String, BTreeSet<String>>,
    whole: bool,
}

impl Known {
    /// What is there.
    pub(in crate::api) fn of(world: &World, domain: &str) -> Self {
        let mut known = Self { domain: domain.to_owned(), whole: world.sight().is_all(), ..Self::default() };
        for service in world.of("", "Service") {
            let name = known.full(text(&service, "/metadata/name"), text(&service, "/metadata/namespace"));
            known.services.insert(name);
        }
        for kind in ["ServiceEntry", "DestinationRule"] {
            for object in world.of("networking.istio.io", kind) {
                known.add(kind, &object);
            }
        }
        known
    }

    /// What comes with the text that is looked at.
    pub(super) fn with(mut self, objects: &[RawObject]) -> Self {
        for object in objects.iter().filter(|object| object.group() == "networking.istio.io") {
            self.add(&object.kind, &object.value);
        }
        self
    }

    fn add(&mut self, kind: &str, object: &Value) {
        match kind {
            "ServiceEntry" => {
                self.entries.extend(list(object, "/spec/hosts").filter_map(Value::as_str).map(str::to_owned));
            }
            "DestinationRule" => {
                let host = self.full(text(object, "/spec/host"), text(object, "/metadata/namespace"));
                let named = list(object, "/spec/subsets").map(|subset| text(subset, "/name").to_owned());
                self.subsets.entry(host).or_default().extend(named);
            }
            _ => {}
        }
    }

    /// As the control plane reads a host that an object of a namespace names.
    fn full(&self, host: &str, namespace: &str) -> String {
        resolve_host(host, namespace, &self.domain).to_ascii_lowercase()
    }

    fn has(&self, host: &str) -> bool {
        let covers = |known: &String| {
            known == host || known.strip_prefix('*').is_some_and(|rest| !rest.is_empty() && host.ends_with(rest))
        };
        host.starts_with('*') || self.services.contains(host) || self.entries.iter().any(covers)
    }

    /// What an object names and is not there.
    pub(super) fn missing(&self, object: &RawObject) -> Vec<Value> {
        if !self.whole || object.group() != "networking.istio.io" {
            return Vec::new();
        }
        match object.kind.as_str() {
            "VirtualService" => {
                destinations(&object.value).flat_map(|(path, named)| self.destination(object, &path, named)).collect()
            }
            "DestinationRule" => {
                let host = text(&object.value, "/spec/host");
                let (message, path) = (format!("{} This rule does nothing.", nobody(host)), "spec.host");
                let is_lost = !host.is_empty() && !self.has(&self.full(host, &object.metadata.namespace));
                is_lost.then(|| told(object, "unknownHost", &message, &self.near(object), path)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn destination(&self, object: &RawObject, path: &str, named: &Value) -> Option<Value> {
        let (host, subset) = (text(named, "/host"), text(named, "/subset"));
        if host.is_empty() {
            return None;
        }
        let answered = "Requests that come here are answered 503.";
        let full = self.full(host, &object.metadata.namespace);
        if !self.has(&full) {
            let message = format!("{} {answered}", nobody(host));
            return Some(told(object, "unknownHost", &message, &self.near(object), &format!("{path}.host")));
        }
        let given = self.subsets.get(&full);
        if subset.is_empty() || given.is_some_and(|given| given.contains(subset)) {
            return None;
        }
        let message = format!("No DestinationRule gives {host} a subset {subset}. {answered}");
        let names: Vec<&str> = given.into_iter().flatten().take(NAMED).map(String::as_str).collect();
        let hint = if names.is_empty() { "It has none.".to_owned() } else { format!("It has {}.", names.join(", ")) };
        Some(told(object, "unknownSubset", &message, &hint, &format!("{path}.subset")))
    }

    /// Services of the object's namespace.
    fn near(&self, object: &RawObject) -> String {
        let namespace = &object.metadata.namespace;
        let behind = format!(".{namespace}.svc.{}", self.domain);
        let own = self.services.iter().filter_map(|name| name.strip_suffix(&behind));
        let names: Vec<&str> = own.take(NAMED).collect();
        if names.is_empty() { String::new() } else { format!("Services of {namespace}: {}.", names.join(", ")) }
    }
}

fn nobody(host: &str) -> String {
    format!("No Service and no ServiceEntry is called {host}.")
}

fn told(object: &RawObject, code: &str, message: &str, hint: &str, path: &str) -> Value {
    finding("warning", code, message, hint, path, object.position.line_of(path))
}

/// Wherever a VirtualService sends requests, with its field.
fn destinations(object: &Value) -> impl Iterator<Item = (String, &Value)> {
    let mut found = Vec::new();
    for protocol in ["http", "tls", "tcp"] {
        for (i, rule) in list(object, &format!("/spec/{protocol}")).enumerate() {
            let at = format!("spec.{protocol}[{i}]");
            for field in ["route", "mirrors"] {
                let all = list(rule, &format!("/{field}")).enumerate();
                found.extend(
                    all.filter_map(|(j, to)| Some((format!("{at}.{field}[{j}].destination"), to.get("destination")?))),
                );
            }
            found.extend(rule.get("mirror").map(|to| (format!("{at}.mirror"), to)));
        }
    }
    found.into_iter()
}

fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::KINDS;

    fn world() -> World {
        let world = World::default();
        let put = |kind: &str, object: Value| {
            world.put(KINDS.into_iter().find(|k| k.kind == kind).unwrap(), object);
        };
        put("Service", json!({"metadata": {"name": "web", "namespace": "blog"}}));
        put(
            "ServiceEntry",
            json!({"metadata": {"name": "out", "namespace": "edge"}, "spec": {"hosts": ["api.example.com", "*.slack.com"]}}),
        );
        put(
            "DestinationRule",
            json!({"metadata": {"name": "web", "namespace": "blog"}, "spec": {"host": "web.blog.svc.cluster.local", "subsets": [{"name": "v1"}]}}),
        );
        world
    }

    fn said(world: &World, yaml: &str) -> Vec<String> {
        let (objects, problems) = varka_api::read("", yaml);
        assert!(problems.is_empty(), "{yaml}");
        let known = Known::of(world, "cluster.local").with(&objects);
        let found = objects.iter().flat_map(|object| known.missing(object));
        found
            .map(|f| format!("{}:{} {}", f["line"], f["field"].as_str().unwrap(), f["code"].as_str().unwrap()))
            .collect()
    }

    const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: blog}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {host: web, subset: v1}
    - destination: {host: web.blog.svc.cluster.local, subset: v9}
  - mirror: {host: wep}
    route:
    - destination: {host: api.example.com}
    - destination: {host: hooks.slack.com}
  - route:
    - destination: {host: nowhere.example.com}
    - destination: {host: web.blog}
";

    #[test]
    fn hosts_and_subsets_that_are_not_there_are_named_with_their_line() {
        assert_eq!(
            said(&world(), ROUTES),
            [
                "9:spec.http[0].route[1].destination.subset unknownSubset",
                "10:spec.http[1].mirror.host unknownHost",
                "15:spec.http[2].route[0].destination.host unknownHost",
                // A name with a dot is taken for a whole one.
                "16:spec.http[2].route[1].destination.host unknownHost",
            ]
        );
        let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: blog}\nspec:\n  host: wep\n";
        assert_eq!(said(&world(), rule), ["5:spec.host unknownHost"]);
    }

    #[test]
    fn what_comes_with_the_text_is_there() {
        let both = format!(
            "{ROUTES}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: b, namespace: blog}}\nspec:\n  host: web\n  subsets: [{{name: v9}}]\n"
        );
        assert!(said(&world(), &both).iter().all(|found| !found.contains("unknownSubset")));
    }

    #[test]
    fn who_does_not_see_everything_is_told_nothing() {
        let blind = world().seen_by(crate::access::sight::Sight::nothing());
        assert!(said(&blind, ROUTES).is_empty());
    }
}
