//! What the subcommands that ask the console say where no system runs, or too little is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

/// What is said on standard error by a command that fails, with a home of its own.
fn refused(home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varka"));
    command.args(arguments).env_remove("KUBECONFIG").env("HOME", home).env("XDG_STATE_HOME", home);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {said}");
    said
}

#[test]
fn where_nothing_runs_it_is_said_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let all: [&[&str]; 6] = [
        &["graph"],
        &["top", "--once"],
        &["trace", "abc"],
        &["logs", "web"],
        &["metrics", "up"],
        &["dashboard", "--no-browser"],
    ];
    for arguments in all {
        let said = refused(home.path(), arguments);
        assert!(said.contains("nothing runs: start a system with `varka up DIR`"), "{arguments:?}: {said}");
        assert!(said.contains("--kubeconfig") && !said.contains("os error"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_state_directory_that_is_named_is_the_one_that_is_meant() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("elsewhere");
    let said = refused(home.path(), &["graph", "--state", state.to_str().unwrap()]);
    let wanted =
        format!("nothing runs with the state directory {0}: start it with `varka up --state {0} DIR`", state.display());
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn a_trace_is_asked_for_by_its_id_or_by_whose_it_is() {
    let home = tempfile::tempdir().unwrap();
    let said = refused(home.path(), &["trace"]);
    assert!(said.contains("--service <SERVICE>") && said.contains("ID"), "{said}");
    let both = refused(home.path(), &["trace", "abc", "--service", "web.blog-system"]);
    assert!(both.contains("cannot be used with"), "{both}");
}
