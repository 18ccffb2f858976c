//! `/config_dump`: the configuration in use, in the JSON form of Envoy's messages.
//!
//! Parameters as Envoy's: `resource` (one repeated field of the dumps), `mask` (fields of the dumps, or of each element of the
//! resource), `name_regex`, `include_eds`. Private keys are never shown.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use varka_engine::ir::{Proxy, Regex, RouteConfiguration, RouteSource, Str, Terminal};

use super::{Answer, Query, certs};
use crate::state::State;

mod cluster;
mod filter;
mod http;
mod listener;
mod matching;
mod message;
mod route;
mod secret;
mod security;
mod spans;
mod tls;

use message::Message;

/// One of Envoy's dumps: its type, and its repeated fields.
struct Dump {
    kind: &'static str,
    fields: Vec<(&'static str, Value)>,
}

pub(super) fn config_dump(state: &State, query: &Query<'_>) -> Answer {
    let names = match query.non_empty("name_regex").map(|text| Regex::new(&text)).transpose() {
        Ok(names) => names,
        Err(e) => return Answer::error(400, format!("Error while parsing name_regex from: {e}\n")),
    };
    let shown = |name: &str| names.as_ref().is_none_or(|regex| regex.is_match(name));
    let mask: Vec<Vec<String>> = query
        .non_empty("mask")
        .map(|mask| mask.split(',').map(|path| path.split('.').map(str::to_owned).collect()).collect())
        .unwrap_or_default();
    let dumps = dumps(state, query.has("include_eds"), &shown, names.is_some());
    let configs = match query.non_empty("resource") {
        Some(resource) => match elements(dumps, &resource, &mask) {
            Some(configs) => configs,
            None => return Answer::error(404, format!("{resource} not found in config dump")),
        },
        None => whole(dumps, &mask),
    };
    if configs.is_empty() { Answer::json(&json!({})) } else { Answer::json(&json!({ "configs": configs })) }
}

/// The elements of one repeated field; `None`: there is no such field.
fn elements(dumps: Vec<Dump>, resource: &str, mask: &[Vec<String>]) -> Option<Vec<Value>> {
    let (kind, field) = dumps
        .into_iter()
        .flat_map(|dump| dump.fields.into_iter().map(move |(name, value)| (dump.kind, name, value)))
        .find_map(|(kind, name, value)| (name == resource).then_some((kind, value)))?;
    let element_type = format!("type.googleapis.com/envoy.admin.v3.{kind}.{}", element_name(resource));
    let elements = match field {
        Value::Array(elements) => elements,
        Value::Null => vec![],
        one => vec![one],
    };
    let typed = |element: Value| {
        let masked = if mask.is_empty() { element } else { masked(&element, mask) };
        let mut object = Map::from_iter([("@type".to_owned(), Value::from(element_type.clone()))]);
        if let Value::Object(fields) = masked {
            object.extend(fields);
        }
        Value::Object(object)
    };
    Some(elements.into_iter().map(typed).collect())
}

/// `dynamic_listeners` is a list of `DynamicListener`, and so on.
fn element_name(resource: &str) -> &'static str {
    match resource {
        "static_listeners" => "StaticListener",
        "dynamic_listeners" => "DynamicListener",
        "static_clusters" => "StaticCluster",
        "dynamic_active_clusters" => "DynamicCluster",
        "static_route_configs" => "StaticRouteConfig",
        "dynamic_route_configs" => "DynamicRouteConfig",
        "static_endpoint_configs" => "StaticEndpointConfig",
        "dynamic_endpoint_configs" => "DynamicEndpointConfig",
        "dynamic_active_secrets" => "DynamicSecret",
        _ => "Bootstrap",
    }
}

/// All dumps; with a mask only those of which something is left.
fn whole(dumps: Vec<Dump>, mask: &[Vec<String>]) -> Vec<Value> {
    dumps
        .into_iter()
        .filter_map(|dump| {
            let fields: Map<String, Value> = dump
                .fields
                .into_iter()
                .filter(|(_, value)| !message::is_empty(value))
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            let fields = if mask.is_empty() { Value::Object(fields) } else { masked(&Value::Object(fields), mask) };
            let Value::Object(fields) = fields else { return None };
            if !mask.is_empty() && fields.is_empty() {
                return None;
            }
            let kind = format!("type.googleapis.com/envoy.admin.v3.{}", dump.kind);
            let mut object = Map::from_iter([("@type".to_owned(), Value::from(kind))]);
            object.extend(fields);
            Some(Value::Object(object))
        })
        .collect()
}

