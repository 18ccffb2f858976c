"""Tells a Prometheus which pods there are, with the labels that its own discovery gives them: Debian's has none for Kubernetes.

discover.py FILE   asks kubectl every second, for as long as whoever started it is there
"""

import json
import os
import re
import subprocess
import sys
import time


def name(text):
    return re.sub("[^a-zA-Z0-9_]", "_", text)


def targets(pods):
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status", {})
        if not status.get("podIP"):
            continue
        labels = {
            "__meta_kubernetes_namespace": meta["namespace"],
            "__meta_kubernetes_pod_name": meta["name"],
            "__meta_kubernetes_pod_ip": status["podIP"],
            "__meta_kubernetes_pod_phase": status.get("phase", "Unknown"),
        }
        for kind in ("label", "annotation"):
            for key, value in (meta.get(kind + "s") or {}).items():
                labels[f"__meta_kubernetes_pod_{kind}_{name(key)}"] = value
        yield {"targets": [status["podIP"]], "labels": labels}


parent = os.getppid()
while os.getppid() == parent:
    asked = subprocess.run(["kubectl", "get", "pods", "-A", "-o", "json"], capture_output=True, check=False)
    if asked.returncode == 0:
        with open(sys.argv[1] + ".new", "w", encoding="utf-8") as file:
            json.dump(list(targets(json.loads(asked.stdout)["items"])), file)
        os.replace(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(1)
