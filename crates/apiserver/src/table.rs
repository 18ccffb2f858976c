//! Tables for people: the rows and cells that `kubectl get` prints. Columns are Kubernetes' own for built-in kinds, the definition's
//! printer columns for custom ones.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::{self, at, str_at};
use crate::registry::{PrinterColumn, Resource};
use crate::verbs::render::View;

mod cells;
pub(crate) mod path;

/// A column's title, type and priority; those of priority 1 show with `-o wide`.
struct Column<'a> {
    name: &'a str,
    ty: &'a str,
    priority: i64,
}

impl Column<'_> {
    fn to_value(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({"name": self.name, "type": self.ty, "format": format, "description": "", "priority": self.priority})
    }
}

/// The table of some objects. `titled`: with column definitions, which a watch sends once.
pub(crate) fn table(resource: &Resource, view: &View, objects: &[&Value], version: u64, titled: bool) -> Value {
    let now = Timestamp::now();
    let custom = resource.version(&view.version).map(|v| v.columns.as_slice()).unwrap_or_default();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = if resource.is_custom() {
                custom_cells(custom, object, now)
            } else {
                cells::cells(&resource.key, object, now)
            };
            let mut row = json!({"cells": cells});
            if let Some(inner) = view.row_object(resource, object) {
                object::set(&mut row, "object", inner);
            }
            row
        })
        .collect();
    let columns = if titled { definitions(resource, custom) } else { Value::Null };
    let metadata = if version == 0 { json!({}) } else { json!({"resourceVersion": version.to_string()}) };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

/// The table of a Scale.
pub(crate) fn scale(scale: &Value) -> Value {
    let columns = [("Name", "string"), ("Desired", "integer"), ("Available", "integer"), ("Age", "string")];
    let columns = columns.map(|(name, ty)| Column { name, ty, priority: 0 });
    let cells = json!([
        object::name(scale),
        number(scale, &["spec", "replicas"]),
        number(scale, &["status", "replicas"]),
        age(scale, Timestamp::now()),
    ]);
    let row = json!({"cells": cells, "object": crate::verbs::render::partial(scale)});
    let columns: Value = columns.iter().map(Column::to_value).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": [row]})
}

fn definitions(resource: &Resource, custom: &[PrinterColumn]) -> Value {
    let name = Column { name: "Name", ty: "string", priority: 0 };
    let columns: Vec<Column<'_>> = if !resource.is_custom() {
        cells::titles(&resource.key).map(|(name, priority)| Column { name, ty: "string", priority }).collect()
    } else if custom.is_empty() {
        vec![name, Column { name: "Age", ty: "date", priority: 0 }]
    } else {
        let rest = custom.iter().map(|c| Column { name: &c.name, ty: &c.ty, priority: c.priority });
        std::iter::once(name).chain(rest).collect()
    };
    columns.iter().map(Column::to_value).collect()
}

fn custom_cells(columns: &[PrinterColumn], object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![json!(object::name(object))];
    if columns.is_empty() {
        cells.push(json!(age(object, now)));
    }
    for column in columns {
        let found = path::find(object, &column.path);
        cells.push(match (column.ty.as_str(), found) {
            (_, None) => Value::Null,
            ("date", Some(value)) => json!(since(value.as_str().unwrap_or_default(), now)),
            ("string", Some(value)) => json!(text(&value)),
            (_, Some(value)) => value,
        });
    }
    cells
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How long ago an object was created.
pub(super) fn age(object: &Value, now: Timestamp) -> String {
    since(str_at(object, &["metadata", "creationTimestamp"]), now)
}

/// How long ago a time was, as kubectl writes it.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>()
        .map_or_else(|_| "<unknown>".to_owned(), |then| duration(now.as_second() - then.as_second()))
}

/// A number of seconds in at most two units, rougher the longer it is: `59s`, `3m7s`, `17m`, `5h3m`, `2d4h`, `90d`, `2y30d`.
pub(super) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |large: i64, large_name: &str, small: i64, small_name: &str| {
        let (a, b) = (seconds / large, seconds % large / small);
        if b == 0 { format!("{a}{large_name}") } else { format!("{a}{large_name}{b}{small_name}") }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, "d", HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// The number at a path, 0 if there is none.
pub(super) fn number(object: &Value, path: &[&str]) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_as_kubectl_does() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (187, "3m7s"),
            (180, "3m"),
            (1020, "17m"),
            (18180, "5h3m"),
            (187_200, "2d4h"),
            (7_776_000, "90d"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn every_builtin_row_fits_its_titles() {
        for resource in crate::registry::Registry::new(std::iter::empty()).groups().flat_map(|(_, rows)| rows) {
            let cells = cells::cells(&resource.key, &json!({"metadata": {"name": "a"}}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), cells::titles(&resource.key).count(), "{}", resource.key);
        }
    }
}