/// What of a message the paths name; of a list, what they name of each element.
fn masked(value: &Value, paths: &[Vec<String>]) -> Value {
    if paths.iter().any(Vec::is_empty) {
        return value.clone();
    }
    match value {
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, field) in fields {
                let below: Vec<Vec<String>> = paths
                    .iter()
                    .filter_map(|path| path.split_first())
                    .filter(|(first, _)| *first == name)
                    .map(|(_, rest)| rest.to_vec())
                    .collect();
                if !below.is_empty() {
                    let inner = masked(field, &below);
                    if !message::is_empty(&inner) {
                        kept.insert(name.clone(), inner);
                    }
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(item, paths)).collect()),
        _ => Value::Null,
    }
}

fn dumps(state: &State, include_eds: bool, shown: &dyn Fn(&str) -> bool, by_name: bool) -> Vec<Dump> {
    let config = state.config();
    let ir = &config.ir;
    let now = certs::rfc3339(SystemTime::now());
    let version = config.version.to_string();
    let context =
        Context { ir, version: &version, updated: &now, is_static: state.bootstrap.static_config.is_some(), shown };
    let mut dumps = Vec::new();
    if !by_name {
        dumps.push(Dump {
            kind: "BootstrapConfigDump",
            fields: vec![("bootstrap", bootstrap(state)), ("last_updated", certs::rfc3339(state.started_at).into())],
        });
    }
    dumps.push(context.clusters());
    if include_eds {
        dumps.push(context.endpoints());
    }
    dumps.push(context.listeners());
    if !by_name {
        dumps.push(Dump { kind: "ScopedRoutesConfigDump", fields: vec![] });
    }
    dumps.push(context.routes());
    dumps.push(Dump {
        kind: "SecretsConfigDump",
        fields: vec![("dynamic_active_secrets", secret::secrets(state, shown, &now))],
    });
    dumps
}

/// What the dumps of resources have in common.
struct Context<'a> {
    ir: &'a Proxy,
    version: &'a str,
    updated: &'a str,
    is_static: bool,
    shown: &'a dyn Fn(&str) -> bool,
}

