//! Changing things in the console of the running system: with the token of a service account through `kubectl port-forward`, and with one's own
//! rights through `varka dashboard`.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use varka_e2e::{System, binary, skipped};

/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(30);
const FORWARD: &str = "kubectl port-forward -n istio-system svc/kiali 20111:20001 >/dev/null & trap \"kill $!\" EXIT; \
    until curl -sf -o /dev/null localhost:20111/healthz; do sleep 0.05; done; ";

fn yaml(name: &str, timeout: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: blog-system}}\n\
         spec:\n  hosts: [{name}.internal]\n  http:\n  - timeout: {timeout}\n    route: [{{destination: {{host: was-service}}}}]\n"
    )
}

/// Applies a text; status and answer. `before` leads to the console at `url`, `with` are options of curl.
fn apply(system: &System, before: &str, url: &str, with: &str, yaml: &str, dry_run: bool) -> Result<(u16, Value)> {
    let body = json!({"yaml": yaml, "dryRun": dry_run, "resourceVersion": null}).to_string();
    let line = format!(
        "{before}curl -sS -w '\\n%{{http_code}}' {with} -H 'content-type: application/json' -H 'x-requested-with: varka-console' \
         --data-binary '{body}' {url}/console/api/apply"
    );
    let text = system.sh(&line)?;
    let (answer, status) = text.trim_end().rsplit_once('\n').with_context(|| text.clone())?;
    Ok((status.parse()?, serde_json::from_str(answer).with_context(|| text.clone())?))
}

#[test]
fn changes_are_made_with_the_rights_of_who_asks() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    system.sh(
        "kubectl create sa editor -n blog-system && kubectl create sa reader -n blog-system && \
         kubectl create role editor -n blog-system --verb=get,create,patch --resource=virtualservices.networking.istio.io,destinationrules.networking.istio.io && \
         kubectl create rolebinding editor -n blog-system --role=editor --serviceaccount=blog-system:editor",
    )?;
    with_a_token(&system).context("with a token")?;
    taken_away(&system).context("taken away")?;
    as_oneself(&system).context("as oneself")
}

fn with_a_token(system: &System) -> Result<()> {
    let through = |account: &str, yaml: &str, dry_run: bool| {
        let with = format!("-H \"authorization: Bearer $(kubectl create token {account} -n blog-system)\"");
        apply(system, FORWARD, "localhost:20111", &with, yaml, dry_run)
    };
    let stored = "kubectl get virtualservice tried -n blog-system -o json";
    for dry_run in [true, false] {
        let (status, answer) = through("reader", &yaml("tried", "1s"), dry_run)?;
        ensure!(status == 403 && answer["code"] == "forbidden", "{answer}");
        let said = "system:serviceaccount:blog-system:reader may not create virtualservices.networking.istio.io in namespace blog-system";
        ensure!(answer["message"].as_str().is_some_and(|m| m.starts_with(said)), "{answer}");
    }
    let (status, answer) = apply(system, FORWARD, "localhost:20111", "", &yaml("tried", "1s"), true)?;
    ensure!(status == 401, "without a token: {answer}");
    let (status, answer) = through("editor", &yaml("tried", "1s"), true)?;
    ensure!(status == 200 && answer["applied"] == false && answer["objects"][0]["verb"] == "created", "{answer}");
    ensure!(!system.shell(stored)?.status.success(), "a dry run wrote something");
    let (status, answer) = through("editor", &yaml("tried", "1s"), false)?;
    ensure!(status == 200 && answer["applied"] == true, "{answer}");
    let object: Value = serde_json::from_str(&system.sh(stored)?)?;
    ensure!(object["metadata"]["name"] == "tried" && object["spec"]["http"][0]["timeout"] == "1s", "{object}");

    // What `varka up` applied is its own.
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web-dest-rule, namespace: blog-system}\nspec: {host: elsewhere}\n";
    let (status, answer) = through("editor", rule, true)?;
    ensure!(status == 409 && answer["code"] == "managed" && answer["findings"][0]["field"] == "spec.host", "{answer}");

    let changes = format!("{FORWARD}curl -sSf localhost:20111/console/api/changes");
    system.until(&changes, LIMIT, |text| {
        let changes: Value = serde_json::from_str(text).unwrap_or_default();
        let mine = |change: &Value| change["name"] == "tried" && change["by"] == "varka-console";
        changes.as_array().is_some_and(|all| all.iter().any(mine))
    })?;
    let log = system.sh("kubectl logs -n istio-system deploy/console | grep audit")?;
    let line = |account: &str, what: &str| {
        let user = format!("user=system:serviceaccount:blog-system:{account}");
        log.lines().any(|line| line.contains(&user) && line.contains(what))
    };
    ensure!(line("editor", "dry_run=false force=false result=created") && line("reader", "result=403"), "{log}");
    ensure!(!log.contains("eyJ"), "a token is in the log");
    Ok(())
}

