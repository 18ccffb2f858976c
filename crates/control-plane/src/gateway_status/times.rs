//! `lastTransitionTime` of conditions: when a condition last became true or false, as the status that is there says.

use serde_json::{Map, Value};

/// Gives every condition in `wanted` its time.
pub(super) fn fill(wanted: &mut Value, current: &Value, now: &str) {
    let Some(wanted) = wanted.as_object_mut() else { return };
    for (list, keys) in [
        ("listeners", &["name"][..]),
        ("parents", &["parentRef", "controllerName"]),
        ("ancestors", &["ancestorRef", "controllerName"]),
    ] {
        let known = current.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for entry in wanted.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let same = |other: &&Value| keys.iter().all(|key| other.get(key) == entry.get(key));
            let before = known.iter().find(same).cloned().unwrap_or_default();
            if let Some(entry) = entry.as_object_mut() {
                conditions(entry, &before, now);
            }
        }
    }
    conditions(wanted, current, now);
}

fn conditions(wanted: &mut Map<String, Value>, current: &Value, now: &str) {
    let known = current.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for condition in wanted.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(condition) = condition.as_object_mut().filter(|c| !c.contains_key("lastTransitionTime")) else {
            continue;
        };
        let same = |key: &str, other: &Value| other.get(key) == condition.get(key);
        let before = known.iter().find(|other| same("type", other) && same("status", other));
        let time = before.and_then(|c| c.get("lastTransitionTime").cloned()).unwrap_or_else(|| now.into());
        condition.insert("lastTransitionTime".to_owned(), time);
    }
}

/// Whether a status already has everything that is wanted.
pub(super) fn says(current: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| current.get(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(accepted: &str, message: &str) -> Value {
        let condition = json!({"type": "Accepted", "status": accepted, "reason": "r", "message": message});
        json!({"conditions": [condition], "listeners": [{"name": "a", "conditions": [condition]}]})
    }

    #[test]
    fn a_time_changes_with_the_condition_only() {
        let mut first = status("True", "x");
        fill(&mut first, &Value::Null, "t1");
        assert_eq!(first["listeners"][0]["conditions"][0]["lastTransitionTime"], "t1");
        let mut same = status("True", "x");
        fill(&mut same, &first, "t2");
        assert!(says(&first, &same));
        let mut told_otherwise = status("True", "y");
        fill(&mut told_otherwise, &first, "t2");
        assert!(!says(&first, &told_otherwise));
        assert_eq!(told_otherwise["conditions"][0]["lastTransitionTime"], "t1");
        let mut turned = status("False", "x");
        fill(&mut turned, &first, "t2");
        assert_eq!(turned["conditions"][0]["lastTransitionTime"], "t2");
        assert_eq!(turned["listeners"][0]["conditions"][0]["lastTransitionTime"], "t2");
    }

    #[test]
    fn times_belong_to_a_parent_and_a_controller() {
        let parent = |controller: &str, time: Option<&str>| {
            let mut condition = json!({"type": "Accepted", "status": "True"});
            if let Some(time) = time {
                condition["lastTransitionTime"] = time.into();
            }
            json!({"parentRef": {"name": "g"}, "controllerName": controller, "conditions": [condition]})
        };
        let current = json!({"parents": [parent("other", Some("t0")), parent("own", Some("t1"))]});
        let mut wanted = json!({"parents": [parent("other", Some("t0")), parent("own", None)]});
        fill(&mut wanted, &current, "t2");
        assert!(says(&current, &wanted));
    }
}
