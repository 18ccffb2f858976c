//! What a request of Kiali's asks for: query and path to [`Options`], with Kiali's defaults and refusals.

use std::collections::BTreeMap;

use super::super::facts::Facts;
use super::super::health::Config;
use super::super::key::UNKNOWN;
use super::super::options::{
    Ambient, Appender, Appenders, BoxBy, DEFAULT_AGGREGATE, GraphType, GrpcRate, NodeName, NodeOfInterest, Options,
    Rates, RequestedNamespace, ResponseTime, TcpRate, Throughput, safe_duration,
};

/// The path's variables, where the graph is about one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path<'p> {
    /// `/namespaces/{namespace}/...`; empty: a graph of whole namespaces.
    pub namespace: &'p str,
    /// `/workloads/{workload}`.
    pub workload: &'p str,
    /// `/services/{service}`, or the last variable of an aggregate.
    pub service: &'p str,
    /// `/applications/{app}`.
    pub app: &'p str,
    /// `/versions/{version}`.
    pub version: &'p str,
    /// `/aggregates/{aggregate}/{value}`.
    pub aggregate: Option<(&'p str, &'p str)>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A value that is none: 400.
    #[error("{field} cannot be {value:?}; it is {want}")]
    Bad {
        /// Name in the query.
        field: &'static str,
        /// What it said.
        value: String,
        /// What it may say.
        want: &'static str,
    },
    /// A namespace that is not there, or may not be looked at: 403.
    #[error("namespace {0} is not there, or may not be looked at")]
    Forbidden(String),
}

impl Refused {
    /// HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Bad { .. } => 400,
            Self::Forbidden(_) => 403,
        }
    }
}

/// The query, by names.
struct Query<'q>(BTreeMap<&'q str, &'q str>);

impl<'q> Query<'q> {
    /// What it says; empty says nothing.
    fn get(&self, field: &str) -> Option<&'q str> {
        self.0.get(field).copied().filter(|value| !value.is_empty())
    }

    fn one_of<T: Copy>(
        &self,
        field: &'static str,
        values: &[(&str, T)],
        default: T,
        want: &'static str,
    ) -> Result<T, Refused> {
        let Some(value) = self.get(field) else { return Ok(default) };
        let found = values.iter().find(|(name, _)| *name == value);
        found.map(|(_, value)| *value).ok_or_else(|| bad(field, value, want))
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool, Refused> {
        let spellings = [
            ("1", true),
            ("t", true),
            ("T", true),
            ("true", true),
            ("TRUE", true),
            ("True", true),
            ("0", false),
            ("f", false),
            ("F", false),
            ("false", false),
            ("FALSE", false),
            ("False", false),
        ];
        self.one_of(field, &spellings, default, "true or false")
    }
}

fn bad(field: &'static str, value: &str, want: &'static str) -> Refused {
    Refused::Bad { field, value: value.to_owned(), want }
}

/// Reads a request. `query` is decoded; `now` is in seconds since the epoch.
///
/// # Errors
/// When a value is none that Kiali takes, or a namespace may not be looked at.
pub fn parse<'q>(
    path: &Path<'q>,
    query: impl IntoIterator<Item = (&'q str, &'q str)>,
    facts: &Facts,
    health: Config,
    now: i64,
) -> Result<Options, Refused> {
    let query = Query(query.into_iter().collect());
    query.one_of("configVendor", &[("common", ())], (), "common")?;
    query.one_of("telemetryVendor", &[("istio", ())], (), "istio")?;
    refresh(&query)?;
    let types = [GraphType::App, GraphType::Service, GraphType::VersionedApp, GraphType::Workload];
    let types = types.map(|graph| (graph.name(), graph));
    let graph_type =
        query.one_of("graphType", &types, GraphType::Workload, "app, service, versionedApp or workload")?;
    if !path.app.is_empty() && !matches!(graph_type, GraphType::App | GraphType::VersionedApp) {
        return Err(bad("graphType", graph_type.name(), "app or versionedApp for a graph of an app"));
    }
    let duration = match query.get("duration") {
        None => 600,
        Some(text) => seconds(text).ok_or_else(|| bad("duration", text, "a duration, as 10m"))?,
    };
    let query_time = match query.get("queryTime") {
        None => now,
        Some(text) => text.parse().map_err(|_| bad("queryTime", text, "seconds since 1970"))?,
    };
    let injects = query.flag("injectServiceNodes", false)? && graph_type != GraphType::Service;
    let aggregate = path.aggregate.map(|(label, _)| label).or_else(|| query.get("aggregate"));
    Ok(Options {
        graph_type,
        namespaces: namespaces(path, &query, facts, duration, query_time)?,
        node: node(path, query.get("clusterName").unwrap_or(UNKNOWN)),
        inject_service_nodes: injects || graph_type == GraphType::Service,
        include_idle_edges: query.flag("includeIdleEdges", false)?,
        box_by: box_by(&query)?,
        rates: rates(&query)?,
        appenders: appenders(&query)?,
        response_time: query.one_of(
            "responseTime",
            &[
                ("avg", ResponseTime::Average),
                ("50", ResponseTime::P50),
                ("95", ResponseTime::P95),
                ("99", ResponseTime::P99),
            ],
            ResponseTime::P95,
            "avg, 50, 95 or 99",
        )?,
        throughput: query.one_of(
            "throughputType",
            &[("request", Throughput::Request), ("response", Throughput::Response)],
            Throughput::Response,
            "request or response",
        )?,
        aggregate: aggregate.unwrap_or(DEFAULT_AGGREGATE).to_owned(),
        show_waypoints: query.flag("waypoints", true)?,
        query_time,
        duration,
        health,
    })
}

