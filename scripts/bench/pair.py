#!/usr/bin/env python3
"""Writes static configurations of a sidecar pair for measuring: out.json and in.json, for `varka proxy --config`.

    pair.py CERTS BACKEND OUTDIR

CERTS holds ca.pem, client.pem/.key and server.pem/.key; BACKEND is HOST:PORT of a plain HTTP/1.1 server. The outbound proxy listens on
127.0.0.1:18100 and speaks mTLS with HTTP/1.1 to the inbound one on 127.0.0.1:18101, as Istio's pair does: access log in Istio's
default format, an ALLOW policy by principal on the inbound side. Listeners bind their ports; no traffic is redirected.
"""
import json
import sys

FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% '
    '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
SECOND = {"secs": 1, "nanos": 0}
NO_LIMIT = 2**32 - 1
STATS = {"Stats": {"disable_host_header_fallback": False, "metrics": [], "tcp_reporting_interval": None}}


def access_log(path):
    return [{"sink": {"File": path}, "format": {"Text": FORMAT}, "only_not_found": False, "filter": None}]


def route_table(name, cluster):
    action = {
        "clusters": [{"cluster": cluster, "weight": 1, "request_headers": [], "response_headers": [], "host_rewrite": None}],
        "rewrite": {"prefix": None, "regex": None, "authority": None, "auto_authority": False, "append_x_forwarded_host": False},
        "timeout": None, "grpc_timeout_max": None, "idle_timeout": None, "retry": None, "mirrors": [], "hash_policy": [],
        "upgrades": [], "cluster_not_found_status": 503,
    }
    route = {
        "name": "default",
        "matches": {"path": {"Prefix": "/"}, "case_sensitive": True, "headers": [], "query": [], "metadata": [], "grpc": False},
        "action": {"Forward": action}, "request_headers": [], "response_headers": [], "fault": None, "cors": None, "rbac": None,
        "max_request_bytes": None, "operation": None, "origin": None,
    }
    host = {"name": name, "domains": ["*"], "routes": [route], "require_tls": False, "include_attempt_count": True,
            "request_headers": [], "response_headers": []}
    return {"name": name, "virtual_hosts": [host], "ignore_port_in_host": True, "on_demand": False, "request_headers": [], "response_headers": []}


def manager(prefix, table, server, client_cert, filters, log):
    return {
        "stat_prefix": prefix, "codec": "Auto", "routes": {"Inline": table}, "filters": filters, "server_name": server,
        "use_remote_address": False, "xff_trusted_hops": 0, "skip_xff_append": False, "client_cert": client_cert,
        "generate_request_id": True, "preserve_external_request_id": False,
        "path": {"normalize": True, "merge_slashes": False, "escaped_slashes": "Keep"},
        "stream_idle_timeout": {"secs": 0, "nanos": 0}, "request_timeout": None, "request_headers_timeout": None, "idle_timeout": None,
        "max_connection_duration": None, "max_request_headers_kb": None, "max_headers": None, "accept_http_10": False,
        "max_concurrent_streams": None, "upgrades": ["websocket"], "strip_trailing_host_dot": False, "local_replies": [],
        "tracing": None, "access_log": access_log(log),
    }


def listener(name, port, direction, http, tls):
    chain = {"name": "default", "matches": {"destination_port": None, "destination_prefixes": [], "server_names": [],
             "transport_protocol": None, "application_protocols": [], "source_prefixes": [], "source_type": "Any"},
             "tls": tls, "filters": [], "terminal": {"Http": http}, "handshake_timeout": None}
    return {"name": name, "address": f"127.0.0.1:{port}", "bind_to_port": True, "use_original_dst": False, "direction": direction,
            "inspect": {"original_dst": False, "tls": tls is not None, "http": False, "disabled_ports": [], "proxy_protocol": False,
                        "timeout": None, "continue_on_timeout": False},
            "filter_chains": [], "default_filter_chain": chain, "access_log": []}


