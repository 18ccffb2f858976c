//! JSON patch (RFC 6902) and JSON merge patch (RFC 7396).

use serde_json::Value;
use varka_apiserver::patch::{self, json, merge};

use super::super::{Report, cases, text};
use super::same;

/// RFC 6902 with the extensions of the implementation that Kubernetes uses.
pub(crate) fn json_patch(table: &Value, _: &std::path::Path, report: &mut Report) {
    for case in cases(table) {
        let id = text(case, "id");
        if case.get("docText").and_then(Value::as_str) == Some("") {
            report.skip(id, "an empty text in place of a document: the functions take values");
            continue;
        }
        let result = patched(case);
        // An option of the library makes it accept what the RFC refuses; without it the patch must be refused.
        if case.get("options").is_some() && result.is_err() {
            report.skip(id, "allowMissingPathOnRemove and ensurePathExistsOnAdd, which Kubernetes does not set");
            continue;
        }
        report.count(id, judge(case, result));
    }
}

/// What the case's patch makes of its document.
fn patched(case: &Value) -> Result<Value, String> {
    let document = match case.get("docText").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).map_err(|e| e.to_string())?,
        None => case.get("doc").cloned().unwrap_or_default(),
    };
    let patch = match case.get("patchText").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => case.get("patch").cloned().unwrap_or_default().to_string(),
    };
    let patch = json::parse(patch.as_bytes()).map_err(|e| e.to_string())?;
    match case.get("accumulatedCopySizeLimit").and_then(Value::as_u64) {
        Some(limit) => json::apply_within(&document, &patch, usize::try_from(limit).unwrap_or(usize::MAX)),
        None => json::apply(&document, &patch),
    }
    .map_err(|e| e.to_string())
}

fn judge(case: &Value, result: Result<Value, String>) -> Result<(), String> {
    match (text(case, "group"), result) {
        ("equal", _) => equal(case),
        ("error", Err(_)) => Ok(()),
        ("error", Ok(result)) => Err(format!("gave {result} instead of an error")),
        ("test-op", result) => {
            let passes = case.get("passes").and_then(Value::as_bool).unwrap_or_default();
            if result.is_ok() == passes {
                Ok(())
            } else {
                Err(format!("passes: {} instead of {passes}", result.is_ok()))
            }
        }
        ("mutates", Ok(after)) => {
            let changes = case.get("doc").is_none_or(|before| !json::equal(before, &after));
            if changes { Ok(()) } else { Err("changes nothing".to_owned()) }
        }
        ("key-order", Ok(after)) => {
            let (want, got) = (text(case, "expectedText"), after.to_string());
            if got == want { Ok(()) } else { Err(format!("gave {got} instead of {want}")) }
        }
        (_, Ok(after)) => same(&case.get("expected").cloned().unwrap_or_default(), &after),
        (_, Err(e)) => Err(e),
    }
}

/// Equality of two texts as JSON; a text that is no JSON equals nothing.
fn equal(case: &Value) -> Result<(), String> {
    let parse = |key| serde_json::from_str::<Value>(text(case, key));
    let got = matches!((parse("a"), parse("b")), (Ok(a), Ok(b)) if json::equal(&a, &b) && json::equal(&b, &a));
    let want = case.get("equal").and_then(Value::as_bool).unwrap_or_default();
    if got == want { Ok(()) } else { Err(format!("{got} instead of {want}")) }
}

/// RFC 7396.
pub(crate) fn json_merge_patch(table: &Value, _: &std::path::Path, report: &mut Report) {
    for case in cases(table) {
        report.count(text(case, "id"), merge_case(case));
    }
}

fn merge_case(case: &Value) -> Result<(), String> {
    let given = |key: &str| -> Result<Value, String> {
        match case.get(format!("{key}Text")).and_then(Value::as_str) {
            Some(text) => serde_json::from_str(text).map_err(|e| e.to_string()),
            None => Ok(case.get(key).cloned().unwrap_or_default()),
        }
    };
    let result = match text(case, "operation") {
        "create" => merge::create(&given("original")?, &given("modified")?),
        "combine" => merge::combine(&given("patch1")?, &given("patch2")?),
        "apply-error" => return refused(case),
        _ => merge::apply(given("target")?, &given("patch")?),
    };
    same(&given("expected")?, &result)
}

/// What must not be taken for a patch, or for a document, when it comes in a request.
fn refused(case: &Value) -> Result<(), String> {
    let body = |key: &str| match case.get(format!("{key}Text")).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => case.get(key).cloned().unwrap_or_default().to_string(),
    };
    let read = |key: &str| patch::read(body(key).as_bytes());
    match (read("target"), read("patch")) {
        (Ok(target), Ok(patch)) => Err(format!("gave {} instead of an error", merge::apply(target, &patch))),
        _ => Ok(()),
    }
}
