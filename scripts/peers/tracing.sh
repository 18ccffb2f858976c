#!/bin/sh
# Records what a Jaeger answers, and holds the console to it:   scripts/peers/tracing.sh VERSION PROGRAM [ARG...]
# PROGRAM is Jaeger's `all-in-one` of version 1 or `jaeger` of version 2 with its arguments; it has to listen on its usual ports on
# this machine and keep spans in memory. VERSION names the file that is written, crates/console/tests/recorded/jaeger-VERSION.json, and
# has to be among the VERSIONS of crates/console/src/jaeger/elsewhere/tests/recorded.rs.
set -eu
cd "$(dirname "$0")/../.."
version=$1
shift
"$@" >"${TMPDIR:-/tmp}/jaeger-$version.log" 2>&1 &
jaeger=$!
trap 'kill $jaeger' EXIT
spans=crates/console/tests/recorded/spans.json
curl -sS --fail --retry 50 --retry-delay 1 --retry-all-errors -H 'Content-Type: application/json' --data-binary "@$spans" \
    http://127.0.0.1:4318/v1/traces
# What is taken is not there at once.
until curl -sS --fail http://127.0.0.1:16686/api/v3/traces/ab >/dev/null 2>&1; do
    kill -0 $jaeger
    sleep 0.2
done
UPDATE=1 JAEGER="$version=http://127.0.0.1:16686" cargo test -p varka-console --lib a_jaeger_and_the_store_answer_alike
git diff --stat -- crates/console/tests/recorded
