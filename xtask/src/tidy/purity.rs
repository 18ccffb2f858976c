//! The crates that decide and do nothing: no runtime, sockets, files, processes, environment or threads, neither in what
//! they depend on nor in their own sources. (Clocks are forbidden by each one's clippy.toml.)

use super::File;
use super::metadata::Metadata;

const PURE: [&str; 6] = ["api", "identity", "engine", "pilot", "promql", "analyze"];
const FORBIDDEN_PACKAGES: [&str; 6] = ["tokio", "hyper", "kube-client", "mio", "async-std", "socket2"];
const FORBIDDEN_MODULES: [&str; 4] = ["fs", "process", "env", "thread"];
/// Addresses are data; everything else of `std::net` opens sockets or asks a resolver.
const ADDRESSES: [&str; 7] =
    ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];

pub(super) fn check(metadata: &Metadata, files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for name in PURE {
        let package = format!("varka-{name}");
        if !metadata.members.contains(&package) {
            continue;
        }
        for forbidden in FORBIDDEN_PACKAGES {
            if let Some(way) = metadata.path(&package, forbidden) {
                findings.push(format!("{package}: a pure crate must not depend on {forbidden} ({})", way.join(" -> ")));
            }
        }
        let directory = format!("crates/{name}/src");
        let own = files
            .iter()
            .filter(|file| file.has_extension("rs") && file.path.starts_with(&directory) && !file.is_test());
        for file in own {
            let lines = super::sources::without_tests(&file.text).enumerate();
            for (line, found) in lines.flat_map(|(index, line)| impure(line).map(move |found| (index + 1, found))) {
                findings.push(format!(
                    "{}:{line}: a pure crate must not use {found}; take what it gives as a value",
                    file.path.display()
                ));
            }
        }
        if !files.iter().any(|file| file.path == std::path::Path::new("crates").join(name).join("clippy.toml")) {
            findings.push(format!(
                "crates/{name}: a pure crate has a clippy.toml of its own that forbids clocks and files"
            ));
        }
    }
    findings
}

/// The forbidden names in a line of code.
fn impure(line: &str) -> impl Iterator<Item = String> {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("std::").flat_map(|(at, _)| {
        let rest = code.get(at + "std::".len()..).unwrap_or_default();
        names(rest).into_iter().filter_map(|path| {
            let mut parts = path.split("::");
            let module = parts.next().unwrap_or_default();
            let item = parts.next().unwrap_or("*");
            let bad = FORBIDDEN_MODULES.contains(&module) || (module == "net" && !ADDRESSES.contains(&item));
            bad.then(|| format!("std::{path}"))
        })
    })
}

/// The paths that follow `std::`, braces spread out: `net::{A, B}` is `net::A` and `net::B`.
fn names(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    let Some(inner) = rest.strip_prefix('{') else { return vec![head.to_owned()] };
    let mut depth = 0;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = inner.get(start..at).unwrap_or_default().trim();
                found.extend(
                    names(item).into_iter().filter(|name| !name.is_empty()).map(|name| format!("{head}{name}")),
                );
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::impure;

    #[test]
    fn imports_are_read_through_their_braces() {
        let of = |line: &str| impure(line).collect::<Vec<_>>();
        assert_eq!(of("use std::net::{IpAddr, SocketAddr};"), Vec::<String>::new());
        assert_eq!(of("use std::net::{IpAddr, TcpStream};"), ["std::net::TcpStream"]);
        assert_eq!(of("use std::{fmt, fs::{self, File}, env};"), ["std::fs::self", "std::fs::File", "std::env"]);
        assert_eq!(of("let x = std::thread::spawn(f); // std::fs"), ["std::thread::spawn"]);
        assert_eq!(of("use std::net::*;"), ["std::net::"]);
    }
}
