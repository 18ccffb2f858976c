//! `varka status`: pods, sidecars, their configuration version and sync state.

use std::io::Write;
use std::process::ExitCode;

use crate::args::{Output, Status as Args};
use crate::control::{self, Pod, Status};
use crate::state::State;

/// Runs the command; exit status 1 while not everything is ready.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let state = State::running(args.instance.state.as_deref())?;
    let status: Status = control::ask(&state, "/status")?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?,
        Output::Text => write!(out, "{}", render(&status))?,
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(status: &Status) -> String {
    let rows = status.pods.iter().map(row);
    let mut text =
        table(std::iter::once(["NAMESPACE", "POD", "READY", "SIDECAR", "CONFIGURATION"].map(String::from)).chain(rows));
    for pod in &status.pods {
        for nack in pod.sidecar.iter().flat_map(|s| &s.nacks) {
            text.push_str(&format!(
                "\n{}/{} refused configuration and keeps its last good one: {nack}\n",
                pod.namespace, pod.name
            ));
        }
    }
    text.push_str(&format!("\nAPI      {}\ningress  {}\n", status.addresses.api, status.addresses.ingress));
    if let Some(console) = &status.addresses.console {
        text.push_str(&format!("console  {console}\n"));
    }
    text
}

fn row(pod: &Pod) -> [String; 5] {
    let (sidecar, version) = match &pod.sidecar {
        None => ("-", "-".to_owned()),
        Some(s) if !s.nacks.is_empty() => ("refused", s.version.clone()),
        Some(s) if s.synced => ("synced", s.version.clone()),
        Some(s) if s.version.is_empty() => ("not connected", "-".to_owned()),
        Some(s) => ("behind", s.version.clone()),
    };
    [
        pod.namespace.clone(),
        pod.name.clone(),
        if pod.ready { "yes" } else { "no" }.to_owned(),
        sidecar.to_owned(),
        version,
    ]
}

/// Columns padded to the widest cell.
pub(crate) fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Addresses, Sidecar};

    #[test]
    fn a_refused_configuration_is_told_with_its_reason() {
        let status = Status {
            ready: false,
            addresses: Addresses {
                api: "https://127.0.0.1:6443".into(),
                ingress: "https://127.0.0.1:8443".into(),
                console: None,
            },
            pods: vec![
                Pod {
                    namespace: "blog-system".into(),
                    name: "web-1".into(),
                    ready: true,
                    sidecar: Some(Sidecar {
                        version: "7".into(),
                        synced: false,
                        nacks: vec!["listener x: not implemented".into()],
                    }),
                },
                Pod { namespace: "blog-system".into(), name: "mysql-1".into(), ready: false, sidecar: None },
            ],
        };
        let text = render(&status);
        assert!(text.contains("blog-system   web-1     yes     refused   7\n"), "{text}");
        assert!(text.contains("blog-system   mysql-1   no      -         -\n"), "{text}");
        assert!(text.contains("listener x: not implemented"), "{text}");
    }
}
