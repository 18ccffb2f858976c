#!/usr/bin/env python3
"""What telemetry costs a pair of sidecars: processor time of each request and memory.

    none   no metrics, no access log, no traces
    log    metrics and access log
    up     as `varka up` sets it: metrics, access log, and a span of each request on either side as long as no more than a hundred
           traces begin in a second
    all    a span of every request on either side

Each round measures all of them one after the other; ratios are of one round, and medians are told. The sidecars have one processor,
the client and the server another.

    scripts/telemetry-cost.py VARKA BENCH_PAIR [ROUNDS [SECONDS]]

VARKA is the program as it is released, BENCH_PAIR the example of crates/proxy. Needs nginx, wrk, openssl and two processors. What the collector of the
spans takes is not counted: it is the same nginx.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# How it is called here, what bench-pair calls it, and the environment that the sidecars have.
MODES = {"none": ("none", {}), "log": ("usual", {}), "up": ("all", {"TRACES_PER_SECOND": "100"}), "all": ("all", {})}
SIDECARS, OTHERS = "1", "0"
BACKEND = "127.0.0.1:19000"
OUTBOUND = "http://127.0.0.1:18100/"
HZ = os.sysconf("SC_CLK_TCK")


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def certificates(place):
    """An authority, and a certificate of each side."""
    key, ca = place / "ca.key", place / "ca.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    openssl("req", "-x509", "-new", "-key", key, "-days", "1", "-subj", "/O=cluster.local", "-out", ca,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, account in [("client", "client"), ("server", "backend")]:
        file = {end: place / f"{name}.{end}" for end in ["key", "csr", "ext", "pem"]}
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", file["key"])
        openssl("req", "-new", "-key", file["key"], "-subj", "/", "-out", file["csr"])
        file["ext"].write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName=critical,URI:spiffe://cluster.local/ns/default/sa/{account}\n")
        openssl("x509", "-req", "-in", file["csr"], "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "1",
                "-extfile", file["ext"], "-out", file["pem"])


def backend(place):
    body = "x" * 1024
    (place / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.err;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 1000000000;\n"
        f"  server {{ listen {BACKEND}; location / {{ return 200 '{body}'; }} }} }}\n")
    return subprocess.Popen(["taskset", "-c", OTHERS, "nginx", "-p", place, "-c", place / "nginx.conf"], stderr=subprocess.DEVNULL)


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def anonymous_kib(pid):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def answers():
    try:
        with urllib.request.urlopen(OUTBOUND, timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def measure(varka, place, environment, seconds):
    """Microseconds of a request in both sidecars together, and their anonymous memory in KiB."""
    pair = [subprocess.Popen(["taskset", "-c", SIDECARS, varka, "proxy", "--free-ports", "--concurrency", "1", "--config", place / f"{side}.json"],
                             env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for side in ["out", "in"]]
    try:
        deadline = time.monotonic() + 20
        while not answers():
            if time.monotonic() > deadline:
                sys.exit(f"the pair of {place} does not answer")
            time.sleep(0.01)
        load = ["taskset", "-c", OTHERS, "wrk", "-t1", "-c32", OUTBOUND]
        subprocess.run([*load, "-d1"], check=True, stdout=subprocess.DEVNULL)
        before = sum(processor_seconds(side.pid) for side in pair)
        told = subprocess.run([*load, f"-d{seconds}"], check=True, capture_output=True, text=True).stdout
        took = sum(processor_seconds(side.pid) for side in pair) - before
        words = [line.split() for line in told.splitlines()]
        requests = next(int(line[0]) for line in words if line[1:3] == ["requests", "in"])
        return took / requests * 1e6, sum(anonymous_kib(side.pid) for side in pair)
    finally:
        for side in pair:
            side.terminate()
        for side in pair:
            side.wait()
        for log in place.glob("*.log"):
            log.unlink()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    varka, make = (str(pathlib.Path(word).absolute()) for word in sys.argv[1:3])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 24
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    with tempfile.TemporaryDirectory(prefix="telemetry-cost-") as place:
        place = pathlib.Path(place)
        certificates(place)
        for mode, (kind, _) in MODES.items():
            (place / mode).mkdir()
            subprocess.run([make, place, BACKEND, place / mode, kind], check=True)
        server = backend(place)
        try:
            found = [{mode: measure(varka, place / mode, environment, seconds) for mode, (_, environment) in MODES.items()} for _ in range(rounds)]
        finally:
            server.terminate()
            server.wait()
    print(f"{'telemetry':<10} {'us/request':>10} {'ratio':>6} {'KiB anonymous':>14} {'ratio':>6}   medians of {rounds} rounds of {seconds} s")
    for mode in MODES:
        of = lambda part, base=False: [one[mode][part] / (one["none"][part] if base else 1) for one in found]
        print(f"{mode:<10} {statistics.median(of(0)):>10.1f} {statistics.median(of(0, True)):>6.3f}"
              f" {statistics.median(of(1)):>14.0f} {statistics.median(of(1, True)):>6.3f}")


main()
