//! Words that do not belong into the sources: the project speaks of itself alone, not of one machine or one plan.

use super::File;

/// Places on somebody's machine.
const PLACES: [&str; 4] = ["/work/", "/root/.cargo", "/home/user", "/Users/"];
/// Left for later is left out, or written where plans are kept.
const PLANS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let own = |file: &&File| !file.path.ends_with("xtask/src/tidy/words.rs") && !file.has_extension("lock");
    let mut findings = Vec::new();
    for file in files.iter().filter(own) {
        let source = file.has_extension("rs");
        for (index, line) in file.text.lines().enumerate() {
            let words = PLACES.iter().filter(|place| line.contains(*place));
            let plans = PLANS.iter().filter(|plan| source && has_word(line, plan));
            let issue = issue_number(line).then_some(&"the number of an issue");
            for word in words.chain(plans).chain(issue) {
                findings.push(format!("{}:{}: {word} does not belong here", file.path.display(), index + 1));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, found)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + found.len()..).and_then(|text| text.chars().next());
        ![before, after].into_iter().flatten().any(|c| c.is_alphanumeric() || c == '_')
    })
}

/// `issue 12` or `issue #12`, in any case, unless it says whose, as in `owner/name issue 12`.
fn issue_number(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.match_indices("issue ").any(|(at, found)| {
        let before = line.get(..at).unwrap_or_default().trim_end();
        let foreign = before.rsplit(char::is_whitespace).next().is_some_and(|word| word.contains('/'));
        let after = line.get(at + found.len()..).unwrap_or_default();
        let number = after.strip_prefix('#').unwrap_or(after);
        !foreign && number.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::{has_word, issue_number};

    #[test]
    fn only_our_own_plans_are_meant() {
        assert!(issue_number("see Issue #4") && issue_number("as issue 12 says"));
        assert!(
            !issue_number("istio/istio issue 26800")
                && !issue_number("an issue that")
                && !issue_number("to issue 's certificate")
        );
        assert!(has_word("// TODO: later", "TODO") && !has_word("TODOS", "TODO"));
    }
}
