//! A client that knows what it has sent, and the servers that it sends it to.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::{System, repository};

/// Clients and servers, all with sidecars. `@PROGRAMS@` is a directory of this machine.
pub const MANIFESTS: &str = r#"
apiVersion: local.varka.dev/v1alpha1
kind: LocalRuntime
metadata: {name: counts}
spec:
  images: [{image: test/python, entrypoint: [/usr/bin/python3, -u]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: counts, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: counts}
spec: {mtls: {mode: STRICT}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: counts}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - name: app
        image: test/python
        args: [/programs/load.py, serve]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        # Long enough for clients to hear of it on a machine that does something else as well.
        lifecycle: {preStop: {sleep: {seconds: 5}}}
        volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
      volumes: [{name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: counts}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      containers:
      - name: app
        image: test/python
        args: ["-c", "import signal; signal.pause()"]
        volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
      volumes: [{name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: counts}
spec:
  selector: {app: server}
  ports: [{name: http, port: 8080}, {name: tcp-echo, port: 9000}]
"#;

/// What was sent and came back: by status, and `sent`, `received`, `connections` of TCP. `broken`: requests without a whole answer;
/// `cut`: connections that were not what they were to be.
pub type Counts = BTreeMap<String, u64>;

/// Puts this machine's directories into manifests.
pub fn fill(manifests: &str) -> String {
    manifests.replace("@PROGRAMS@", &repository().join("e2e/python").display().to_string())
}

/// Sends requests, and a tenth as many TCP connections, while a line of shell runs; none may fail. `pace`: seconds between two.
///
/// # Errors
/// One failed.
pub fn run(system: &System, requests: usize, pace: &str, meanwhile: &str) -> Result<Counts> {
    let seen = disturbed(system, requests, pace, meanwhile)?;
    let bad = seen.contains_key("broken") || seen.contains_key("cut");
    ensure!(!bad, "requests or connections broke: {seen:?}");
    Ok(seen)
}

/// The same, of which some may break.
///
/// # Errors
/// The client or the line failed.
pub fn disturbed(system: &System, requests: usize, pace: &str, meanwhile: &str) -> Result<Counts> {
    let line = format!(
        "kubectl exec -n counts deployment/client -c app -- python3 /programs/load.py load server.counts {requests} {pace} & load=$!; \
         {meanwhile} wait $load"
    );
    let text = system.sh(&line)?;
    serde_json::from_str(&text).with_context(|| text.clone())
}