/// The graph is made anew for every request, so how often it is asked for changes nothing; it must still be a number.
fn refresh(query: &Query<'_>) -> Result<(), Refused> {
    let Some(text) = query.get("refreshInterval") else { return Ok(()) };
    let fits = text.parse::<i64>().is_ok_and(|millis| millis <= 0 || (10_000..=900_000).contains(&millis));
    if fits { Ok(()) } else { Err(bad("refreshInterval", text, "0, or milliseconds from 10000 to 900000")) }
}

/// A duration of Prometheus: numbers with units, the larger first.
fn seconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut millis, mut last) = (text, 0_u64, usize::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if last != usize::MAX && place <= last {
            return None;
        }
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(UNITS.get(place)?.1)?)?;
        (rest, last) = (after, place);
    }
    (!text.is_empty()).then_some(millis / 1000)
}

fn namespaces(
    path: &Path<'_>,
    query: &Query<'_>,
    facts: &Facts,
    duration: u64,
    query_time: i64,
) -> Result<Vec<RequestedNamespace>, Refused> {
    let names = if path.namespace.is_empty() { query.get("namespaces") } else { Some(path.namespace) };
    let Some(names) = names else { return Err(bad("namespaces", "", "names, separated by commas")) };
    let mut requested: Vec<RequestedNamespace> = Vec::new();
    for name in names.split(',').map(str::trim) {
        let same: Vec<_> = facts.namespaces.iter().filter(|namespace| namespace.name == name).collect();
        let Some(created) = same.iter().map(|namespace| namespace.created).min() else {
            return Err(Refused::Forbidden(name.to_owned()));
        };
        let Some(duration) = safe_duration(created, duration, query_time) else {
            return Err(bad("queryTime", &query_time.to_string(), "later than the namespace's creation"));
        };
        if requested.iter().all(|r| r.name != name) {
            let ambient = same.iter().any(|namespace| namespace.ambient);
            requested.push(RequestedNamespace { name: name.to_owned(), duration, ambient });
        }
    }
    Ok(requested)
}

fn node(path: &Path<'_>, cluster: &str) -> Option<NodeOfInterest> {
    let text = str::to_owned;
    let what = if let Some((label, value)) = path.aggregate {
        NodeName::Aggregate(text(label), text(value), (!path.service.is_empty()).then(|| text(path.service)))
    } else if !path.workload.is_empty() {
        NodeName::Workload(text(path.workload))
    } else if !path.version.is_empty() {
        NodeName::Version(text(path.app), text(path.version))
    } else if !path.app.is_empty() {
        NodeName::App(text(path.app))
    } else if !path.service.is_empty() {
        NodeName::Service(text(path.service))
    } else {
        return None;
    };
    Some(NodeOfInterest { cluster: text(cluster), namespace: text(path.namespace), what })
}

fn box_by(query: &Query<'_>) -> Result<BoxBy, Refused> {
    let mut by = BoxBy::default();
    let Some(text) = query.get("boxBy") else { return Ok(by) };
    for name in text.split(',').map(str::trim) {
        match name {
            "app" => by.app = true,
            "cluster" => by.cluster = true,
            "namespace" => by.namespace = true,
            _ => return Err(bad("boxBy", text, "app, cluster, namespace, separated by commas")),
        }
    }
    Ok(by)
}

fn rates(query: &Query<'_>) -> Result<Rates, Refused> {
    let default = Rates::default();
    Ok(Rates {
        http: query.one_of("rateHttp", &[("none", false), ("requests", true)], default.http, "none or requests")?,
        grpc: query.one_of(
            "rateGrpc",
            &[
                ("none", GrpcRate::None),
                ("requests", GrpcRate::Requests),
                ("sent", GrpcRate::Sent),
                ("received", GrpcRate::Received),
                ("total", GrpcRate::Total),
            ],
            default.grpc,
            "none, received, requests, sent or total",
        )?,
        tcp: query.one_of(
            "rateTcp",
            &[
                ("none", TcpRate::None),
                ("sent", TcpRate::Sent),
                ("received", TcpRate::Received),
                ("total", TcpRate::Total),
            ],
            default.tcp,
            "none, received, sent or total",
        )?,
        ambient: query.one_of(
            "ambientTraffic",
            &[
                ("none", Ambient::None),
                ("total", Ambient::Total),
                ("waypoint", Ambient::Waypoint),
                ("ztunnel", Ambient::Ztunnel),
            ],
            default.ambient,
            "none, total, waypoint or ztunnel",
        )?,
    })
}

/// Nothing said means all, said and empty means none.
fn appenders(query: &Query<'_>) -> Result<Appenders, Refused> {
    let Some(text) = query.0.get("appenders") else { return Ok(Appenders::all()) };
    let names = text.split(',').map(str::trim);
    // These two always run.
    let asked = names.filter(|name| !matches!(*name, "" | "outsider" | "trafficGenerator"));
    asked
        .map(|name| {
            Appender::named(name).ok_or_else(|| {
                bad(
                    "appenders",
                    name,
                    "aggregateNode, ambient, deadNode, health, idleNode, istio, labeler, meshCheck, responseTime, \
                     securityPolicy, serviceEntry, sidecarsCheck, throughput or workloadEntry",
                )
            })
        })
        .collect()
}
