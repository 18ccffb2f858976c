//! The same in words, for a terminal.

use std::fmt::Write as _;

use super::answer::{Direction, Explanation, Outcome, Step};

/// Every hop and step, each with its reason and the object that said so.
pub fn render(explanation: &Explanation) -> String {
    let mut out = String::new();
    let request = &explanation.request;
    // Writing to a string cannot fail; the results below are of no use.
    let _ = writeln!(out, "{} {}{}\n", request.method, request.host, request.path);
    for hop in &explanation.hops {
        let direction = match hop.proxy.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        let _ = writeln!(out, "{}.{} {direction}", hop.proxy.workload, hop.proxy.namespace);
        for step in &hop.steps {
            write_step(&mut out, step);
        }
        out.push('\n');
    }
    let outcome = match explanation.outcome {
        Outcome::Ok => "ok",
        Outcome::Denied => "denied",
        Outcome::Failed => "failed",
        Outcome::Passthrough => "passthrough",
        Outcome::Blackhole => "blackhole",
    };
    let _ = writeln!(out, "{outcome}: {}", explanation.verdict.trim_end());
    if explanation.pods_of_now {
        out.push_str("Pods and endpoints are those of now: what they were then is not known.\n");
    }
    out
}

fn write_step(out: &mut String, step: &Step) {
    let mark = if step.ok { ' ' } else { '!' };
    let _ = writeln!(out, "{mark} {:<22} {}", step.step, step.chosen);
    for line in step.because.trim_end().lines() {
        let _ = writeln!(out, "{:25}{line}", "");
    }
    if let Some(by) = &step.by {
        let name = if by.namespace.is_empty() { by.name.clone() } else { format!("{}/{}", by.namespace, by.name) };
        let line = if by.line > 0 { format!(", line {}", by.line) } else { String::new() };
        let _ = writeln!(out, "{:25}by {} {name}{line}", "", by.kind);
    }
    for rejected in &step.rejected {
        let _ = writeln!(out, "{:25}not {}: {}", "", rejected.what, rejected.why);
    }
}
