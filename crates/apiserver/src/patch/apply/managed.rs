//! Owners in the form of `metadata.managedFields`.
//!
//! A manager is known by its name, the operation, the subresource, and for updates the version; [`key`] is the text of these. Entries that do not
//! change keep their time. Of managers by update, only the latest are kept apart.

use serde_json::{Value, json};

use crate::object::{self, list_at, str_at};

use super::set::Set;
use super::updater::{Managers, Owned};

/// Most managers by update of one object, as kube-apiserver's.
const MAX_UPDATERS: usize = 10;
/// The manager of what the oldest of more than that did.
const ANCIENT: &str = "ancient-changes";

/// The text that names a manager among others: name, operation, version, subresource.
pub(super) fn key(name: &str, applied: bool, version: &str, subresource: &str) -> String {
    let (operation, version) = if applied { ("Apply", "") } else { ("Update", version) };
    json!([name, operation, version, subresource]).to_string()
}

fn parts(key: &str) -> [String; 4] {
    serde_json::from_str(key).unwrap_or_default()
}

/// The manager as messages to people have it.
pub(super) fn describe(key: &str) -> String {
    let [name, operation, version, subresource] = parts(key);
    let mut out = json!(name).to_string();
    if !subresource.is_empty() {
        out.push_str(&format!(" with subresource {}", json!(subresource)));
    }
    if operation == "Update" {
        out.push_str(&format!(" using {version}"));
    }
    out
}

/// Whether a client's entries mean that nobody shall own anything.
pub(super) fn is_given_up(entries: &[Value]) -> bool {
    let hollow = |entry: &Value| entry.as_object().is_some_and(serde_json::Map::is_empty);
    match entries {
        [] => true,
        [one] => hollow(one),
        _ => false,
    }
}

/// The owners that an object records.
pub(super) fn read(object: &Value) -> Managers {
    entries(object).map(|(key, owned, _)| (key, owned)).collect()
}

/// Each entry: the manager's key, what it owns, and since when.
fn entries(object: &Value) -> impl Iterator<Item = (String, Owned, &str)> {
    list_at(object, &["metadata", "managedFields"]).iter().filter_map(|entry| {
        let applied = match str_at(entry, &["operation"]) {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let version = str_at(entry, &["apiVersion"]).to_owned();
        let name = key(str_at(entry, &["manager"]), applied, &version, str_at(entry, &["subresource"]));
        let set = Set::from_fields(entry.get("fieldsV1").unwrap_or(&Value::Null));
        Some((name, Owned { version, applied, set }, str_at(entry, &["time"])))
    })
}

/// Records owners. An entry that is the same in one of the objects keeps the time that it has there.
pub(super) fn write(object: &mut Value, known: &[&Value], managers: &Managers) {
    let known: Vec<(String, Owned, &str)> = known.iter().flat_map(|object| entries(object)).collect();
    let now = object::now();
    let mut records: Vec<Record> = managers
        .iter()
        .map(|(key, owned)| {
            let same = known.iter().find(|(k, o, time)| k == key && o == owned && !time.is_empty());
            let time = same.map_or_else(|| now.clone(), |(.., time)| (*time).to_owned());
            Record { parts: parts(key), owned: owned.clone(), time }
        })
        .collect();
    records.sort_by(|a, b| a.order().cmp(&b.order()));
    merge_oldest(&mut records);
    let entries: Vec<Value> = records.iter().map(Record::to_value).collect();
    object::set_metadata(object, "managedFields", (!entries.is_empty()).then(|| json!(entries)));
}

/// One entry.
struct Record {
    parts: [String; 4],
    owned: Owned,
    time: String,
}

impl Record {
    /// Managers by apply first, then by time, as Kubernetes sorts them.
    fn order(&self) -> (&str, &str, &str, &str, &str) {
        let [name, operation, _, subresource] = &self.parts;
        (operation, &self.time, name, &self.owned.version, subresource)
    }

    fn to_value(&self) -> Value {
        let [name, operation, _, subresource] = &self.parts;
        let mut entry = json!({
            "manager": name, "operation": operation, "apiVersion": self.owned.version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.owned.set.to_fields(),
        });
        if !subresource.is_empty() {
            object::set(&mut entry, "subresource", json!(subresource));
        }
        entry
    }
}

/// Merges the oldest managers by update of one version until few enough are left.
fn merge_oldest(records: &mut Vec<Record>) {
    loop {
        let updaters: Vec<usize> =
            (0..records.len()).filter(|i| records.get(*i).is_some_and(|r| !r.owned.applied)).collect();
        if updaters.len() <= MAX_UPDATERS {
            return;
        }
        let version = |i: &usize| records.get(*i).map(|r| r.owned.version.as_str());
        let pair = updaters.iter().enumerate().find_map(|(nth, second)| {
            let first = updaters.get(..nth)?.iter().find(|first| version(first) == version(second))?;
            Some((*first, *second))
        });
        let Some((first, second)) = pair else { return };
        let merged = records.remove(second);
        let Some(record) = records.get_mut(first) else { return };
        record.owned.set = record.owned.set.union(&merged.owned.set);
        record.time = merged.time;
        record.parts = parts(&key(ANCIENT, false, &record.owned.version, ""));
    }
}

#[cfg(test)]
mod tests;