def cluster(name, address, tls):
    endpoint = {"address": address, "host": None, "weight": 1, "health": "Unknown", "tls_mode": None, "workload": None}
    load = {"cluster_name": name, "localities": [{"locality": {"region": "", "zone": "", "sub_zone": ""}, "priority": 0, "weight": None,
                                                  "endpoints": [endpoint]}]}
    return {
        "name": name, "discovery": {"Static": load}, "lb": {"LeastRequest": {"choices": 2}},
        "connect_timeout": {"secs": 10, "nanos": 0},
        "circuit_breakers": {"max_connections": NO_LIMIT, "max_pending_requests": NO_LIMIT, "max_requests": NO_LIMIT, "max_retries": NO_LIMIT},
        "outlier": None, "transport_matches": [], "tls": tls,
        "http": {"protocol": "Http1", "idle_timeout": None, "max_requests_per_connection": None, "max_connection_duration": None,
                 "max_concurrent_streams": None, "keepalive": None},
        "bind_source": None, "tcp_keepalive": None, "panic_threshold": 0, "metadata_exchange": False, "locality_weighted": False, "slow_start": None,
        "proxy_protocol": None, "retry_budget": None, "services": [], "dns_refresh": None,
    }


def secrets(certs, who):
    read = lambda name: open(f"{certs}/{name}").read()
    return {
        "default": {"name": "default", "kind": {"Certificate": {"chain": read(f"{who}.pem"), "key": read(f"{who}.key")}}},
        "ROOTCA": {"name": "ROOTCA", "kind": {"Validation": {"ca": read("ca.pem")}}},
    }


def proxy(listener, cluster, secrets):
    return {"listeners": {listener["name"]: listener}, "routes": {}, "clusters": {cluster["name"]: cluster}, "endpoints": {}, "secrets": secrets}


def main(certs, backend, outdir):
    exact = lambda value: {"Exact": {"value": value, "ignore_case": False}}
    alpn = {"http11": ["istio-http/1.1", "istio", "http/1.1"], "http2": ["istio-h2", "istio", "h2"]}
    upstream = {"certificate": "default", "validation": "ROOTCA", "subject_alt_names": [exact("spiffe://cluster.local/ns/default/sa/backend")],
                "sni": "outbound_.80_._.backend.default.svc.cluster.local", "auto_sni": False, "alpn": ["istio-peer-exchange", "istio"],
                "min_version": None, "max_version": None, "crl_file": None, "auto_san": False}
    downstream = {"certificates": ["default"], "validation": "ROOTCA", "require_client_certificate": True, "subject_alt_names": [],
                  "alpn": ["h2", "http/1.1"], "min_version": None, "max_version": None, "cipher_suites": [], "crl_file": None, "pins": {"spki": [], "hashes": []}}
    rbac = {"action": "Allow", "shadow": False, "stat_prefix": "", "policies": [{
        "name": "ns[default]-policy[allow-client]-rule[0]", "permissions": ["Any"],
        "principals": [{"Authenticated": exact("spiffe://cluster.local/ns/default/sa/client")}]}]}
    out = "outbound|80||backend.default.svc.cluster.local"
    outbound = manager("outbound_0.0.0.0_80", route_table("80", out), "envoy", "Sanitize", [{"Alpn": alpn}, "GrpcStats", "Fault", "Cors", STATS],
                       f"{outdir}/out.log")
    inbound = manager("inbound_0.0.0.0_80", route_table("inbound|80||", "inbound|80||"), "istio-envoy", "AppendForward",
                      [{"Rbac": rbac}, "GrpcStats", "Fault", "Cors", STATS], f"{outdir}/in.log")
    write = lambda name, value: json.dump(value, open(f"{outdir}/{name}.json", "w"), indent=1)
    write("out", proxy(listener("out", 18100, "Outbound", outbound, None), cluster(out, "127.0.0.1:18101", upstream), secrets(certs, "client")))
    write("in", proxy(listener("in", 18101, "Inbound", inbound, downstream), cluster("inbound|80||", backend, None), secrets(certs, "server")))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
