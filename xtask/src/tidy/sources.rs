//! How a source file is made: not too long, with a head that says what it is for, and named so that it is found.

use super::File;

/// Lines of code in one file, blank lines, comments and tests left out.
const LINES_MAX: usize = 500;
/// In the first line of a generated file.
const GENERATED: &str = "@generated";

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        let path = file.path.display();
        if file.path.file_name().is_some_and(|name| name == "mod.rs") {
            findings.push(format!("{path}: name it after its module and put it beside the folder (foo.rs and foo/)"));
        }
        let first = file.text.lines().next().unwrap_or_default();
        if file.is_test() || first.contains(GENERATED) {
            continue;
        }
        if !first.starts_with("//!") {
            findings.push(format!("{path}: begin with `//!`: what it does, why, and what it does not do"));
        }
        let lines = without_tests(&file.text).filter(|line| is_code(line)).count();
        if lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines of code, {LINES_MAX} are allowed; it is more than one thing"));
        }
    }
    findings
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// The lines up to a test module at the end of the file.
pub(super) fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines();
    let starts_tests = |line: &str| line.starts_with("mod tests {") || line.starts_with("mod test {");
    lines.take_while(move |line| !starts_tests(line))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::File;

    fn findings(path: &str, text: &str) -> usize {
        check(&[File { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn each_rule_finds_its_offence() {
        let long = |lines: usize, after: &str| format!("//! x\n{}{after}", "let x;\n\n// why\n".repeat(lines));
        assert_eq!(findings("crates/a/src/b.rs", "//! x\n"), 0);
        assert_eq!(findings("crates/a/src/b.rs", "use x;\n"), 1);
        assert_eq!(findings("crates/a/src/b/mod.rs", "//! x\n"), 1);
        assert_eq!(findings("crates/a/src/b/tests.rs", "use x;\n"), 0);
        assert_eq!(findings("crates/a/src/b.rs", &long(500, "")), 0);
        assert_eq!(findings("crates/a/src/b.rs", &long(501, "")), 1);
        assert_eq!(
            findings(
                "crates/a/src/b.rs",
                &long(490, &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "let y;\n".repeat(50)))
            ),
            0
        );
    }
}
