//! What the console says that a change would do to requests, before it is made, is what then happens: of the running system, with requests that
//! were made to it, by a dry run and then by applying the same text.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn what_is_predicted_is_what_happens() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    system.sh(
        "kubectl create sa editor -n blog-system && \
         kubectl create role editor -n blog-system --verb=get,create,patch \
           --resource=authorizationpolicies.security.istio.io,peerauthentications.security.istio.io,virtualservices.networking.istio.io && \
         kubectl create rolebinding editor -n blog-system --role=editor --serviceaccount=blog-system:editor",
    )?;
    let console = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let console = format!("http://{console}:20001");
    // Three of four ask for the list.
    system.sh(&format!("for n in 1 2 3; do curl -sSo /dev/null {HOST}/api/posts/1; for m in 1 2 3; do curl -sSo /dev/null {HOST}/api/posts; done; done"))?;
    refused(&system, &console).context("a policy that refuses a path")?;
    strict(&system, &console).context("mutual TLS only")?;
    faulty(&system, &console).context("a fault for half of the requests")
}

/// Prints what the console answers to a text.
fn apply(console: &str, yaml: &str, dry_run: bool) -> String {
    let body = json!({"yaml": yaml, "dryRun": dry_run, "resourceVersion": null}).to_string();
    format!(
        "curl -sS -H \"authorization: Bearer $(kubectl create token editor -n blog-system)\" -H 'content-type: application/json' \
         -H 'x-requested-with: varka-console' --data-binary '{body}' {console}/console/api/apply"
    )
}

/// What is predicted, once it is as is expected: spans take a moment to arrive.
fn predicted(system: &System, console: &str, yaml: &str, expected: impl Fn(&Value) -> bool) -> Result<()> {
    let of =
        |text: &str| serde_json::from_str::<Value>(text).map(|answer| answer["effect"].clone()).unwrap_or_default();
    system.until(&apply(console, yaml, true), LIMIT, |text| expected(&of(text))).map(drop)
}

fn applied(system: &System, console: &str, yaml: &str) -> Result<()> {
    let text = system.sh(&apply(console, yaml, false))?;
    let answer: Value = serde_json::from_str(&text).context(text)?;
    ensure!(answer["applied"] == true && answer["effect"].is_null(), "{answer:#}");
    Ok(())
}

fn group<'e>(effect: &'e Value, kind: &str, from: &str) -> &'e Value {
    let groups = effect["groups"].as_array().into_iter().flatten();
    let mut found = groups.filter(|group| group["kind"] == kind && group["from"]["workload"] == from);
    found.next().unwrap_or(&Value::Null)
}

fn answers(system: &System, path: &str, status: &str) -> Result<()> {
    let line = format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}{path}");
    system.until(&line, LIMIT, |text| text == status).map(drop)
}

fn refused(system: &System, console: &str) -> Result<()> {
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-first, namespace: blog-system}\nspec:\n  \
                  selector: {matchLabels: {app: was}}\n  action: DENY\n  rules:\n  - to: [{operation: {paths: [/api/posts/1]}}]\n";
    predicted(system, console, policy, |effect| {
        let denied = group(effect, "denied", "web");
        let (by, same) = (&denied["by"], effect["same"].as_u64().unwrap_or_default());
        // Those from the ingress to web are recorded, too, and meet what they meet.
        effect["recorded"].as_u64() >= Some(24)
            && denied["share"] == 0.25
            && denied["to"] == "was-service.blog-system.svc.cluster.local"
            && (&denied["before"]["outcome"], &denied["before"]["status"]) == (&json!("ok"), &Value::Null)
            && (&denied["after"]["outcome"], &denied["after"]["status"]) == (&json!("denied"), &json!(403))
            && (&by["kind"], &by["name"], &by["field"])
                == (&json!("AuthorizationPolicy"), &json!("no-first"), &json!("spec.rules[0]"))
            && by["line"].as_u64() > Some(1)
            && denied["examples"].as_array().is_some_and(|all| all.iter().all(|e| e["path"] == "/api/posts/1"))
            && denied["requests"].as_u64().is_some_and(|refused| refused >= 3 && same + refused == effect["requests"])
            && effect["groups"].as_array().map(Vec::len) == Some(1)
    })?;
    answers(system, "/api/posts", "200")?;
    applied(system, console, policy)?;
    answers(system, "/api/posts/1", "403")?;
    answers(system, "/api/posts", "200")?;
    system.sh("kubectl delete authorizationpolicy no-first -n blog-system").map(drop)
}

fn strict(system: &System, console: &str) -> Result<()> {
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: web-strict, namespace: blog-system}\nspec:\n  \
                  selector: {matchLabels: {app: web}}\n  mtls: {mode: STRICT}\n";
    predicted(system, console, policy, |effect| {
        let failed = group(effect, "failed", "ingress-nginx-controller");
        failed["after"]["status"] == 502
            && failed["share"] == 1.0
            && failed["by"]["name"] == "web-strict"
            && group(effect, "failed", "web").is_null()
    })?;
    answers(system, "/", "200")?;
    applied(system, console, policy)?;
    answers(system, "/", "502")?;
    system.sh("kubectl delete peerauthentication web-strict -n blog-system")?;
    answers(system, "/", "200")
}

fn faulty(system: &System, console: &str) -> Result<()> {
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: was-faulty, namespace: blog-system}\nspec:\n  \
                hosts: [was-service]\n  http:\n  - fault: {abort: {httpStatus: 418, percentage: {value: 50}}}\n    \
                route: [{destination: {host: was-service}}]\n";
    predicted(system, console, rule, |effect| {
        let failed = group(effect, "failed", "web");
        let share = failed["share"].as_f64().unwrap_or_default();
        failed["after"]["status"] == 418
            && (0.49..0.51).contains(&share)
            && failed["by"]["field"] == "spec.http[0].fault"
    })?;
    applied(system, console, rule)?;
    // One and the other: more would be to measure chance.
    answers(system, "/api/posts", "418")?;
    answers(system, "/api/posts", "200")
}
