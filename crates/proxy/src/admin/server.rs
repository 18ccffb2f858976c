//! The server itself: state, version, memory, end.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::{Answer, Query};
use crate::state::{Lifecycle, State};

/// Envoy's name of the state that the proxy is in.
pub(super) fn state_name(state: &State) -> &'static str {
    match state.lifecycle() {
        Lifecycle::Starting => "PRE_INITIALIZING",
        Lifecycle::Ready if state.health_failed.load(Relaxed) => "DRAINING",
        Lifecycle::Ready => "LIVE",
        Lifecycle::Draining | Lifecycle::Stopped => "DRAINING",
    }
}

pub(super) fn ready(state: &State, _: &Query<'_>) -> Answer {
    let name = state_name(state);
    let status = if name == "LIVE" { 200 } else { 503 };
    Answer { status, ..Answer::text(format!("{name}\n")) }
}

/// Resident memory in bytes, as the kernel counts it.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = field.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

pub(super) fn memory(_: &State, _: &Query<'_>) -> Answer {
    let resident = resident_bytes().to_string();
    Answer::json(&json!({
        "allocated": resident,
        "heap_size": resident,
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": resident,
    }))
}

pub(super) fn contention(_: &State, _: &Query<'_>) -> Answer {
    Answer::text("Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.")
}

pub(super) fn runtime(_: &State, _: &Query<'_>) -> Answer {
    Answer::json(&json!({"layers": [], "entries": {}}))
}

/// `REVISION/VERSION/STATUS/BUILD/TLS`, Envoy's form.
pub(super) fn version() -> String {
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    format!("varka/{}/Clean/{build}/rustls", env!("CARGO_PKG_VERSION"))
}

pub(super) fn info(state: &State, _: &Query<'_>) -> Answer {
    let bootstrap = &state.bootstrap;
    let uptime = format!("{}s", state.started.elapsed().as_secs());
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    Answer::json(&json!({
        "version": version(),
        "state": state_name(state),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {
            "concurrency": bootstrap.concurrency,
            "service_node": bootstrap.node_id(),
            "drain_time": format!("{}s", bootstrap.drain.as_secs()),
        },
        "node": {
            "id": bootstrap.node_id(),
            "cluster": format!("{}.{}", bootstrap.pod_name, bootstrap.namespace),
            "metadata": bootstrap.metadata,
            "user_agent_name": "varka",
            "user_agent_build_version": {"version": {
                "major_number": number(env!("CARGO_PKG_VERSION_MAJOR")),
                "minor_number": number(env!("CARGO_PKG_VERSION_MINOR")),
                "patch": number(env!("CARGO_PKG_VERSION_PATCH")),
            }},
        },
    }))
}

pub(super) fn drain_listeners(state: &State, _: &Query<'_>) -> Answer {
    state.advance(Lifecycle::Draining);
    Answer::text("OK\n")
}

pub(super) fn quit(state: &State, _: &Query<'_>) -> Answer {
    state.advance(Lifecycle::Stopped);
    Answer::text("OK\n")
}

pub(super) fn fail(state: &State, _: &Query<'_>) -> Answer {
    state.health_failed.store(true, Relaxed);
    Answer::text("OK\n")
}

pub(super) fn ok(state: &State, _: &Query<'_>) -> Answer {
    state.health_failed.store(false, Relaxed);
    Answer::text("OK\n")
}
