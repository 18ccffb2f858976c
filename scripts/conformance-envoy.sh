#!/bin/bash
# Driver of the recorded Envoy cases (root; the lab of namespaces ed-* must be up):
#   conformance-envoy.sh up RESOURCES.yaml MESHCONFIG.json OUTDIR | down OUTDIR
# PYTHON: one with PyYAML (default: python3). VARKA_CERTS: a directory that gets the workloads' certificates.
# VARKA_TARGET: directory of the built binaries (default: target/debug). VARKA_MESH: the registry (default: mesh.yaml in the working directory).
set -e
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
bin=${VARKA_TARGET:-${CARGO_TARGET_DIR:-$here/target}/debug}
case $1 in
up)
  out=$4
  rm -f "$out/up" "$out/failed"
  # The resources were recorded as PyYAML reads them: `n` is a text and `off` is not, and a rule whose name is no text has none.
  "${PYTHON:-python3}" -c '
import json, sys, yaml
for document in yaml.safe_load_all(open(sys.argv[1])):
    for rule in ((document or {}).get("spec") or {}).get("http") or []:
        if not isinstance(rule.get("name", ""), str): del rule["name"]
    print("---\n" + json.dumps(document))' "$2" >"$out/resources.json.yaml"
  ip netns exec ed-hub "$bin/varka-envoy-driver" --mesh "${VARKA_MESH:-mesh.yaml}" --resources "$out/resources.json.yaml" --mesh-config "$3" --out "$out" ${VARKA_CERTS:+--certs "$VARKA_CERTS"} --varka "$bin/varka" >"$out/driver.log" 2>&1 &
  pid=$!
  echo $pid >"$out/pid"
  while [ ! -e "$out/up" ]; do
    if [ -e "$out/failed" ] || ! kill -0 $pid 2>/dev/null; then cat "$out/driver.log" >&2; exit 1; fi
    sleep 0.05
  done ;;
down)
  out=$2
  if [ -f "$out/pid" ]; then
    pid=$(cat "$out/pid")
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$out/pid" "$out/up"
  fi ;;
*) echo "usage: $0 up RESOURCES.yaml MESHCONFIG.json OUTDIR | down OUTDIR" >&2; exit 2 ;;
esac
