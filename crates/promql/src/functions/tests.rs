use super::*;

#[test]
fn each_function_is_found_by_its_name() {
    assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name), "binary search needs the order of names");
    for function in &FUNCTIONS {
        assert_eq!(find(function.name), Some(function));
    }
    assert_eq!(find("no_such_function"), None);
}

/// The names in the document's list of functions: what stands in backticks in its table rows.
fn documented() -> Vec<&'static str> {
    let document = include_str!("../../../../docs/PROMQL.md");
    let section = document.split("\n## ").find(|section| section.starts_with("Functions")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_document_lists_the_functions_that_there_are() {
    let mut listed = documented();
    listed.sort_unstable();
    let known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    assert_eq!(listed, known);
}