/// Deletes a VirtualService; status and answer.
fn delete(system: &System, account: &str, name: &str, dry_run: bool) -> Result<(u16, Value)> {
    let of = json!({"group": "networking.istio.io", "version": "v1", "kind": "VirtualService", "namespace": "blog-system", "name": name});
    let body = json!({"ref": of, "dryRun": dry_run, "resourceVersion": null}).to_string();
    let line = format!(
        "{FORWARD}curl -sS -w '\\n%{{http_code}}' -H \"authorization: Bearer $(kubectl create token {account} -n blog-system)\" \
         -H 'content-type: application/json' -H 'x-requested-with: varka-console' --data-binary '{body}' localhost:20111/console/api/delete"
    );
    let text = system.sh(&line)?;
    let (answer, status) = text.trim_end().rsplit_once('\n').with_context(|| text.clone())?;
    Ok((status.parse()?, serde_json::from_str(answer).with_context(|| text.clone())?))
}

/// What `with_a_token` made is taken away, and kept in the history.
fn taken_away(system: &System) -> Result<()> {
    let stored = "kubectl get virtualservice tried -n blog-system -o name";
    let (status, answer) = delete(system, "editor", "tried", true)?;
    let said = "system:serviceaccount:blog-system:editor may not delete virtualservices.networking.istio.io in namespace blog-system";
    ensure!(status == 403 && answer["message"].as_str().is_some_and(|m| m.starts_with(said)), "{answer}");
    system.sh(
        "kubectl create role remover -n blog-system --verb=get,delete --resource=virtualservices.networking.istio.io && \
         kubectl create rolebinding remover -n blog-system --role=remover --serviceaccount=blog-system:editor",
    )?;
    let (status, answer) = delete(system, "editor", "tried", true)?;
    ensure!(
        status == 200
            && answer["deleted"] == false
            && answer["yaml"].as_str().is_some_and(|y| y.contains("tried.internal")),
        "{answer}"
    );
    ensure!(system.shell(stored)?.status.success(), "a dry run deleted it");
    let (status, answer) = delete(system, "editor", "tried", false)?;
    ensure!(status == 200 && answer["deleted"] == true, "{answer}");
    ensure!(!system.shell(stored)?.status.success(), "it is still there");
    let path = format!("{FORWARD}curl -sSf localhost:20111/console/api/config/blog-system/VirtualService/tried");
    system.until(&path, LIMIT, |text| {
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        object["deleted"].is_i64()
            && object["history"][0]["verb"] == "deleted"
            && object["yaml"].as_str().is_some_and(|y| y.contains("timeout: 1s"))
    })?;
    Ok(())
}

/// `varka dashboard` lets one browser in, which acts with the kubeconfig's credentials.
fn as_oneself(system: &System) -> Result<()> {
    let open = format!(
        "cd $(mktemp -d); {} dashboard --no-browser 2>said & trap \"kill $!\" EXIT; until grep -q ^http said; do sleep 0.05; done; \
         url=$(grep ^http said); base=${{url%/open/*}}; curl -sSf -c jar -o /dev/null $url; ",
        binary()?.display()
    );
    let info: Value = serde_json::from_str(&system.sh(&format!("{open}curl -sSf -b jar $base/console/api/info"))?)?;
    let access = json!({"mode": "anonymous", "user": "kubernetes-admin", "readOnly": false, "why": "", "code": ""});
    ensure!(info["access"] == access, "{}", info["access"]);
    ensure!(info["namespaces"].as_array().is_some_and(|n| n.iter().any(|n| n["name"] == "blog-system")), "{info}");
    let (status, answer) = apply(system, &open, "$base", "-b jar", &yaml("mine", "2s"), false)?;
    ensure!(status == 200 && answer["applied"] == true, "{answer}");
    let timeout = "kubectl get virtualservice mine -n blog-system -o 'jsonpath={.spec.http[0].timeout}'";
    ensure!(system.sh(timeout)? == "2s");
    let again = system.sh(&format!("{open}curl -sS -o /dev/null -w '%{{http_code}} ' $url; curl -sS -o /dev/null -w '%{{http_code}}' $base/console/"))?;
    ensure!(again == "403 401", "the address lets in more than one browser: {again}");
    // What is live comes through, too.
    let live = format!(
        "{open}timeout 20 curl -sSN -b jar \"$base/console/api/stream?topics=graph,health&graphType=workload&duration=60\" | grep -m1 '\"whole\":true'"
    );
    ensure!(system.sh(&live)?.contains("\"timestamp\""));
    Ok(())
}
