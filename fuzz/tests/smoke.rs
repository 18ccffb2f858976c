//! Every target, with its seeds, with whatever once went wrong, and with a fixed series of mutations of both: the same inputs on every
//! machine and in every run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what cannot be read fails the test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use varka_fuzz::mutate::{Numbers, mutate};
use varka_fuzz::{TARGETS, Target, corpus, find};

/// Tells which input it was that something did not hold of.
fn run(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let text = String::from_utf8_lossy(input);
        eprintln!("{}: does not hold of {} bytes:\n{text:?}\n{input:?}", target.name, input.len());
        eprintln!("once it is mended, keep them as a file below fuzz/regressions/{}", target.name);
        resume_unwind(panic);
    }
}

fn smoke(name: &str) {
    let target = find(name).unwrap();
    let mut pool = corpus::seeds(target).unwrap();
    assert!(!pool.is_empty(), "{name} has no seeds");
    pool.extend(corpus::regressions(target).unwrap());
    pool.iter().for_each(|input| run(target, input));
    let (mut numbers, first) = (Numbers::new(name.len() as u64), pool.len());
    for round in 0..target.smoke {
        let mut input = mutate(&pool[numbers.below(pool.len())], target.form, numbers.draw());
        input.truncate(target.longest);
        run(target, &input);
        // Some go on to be changed further.
        if round % 4 == 0 && pool.len() < first + 64 {
            pool.push(input);
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })*

        const TRIED: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    proxy_protocol client_hello http_detect http1_request http1_response http1_body grpc_frames peer_metadata peer_prelude
    admin_query path authority forwarded trace_context grpc_timeout jwt jwks expression log_format regex xds ext_authz node
    resources mesh duration inject json_patch merge_patch strategic_patch apply field_set selector rest body custom_schema
    printer_column port_forward dns pod_texts csr certificate database_wire exposition otlp_json zipkin promql kiali_graph
    jaeger_query
}

#[test]
fn every_target_is_tried_and_stands_in_the_table() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len(), "two targets have one name");
    assert_eq!(TRIED.iter().copied().collect::<BTreeSet<_>>(), names);
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = readme.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(2));
    let told: BTreeSet<String> =
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(told, names.iter().map(|name| (*name).to_owned()).collect(), "the table of README.md");
}

#[test]
fn what_is_kept_is_small() {
    for target in TARGETS {
        let all: usize = corpus::seeds(&target).unwrap().iter().map(Vec::len).sum();
        assert!(all <= 16 * 1024, "{}: {all} bytes of seeds", target.name);
    }
}
