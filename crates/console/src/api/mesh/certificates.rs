//! Certificates: the mesh's root, the workloads' as their proxies hold them, and those of gateways.

use serde_json::{Value, json};
use varka_identity::{CertificateFacts, certificates_from_pem};

use super::{Measured, SYSTEM, text};
use crate::graph::Source;
use crate::store::Millis;

/// All that are known, the root first, then by when they end.
pub(super) fn all(source: &Source, measured: &Measured, at: Millis) -> Vec<Value> {
    let maps = source.world.of("", "ConfigMap");
    let root = maps.iter().find(|map| text(map, "/metadata/name") == "istio-ca-root-cert");
    let roots: Vec<CertificateFacts> = root
        .map(|map| text(map, "/data/root-cert.pem"))
        .and_then(|pem| certificates_from_pem(pem).ok())
        .unwrap_or_default()
        .iter()
        .filter_map(|der| CertificateFacts::from_der(der).ok())
        .collect();
    let issuer = roots.first().map(|root| root.subject.clone()).unwrap_or_default();
    let facts = source.facts();
    let mut found: Vec<(i64, Value)> = Vec::new();
    for ((namespace, pod), own) in &measured.certificates {
        let workload =
            facts.workloads.iter().find(|w| w.namespace == *namespace && w.pods.iter().any(|p| p.name == *pod));
        for (name, left) in own {
            let workload = workload.map_or(pod.as_str(), |w| w.name.as_str());
            let is_own = name == "default";
            let subject = if is_own { identity(source, namespace, pod) } else { name.clone() };
            #[expect(clippy::cast_possible_truncation, reason = "seconds until a certificate ends")]
            let ends = at.div_euclid(1000) + *left as i64;
            let (role, issuer) = if is_own { ("workload", issuer.as_str()) } else { ("ingress", "") };
            let one = json!({
                "role": role, "subject": subject, "issuer": issuer, "notBefore": 0, "notAfter": ends,
                "namespace": namespace, "workload": workload,
            });
            found.push((ends, one));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.to_string().cmp(&b.1.to_string())));
    let roots = roots.iter().map(|root| {
        let seconds = |at: std::time::SystemTime| {
            at.duration_since(std::time::SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
        };
        json!({
            "role": "ca", "subject": root.subject, "issuer": root.subject, "notBefore": seconds(root.not_before),
            "notAfter": seconds(root.not_after), "namespace": SYSTEM, "workload": "istiod",
        })
    });
    roots.chain(found.into_iter().map(|(_, one)| one)).collect()
}

/// The identity that a pod's certificate is for.
fn identity(source: &Source, namespace: &str, pod: &str) -> String {
    let pods = source.world.of("", "Pod");
    let own = pods.iter().find(|p| text(p, "/metadata/namespace") == namespace && text(p, "/metadata/name") == pod);
    let account = own.map(|own| text(own, "/spec/serviceAccountName")).filter(|name| !name.is_empty());
    let maps = source.world.of("", "ConfigMap");
    let settings = maps.iter().find(|map| text(map, "/metadata/name") == "istio").map(|map| text(map, "/data/mesh"));
    let settings = settings.and_then(|yaml| serde_saphyr::from_str::<Value>(yaml).ok());
    let domain = settings.as_ref().map(|s| text(s, "/trustDomain")).filter(|domain| !domain.is_empty());
    format!("spiffe://{}/ns/{namespace}/sa/{}", domain.unwrap_or("cluster.local"), account.unwrap_or("default"))
}