impl Context<'_> {
    fn sorted<'m, T>(&self, map: &'m std::collections::HashMap<Str, T>) -> Vec<(&'m Str, &'m T)> {
        let mut all: Vec<_> = map.iter().filter(|(name, _)| (self.shown)(name)).collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }

    /// `{version_info, FIELD: RESOURCE, last_updated}`, without version for a static one.
    fn entry(&self, field: &str, url: &str, resource: Message, is_static: bool) -> Value {
        let resource = Message::typed(url).merge(resource).value();
        let mut entry = Map::new();
        if !is_static {
            entry.insert("version_info".to_owned(), self.version.into());
        }
        entry.insert(field.to_owned(), resource);
        entry.insert("last_updated".to_owned(), self.updated.into());
        Value::Object(entry)
    }

    fn clusters(&self) -> Dump {
        let url = "envoy.config.cluster.v3.Cluster";
        let entries = self
            .sorted(&self.ir.clusters)
            .into_iter()
            .map(|(_, cluster)| self.entry("cluster", url, cluster::cluster(cluster), self.is_static));
        let entries: Value = entries.collect::<Vec<_>>().into();
        let fields = if self.is_static {
            vec![("static_clusters", entries), ("dynamic_active_clusters", Value::Null)]
        } else {
            vec![
                ("version_info", self.version.into()),
                ("static_clusters", Value::Null),
                ("dynamic_active_clusters", entries),
            ]
        };
        Dump { kind: "ClustersConfigDump", fields }
    }

    fn endpoints(&self) -> Dump {
        let url = "envoy.config.endpoint.v3.ClusterLoadAssignment";
        let entries = self
            .sorted(&self.ir.endpoints)
            .into_iter()
            .map(|(_, assignment)| self.entry("endpoint_config", url, cluster::assignment(assignment), false));
        let dynamic: Vec<Value> = entries.collect();
        let inline = self.sorted(&self.ir.clusters).into_iter().filter_map(|(_, c)| match &c.discovery {
            varka_engine::ir::Discovery::Static(assignment) => {
                Some(self.entry("endpoint_config", url, cluster::assignment(assignment), true))
            }
            _ => None,
        });
        let fields = vec![
            ("static_endpoint_configs", inline.collect::<Vec<_>>().into()),
            ("dynamic_endpoint_configs", dynamic.into()),
        ];
        Dump { kind: "EndpointsConfigDump", fields }
    }

    fn listeners(&self) -> Dump {
        let url = "envoy.config.listener.v3.Listener";
        let entries = self.sorted(&self.ir.listeners).into_iter().map(|(name, listener)| {
            let entry = self.entry("listener", url, listener::listener(listener), self.is_static);
            if self.is_static { entry } else { json!({"name": name, "active_state": entry}) }
        });
        let entries: Value = entries.collect::<Vec<_>>().into();
        let fields = if self.is_static {
            vec![("static_listeners", entries), ("dynamic_listeners", Value::Null)]
        } else {
            vec![
                ("version_info", self.version.into()),
                ("static_listeners", Value::Null),
                ("dynamic_listeners", entries),
            ]
        };
        Dump { kind: "ListenersConfigDump", fields }
    }

    /// A table with the virtual hosts of it that were asked for.
    fn with_asked<'t>(&self, config: &'t RouteConfiguration) -> Cow<'t, RouteConfiguration> {
        if !config.on_demand {
            return Cow::Borrowed(config);
        }
        let mut whole = config.clone();
        let is_of = |name: &Str| name.strip_prefix(&*config.name).is_some_and(|rest| rest.starts_with('/'));
        let mut asked: Vec<_> = self.ir.virtual_hosts.iter().filter(|(name, _)| is_of(name)).collect();
        asked.sort_by_key(|(name, _)| *name);
        for (_, host) in asked {
            if !whole.virtual_hosts.iter().any(|known| known.name == host.name) {
                whole.virtual_hosts.push(varka_engine::ir::VirtualHost::clone(host));
            }
        }
        Cow::Owned(whole)
    }

    fn routes(&self) -> Dump {
        let url = "envoy.config.route.v3.RouteConfiguration";
        let entry =
            |config: &RouteConfiguration, is_static| self.entry("route_config", url, route::table(config), is_static);
        let tables = self.sorted(&self.ir.routes).into_iter();
        let dynamic: Vec<Value> = tables.map(|(_, config)| entry(&self.with_asked(config), self.is_static)).collect();
        let mut inline: Vec<Value> = Vec::new();
        for (_, listener) in self.sorted(&self.ir.listeners) {
            for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
                if let Terminal::Http(manager) = &chain.terminal
                    && let RouteSource::Inline(config) = &manager.routes
                    && (self.shown)(&config.name)
                {
                    inline.push(entry(config, true));
                }
            }
        }
        let fields = if self.is_static {
            inline.extend(dynamic);
            vec![("static_route_configs", inline.into()), ("dynamic_route_configs", Value::Null)]
        } else {
            vec![("static_route_configs", inline.into()), ("dynamic_route_configs", dynamic.into())]
        };
        Dump { kind: "RoutesConfigDump", fields }
    }
}

fn bootstrap(state: &State) -> Value {
    let b = &state.bootstrap;
    let node = Message::new()
        .text("id", &b.node_id())
        .text("cluster", &format!("{}.{}", b.pod_name, b.namespace))
        .set("metadata", Value::Object(b.metadata.clone()));
    let admin = message::socket_address(std::net::SocketAddr::from(([127, 0, 0, 1], b.ports.admin)));
    let mut bootstrap = Message::new().message("node", node);
    if b.static_config.is_none() {
        let ads = json!({"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [
            {"envoy_grpc": {"cluster_name": "xds-grpc", "authority": b.discovery_address}}
        ]});
        bootstrap = bootstrap
            .set("dynamic_resources", json!({"lds_config": {"ads": {}}, "cds_config": {"ads": {}}, "ads_config": ads}));
    }
    bootstrap.set("admin", json!({ "address": admin })).value()
}
