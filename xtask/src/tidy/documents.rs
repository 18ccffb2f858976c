//! The names in documents: what `ARCHITECTURE.md` calls `file.rs: function` has to be there.

use super::File;
use std::path::Path;

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn check(repository: &Path, files: &[File]) -> Vec<String> {
    let Some(document) = files.iter().find(|file| file.path == Path::new(DOCUMENT)) else { return Vec::new() };
    let mut findings = Vec::new();
    for (index, line) in document.text.lines().enumerate() {
        for (path, function) in references(line) {
            if let Some(problem) = problem(repository, files, path, function) {
                findings.push(format!("{DOCUMENT}:{}: {problem}", index + 1));
            }
        }
    }
    findings
}

/// The spans of a line between backticks that name a source file, and the function behind it, if any.
fn references(line: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter_map(|span| {
        let (path, function) = match span.split_once(": ") {
            Some((path, function)) => (path, Some(function)),
            None => (span, None),
        };
        (path.ends_with(".rs") && !path.contains(char::is_whitespace)).then_some((path, function))
    })
}

/// Paths may leave out `crates/` and `src/`.
fn problem(repository: &Path, files: &[File], path: &str, function: Option<&str>) -> Option<String> {
    let mut candidates = vec![path.to_owned(), format!("crates/{path}")];
    if let Some((name, rest)) = path.split_once('/') {
        candidates.push(format!("crates/{name}/src/{rest}"));
    }
    let file = files.iter().find(|file| candidates.iter().any(|candidate| file.path == Path::new(candidate)));
    let Some(file) = file else {
        return Some(format!(
            "there is no file {path} (looked for {} in {})",
            candidates.join(", "),
            repository.display()
        ));
    };
    for name in function.into_iter().flat_map(|names| names.split(", ")) {
        let name = name.rsplit("::").next().unwrap_or(name).trim_end_matches("()");
        let defined = ["fn ", "struct ", "enum ", "trait ", "const ", "mod ", "type "].iter().any(|keyword| {
            file.text.match_indices(&format!("{keyword}{name}")).any(|(at, found)| {
                let after = file.text.get(at + found.len()..).and_then(|rest| rest.chars().next());
                !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        });
        if !defined {
            return Some(format!("{} has no `{name}`", file.path.display()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::File;
    use std::path::Path;

    #[test]
    fn names_that_are_gone_are_found() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let of = |document: &str| {
            let source = file("crates/proxy/src/http/request.rs", "pub async fn serve<T>() {}\nfn pick_one() {}");
            check(Path::new("/repository"), &[file("ARCHITECTURE.md", document), source]).len()
        };
        assert_eq!(of("first `proxy/src/http/request.rs: serve`, then `proxy/http/request.rs: pick_one`"), 0);
        assert_eq!(of("`proxy/http/request.rs: pick`"), 1);
        assert_eq!(of("`proxy/http/gone.rs`, `cargo test`, `a.rs b`"), 1);
    }
}
