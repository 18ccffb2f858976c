//! What a page has to know first.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::findings::references::Known;
use super::health::{Health, of_namespace};
use super::{Shared, config, now};
use crate::access::Told;
use crate::world::World;

pub(super) async fn info(
    State(source): Shared,
    told: Option<Extension<Told>>,
    Extension(health): Extension<Arc<Health>>,
) -> Json<Value> {
    let world = &source.world;
    let states = health.states().await.unwrap_or_else(|problem| {
        tracing::warn!(%problem, "how things do is not known");
        Arc::default()
    });
    let count = |kind: (&str, &str)| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for object in world.of(kind.0, kind.1) {
            *counts.entry(text(&object, "/metadata/namespace")).or_default() += 1;
        }
        counts
    };
    let (services, deployments, sets) =
        (count(("", "Service")), count(("apps", "Deployment")), count(("apps", "StatefulSet")));
    let known = Known::of(world, &source.domain);
    let namespaces: Vec<Value> = world
        .of("", "Namespace")
        .iter()
        .map(|object| {
            let name = text(object, "/metadata/name");
            let label = |label: &str| text(object, &format!("/metadata/labels/{}", label.replace('/', "~1")));
            let of = |counts: &BTreeMap<String, usize>| counts.get(&name).copied().unwrap_or(0);
            json!({
                "name": name,
                "injected": label("istio-injection") == "enabled" || !label("istio.io/rev").is_empty(),
                "ambient": label("istio.io/dataplane-mode") == "ambient",
                "controlPlane": name == "istio-system",
                "mtls": mtls(world, &name),
                "health": of_namespace(&states, &name),
                "workloads": of(&deployments) + of(&sets),
                "services": of(&services),
                "findings": config::count_in(world, &known, &name),
            })
        })
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": now(),
        "oldest": source.store.oldest().unwrap_or_else(now).div_euclid(1000),
        "podsSince": source.store.observed().since("", "Pod").map(|since| since.div_euclid(1000)),
        "interval": 1,
        "cluster": source.cluster,
        "access": told.map_or(Value::Null, |Extension(Told(access))| access),
        "namespaces": namespaces,
    }))
}

fn text(object: &Value, path: &str) -> String {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The mode for all of a namespace: its own policy without a selector, else the mesh's.
pub(super) fn mtls(world: &World, namespace: &str) -> String {
    let policies = world.whole().of("security.istio.io", "PeerAuthentication");
    let of = |wanted: &str| {
        policies
            .iter()
            .filter(|p| text(p, "/metadata/namespace") == wanted && p.pointer("/spec/selector/matchLabels").is_none())
            .map(|p| text(p, "/spec/mtls/mode"))
            .find(|mode| !mode.is_empty() && mode != "UNSET")
    };
    of(namespace).or_else(|| of("istio-system")).unwrap_or_else(|| "PERMISSIVE".to_owned())
}
