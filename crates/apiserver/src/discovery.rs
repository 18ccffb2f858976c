//! Discovery: which groups, versions, kinds and subresources there are, in the aggregated form (two requests say all) and the older one.
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Value, json};

use crate::auth::reviews::{REVIEWS, Review};
use crate::object;
use crate::registry::{Registry, Resource, Version, group_version};
use crate::request::Target;
use crate::respond::{self, Body};
use crate::schema::openapi;
use crate::server::Inner;
use crate::status::Status;

/// The Kubernetes version whose API is spoken. kubectl chooses its client by it.
const MAJOR: &str = "1";
const MINOR: &str = "33";
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const UPDATE: &[&str] = &["get", "patch", "update"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// As kubectl asks for it, which is no media type.
const OPENAPI_V2_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// `/version`.
pub(crate) fn version(server: &Inner) -> Response<Body> {
    respond::json(
        200,
        &json!({
            "major": MAJOR, "minor": MINOR, "gitVersion": format!("v{MAJOR}.{MINOR}.0+varka-{}", server.config.version),
            "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
            "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
        }),
    )
}

/// Answers what is not about objects.
pub(crate) fn answer(server: &Inner, target: &Target, headers: &HeaderMap) -> Response<Body> {
    let registry = server.registry();
    let found = match target {
        Target::Health => Some(respond::text(200, "ok")),
        Target::Version => Some(version(server)),
        Target::Core | Target::Groups if wants_aggregated(headers) => {
            Some(aggregated(&registry, *target == Target::Core))
        }
        Target::Core => Some(respond::json(
            200,
            &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        )),
        Target::Groups => Some(respond::json(200, &groups(&registry))),
        Target::Group(name) => group(&registry, name).map(|g| respond::json(200, &g)),
        Target::GroupVersion(group, version) => resources(&registry, group, version).map(|r| respond::json(200, &r)),
        Target::OpenApiV2 => Some(openapi_v2(headers)),
        Target::OpenApiIndex => Some(respond::json(200, &openapi::index(&registry))),
        Target::OpenApi(group, version) => openapi::document(&registry, group, version).map(|d| respond::json(200, &d)),
        Target::Objects(_) | Target::Unknown => None,
    };
    found.unwrap_or_else(|| Status::no_route().into())
}

/// `/openapi/v2`, as protobuf for kubectl.
fn openapi_v2(headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(|choice| matches!(choice.trim(), OPENAPI_V2_PROTOBUF | OPENAPI_V2_ASKED)) {
        return respond::with_type(200, OPENAPI_V2_PROTOBUF, respond::whole(openapi::v2_protobuf()));
    }
    respond::json(200, &openapi::v2())
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|choice| {
        let has = |part: &str| choice.split(';').any(|p| p.trim() == part);
        has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    })
}

fn reviews(group: &str) -> impl Iterator<Item = &'static Review> {
    REVIEWS.iter().filter(move |r| r.group == group)
}

/// Names of all groups, with those that only have reviews.
fn group_names(registry: &Registry) -> Vec<String> {
    let mut names: Vec<String> = registry.groups().map(|(name, _)| name.to_owned()).collect();
    names.extend(REVIEWS.iter().map(|r| r.group.to_owned()));
    names.sort();
    names.dedup();
    names
}

fn versions(registry: &Registry, group: &str) -> Vec<String> {
    let mut versions = registry.group(group).map(|rows| Registry::versions(&rows)).unwrap_or_default();
    if versions.is_empty() && reviews(group).next().is_some() {
        versions.push("v1".to_owned());
    }
    versions
}

fn aggregated(registry: &Registry, core: bool) -> Response<Body> {
    let items: Vec<Value> = group_names(registry)
        .iter()
        .filter(|name| name.is_empty() == core)
        .map(|name| {
            let versions: Vec<Value> = versions(registry, name)
                .iter()
                .map(|version| json!({"version": version, "freshness": "Current", "resources": aggregated_resources(registry, name, version)}))
                .collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let mut response = respond::json(200, &list);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}

fn aggregated_resources(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    let mut out: Vec<Value> = served(registry, group, version)
        .map(|(resource, row)| {
            let subresources: Vec<Value> = subresources(resource, row)
                .into_iter()
                .map(|s| json!({"subresource": s.name, "responseKind": {"group": s.group, "version": s.version, "kind": s.kind}, "verbs": s.verbs}))
                .collect();
            json!({
                "resource": resource.plural, "responseKind": {"group": group, "version": version, "kind": resource.kind},
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": resource.singular,
                "verbs": VERBS, "shortNames": resource.short_names, "categories": resource.categories, "subresources": subresources,
            })
        })
        .collect();
    out.extend(reviews(group).map(|r| {
        json!({
            "resource": r.plural, "responseKind": {"group": group, "version": version, "kind": r.kind},
            "scope": if r.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": r.kind.to_lowercase(), "verbs": ["create"],
        })
    }));
    out
}

fn served<'a>(
    registry: &'a Registry,
    group: &str,
    version: &'a str,
) -> impl Iterator<Item = (&'a Resource, &'a Version)> {
    let rows = registry.group(group).unwrap_or_default();
    rows.into_iter().filter_map(move |r| Some((&**r, r.version(version)?)))
}

struct Sub<'a> {
    name: &'a str,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    verbs: &'a [&'a str],
}

fn subresources<'a>(resource: &'a Resource, version: &'a Version) -> Vec<Sub<'a>> {
    let mut out: Vec<Sub<'_>> = resource
        .extra
        .iter()
        .map(|s| Sub { name: s.name, group: s.group, version: s.version, kind: s.kind, verbs: s.verbs })
        .collect();
    if version.scale.is_some() {
        out.push(Sub { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: UPDATE });
    }
    if version.status {
        out.push(Sub {
            name: "status",
            group: &resource.group,
            version: &version.name,
            kind: &resource.kind,
            verbs: UPDATE,
        });
    }
    out
}

fn group(registry: &Registry, name: &str) -> Option<Value> {
    let versions: Vec<Value> = versions(registry, name)
        .iter()
        .map(|v| json!({"groupVersion": group_version(name, v), "version": v}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": preferred}),
    )
}

fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        group_names(registry).iter().filter(|n| !n.is_empty()).filter_map(|n| group(registry, n)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    if !versions(registry, group).iter().any(|v| v == version) {
        return None;
    }
    let mut out = Vec::new();
    for (resource, row) in served(registry, group, version) {
        out.push(json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind,
            "verbs": VERBS, "shortNames": resource.short_names, "categories": resource.categories,
        }));
        for sub in subresources(resource, row) {
            let name = format!("{}/{}", resource.plural, sub.name);
            let mut entry = json!({"name": name, "singularName": "", "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs});
            if sub.group != group {
                object::set(&mut entry, "group", sub.group.into());
                object::set(&mut entry, "version", sub.version.into());
            }
            out.push(entry);
        }
    }
    for review in reviews(group) {
        out.push(json!({
            "name": review.plural, "singularName": review.kind.to_lowercase(), "namespaced": review.namespaced, "kind": review.kind,
            "verbs": ["create"],
        }));
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": out}),
    )
}
