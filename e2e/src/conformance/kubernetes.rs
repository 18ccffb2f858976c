//! Patches as Kubernetes applies them: JSON patch and JSON merge patch.

use serde_json::Value;
use varka_apiserver::patch::{json, merge};

use super::{Report, cases, text};

/// RFC 6902 with the extensions of the implementation that Kubernetes uses.
pub(super) fn json_patch(table: &Value, _: &std::path::Path, report: &mut Report) {
    for case in cases(table) {
        report.count(text(case, "id"), json_patch_case(case));
    }
}

fn json_patch_case(case: &Value) -> Result<(), String> {
    if text(case, "group") == "equal" {
        return equal(case);
    }
    let document = document(case);
    let patch = match case.get("patchText").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => case.get("patch").cloned().unwrap_or_default().to_string(),
    };
    let result = document.and_then(|d| {
        let patch = json::parse(patch.as_bytes()).map_err(|e| e.to_string())?;
        json::apply(&d, &patch).map(|r| (d, r)).map_err(|e| e.to_string())
    });
    match (text(case, "group"), result) {
        ("error", Err(_)) => Ok(()),
        ("error", Ok((_, result))) => Err(format!("gave {result} instead of an error")),
        ("test-op", result) => {
            let passes = case.get("passes").and_then(Value::as_bool).unwrap_or_default();
            if result.is_ok() == passes {
                Ok(())
            } else {
                Err(format!("passes: {} instead of {passes}", result.is_ok()))
            }
        }
        ("mutates", Ok((before, after))) => {
            if json::equal(&before, &after) {
                Err("changes nothing".to_owned())
            } else {
                Ok(())
            }
        }
        ("key-order", Ok((_, after))) => same(&after.to_string(), text(case, "expectedText")),
        (_, Ok((_, after))) => {
            let want = case.get("expected").cloned().unwrap_or_default();
            if json::equal(&after, &want) { Ok(()) } else { Err(format!("gave {after} instead of {want}")) }
        }
        (_, Err(e)) => Err(e),
    }
}

fn document(case: &Value) -> Result<Value, String> {
    match (case.get("doc"), case.get("docText").and_then(Value::as_str)) {
        (Some(document), _) => Ok(document.clone()),
        (None, Some(text)) => serde_json::from_str(text).map_err(|e| e.to_string()),
        (None, None) => Ok(Value::Null),
    }
}

/// Equality of two texts as JSON; a text that is no JSON equals nothing.
fn equal(case: &Value) -> Result<(), String> {
    let parse = |key| serde_json::from_str::<Value>(text(case, key));
    let got = matches!((parse("a"), parse("b")), (Ok(a), Ok(b)) if json::equal(&a, &b) && json::equal(&b, &a));
    let want = case.get("equal").and_then(Value::as_bool).unwrap_or_default();
    if got == want { Ok(()) } else { Err(format!("{got} instead of {want}")) }
}

fn same(got: &str, want: &str) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{got} instead of {want}")) }
}

/// RFC 7396.
pub(super) fn json_merge_patch(table: &Value, _: &std::path::Path, report: &mut Report) {
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
        "create" => given("original").and_then(|original| Ok(merge::create(&original, &given("modified")?))),
        "combine" => given("patch1").and_then(|first| Ok(merge::combine(&first, &given("patch2")?))),
        _ => given("target").and_then(|target| Ok(merge::apply(target, &given("patch")?))),
    };
    match (text(case, "operation"), result) {
        ("apply-error", Err(_)) => Ok(()),
        ("apply-error", Ok(result)) => Err(format!("gave {result} instead of an error")),
        (_, Ok(result)) => {
            let want = given("expected")?;
            if json::equal(&result, &want) { Ok(()) } else { Err(format!("gave {result} instead of {want}")) }
        }
        (_, Err(e)) => Err(e),
    }
}
