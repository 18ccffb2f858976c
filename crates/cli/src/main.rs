//! The `varka` command: reads its arguments, starts the services of the other crates and prints for people. No logic of its own.
//!
//! One binary is everything: `varka up` runs the system on one machine, and the pods that it starts run the same file as
//! `varka control-plane`, `varka proxy` and `varka proxy-init`.
#![forbid(unsafe_code)]

mod args;
mod console_client;
mod control;
mod down;
mod explain;
#[cfg(test)]
mod golden;
mod graph;
mod logs;
mod manifests;
mod mesh;
mod metrics;
mod node;
mod shell;
mod state;
mod status;
mod text;
mod top;
mod trace;
mod up;
mod when;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // The pod runtime starts containers by running this same file again; that must come before anything else looks at the arguments.
    if let Some(code) = varka_kubelet::init::main() {
        return code;
    }
    let command = args::Args::parse().command;
    match dispatch(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("varka: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: args::Command) -> anyhow::Result<ExitCode> {
    match command {
        args::Command::Up(a) => up::run(a),
        args::Command::Down(a) => down::run(&a),
        args::Command::Status(a) => status::run(&a),
        args::Command::Explain(a) => explain::run(&a),
        args::Command::Shell(a) => shell::run(&a),
        args::Command::Graph(a) => graph::run(&a),
        args::Command::Top(a) => top::run(&a),
        args::Command::Trace(a) => trace::run(&a),
        args::Command::Logs(a) => logs::run(&a),
        args::Command::Metrics(a) => metrics::run(&a),
        args::Command::Proxy(a) => mesh::proxy(a),
        args::Command::ProxyInit(a) => mesh::proxy_init(&a),
        args::Command::ControlPlane(a) => mesh::control_plane(a),
        args::Command::Console(a) => mesh::console(a),
    }
}
