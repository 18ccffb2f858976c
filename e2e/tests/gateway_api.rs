//! A Gateway and an HTTPRoute, applied with kubectl: a proxy is deployed for them, answers, and goes with the Gateway.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const EDGE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: blog-system}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 80, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: blog, namespace: blog-system}
spec:
  parentRefs: [{name: edge}]
  hostnames: [blog.example]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: api}]}}]
    backendRefs: [{name: was-service, port: 8080}]
  - matches: [{path: {type: Exact, value: /gone}}]
    backendRefs: [{name: no-such-service, port: 80}]
  - backendRefs: [{name: web-service, port: 80}]
";

#[test]
fn a_gateway_is_deployed_and_routes() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    system.sh(&format!("kubectl apply -f - <<'END'\n{EDGE}\nEND"))?;
    let limit = Duration::from_secs(60);
    let condition = |kind: &str, path: &str| format!("kubectl get {kind} -n blog-system -o jsonpath='{{{path}}}'");
    let programmed = condition("gtw edge", ".status.conditions[?(@.type==\"Programmed\")].status");
    system.until(&programmed, limit, |t| t == "True").context("Programmed")?;
    let attached = system.sh(&condition("gtw edge", ".status.listeners[0].attachedRoutes"))?;
    ensure!(attached == "1", "{attached} routes are attached");
    let address = system.sh(&condition("gtw edge", ".status.addresses[0].value"))?;
    ensure!(address == "edge-istio.blog-system.svc.cluster.local", "the address is {address}");
    let parents = ".status.parents[0].conditions[?(@.type==\"ResolvedRefs\")].reason";
    let resolved = system.sh(&condition("httproute blog", parents))?;
    ensure!(resolved == "BackendNotFound", "ResolvedRefs has the reason {resolved}");

    let ip = system.sh(&condition("service edge-istio", ".spec.clusterIP"))?;
    let request = |path: &str| {
        format!(
            "curl -sS -o /dev/null -w '%{{http_code}} %header{{x-route}}' -H 'Host: blog.example' http://{ip}{path}"
        )
    };
    system.until(&request("/"), limit, |t| t.trim() == "200").context("the web server by the Gateway")?;
    let api = system.sh(&request("/api/posts"))?;
    ensure!(api.trim() == "200 api", "/api/posts answers {api}");
    let gone = system.sh(&request("/gone"))?;
    ensure!(gone.trim() == "500", "a backend that is not there answers {gone}");
    let other = system.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' http://{ip}/"))?;
    ensure!(other == "404", "a host without a route answers {other}");

    // A status that is right is left alone.
    let version = condition("gtw edge", ".metadata.resourceVersion");
    let before = system.sh(&version)?;
    system.sh("kubectl annotate httproute blog -n blog-system touched=yes")?;
    system.until(&request("/"), limit, |t| t.trim() == "200")?;
    ensure!(system.sh(&version)? == before, "the status of the Gateway was written again");

    system.sh("kubectl delete gtw edge -n blog-system")?;
    let left = "kubectl get deployment,service,serviceaccount -n blog-system -l gateway.istio.io/managed -o name";
    system.until(left, limit, |t| t.trim().is_empty()).context("what was deployed goes with the Gateway")?;
    let parents = condition("httproute blog", ".status.parents");
    system.until(&parents, limit, |t| t == "[]").context("the route tells of no parent that is gone")?;
    Ok(())
}
