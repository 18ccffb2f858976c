//! Which object, and which line of it, from what configuration carries of where it came from.

use serde_json::Value;
use varka_pilot::Placed;

use super::answer::By;
use super::mesh::Mesh;
use crate::world::{KINDS, Kind};

/// The place of a route: `VirtualService blog-system/web http[1]`.
pub(super) fn of_origin(mesh: &Mesh, origin: &str) -> Option<By> {
    let mut words = origin.splitn(3, ' ');
    let (kind, name, path) = (words.next()?, words.next()?, words.next().unwrap_or_default());
    let path = if path.is_empty() || path.starts_with("spec") { path.to_owned() } else { format!("spec.{path}") };
    of(mesh, &Placed { object: format!("{kind} {name}"), path })
}

/// The place of a rule of an AuthorizationPolicy: `ns[blog-system]-policy[was]-rule[0]`.
pub(super) fn of_policy(mesh: &Mesh, name: &str) -> Option<By> {
    of(mesh, &policy(name)?)
}

fn policy(name: &str) -> Option<Placed> {
    let between = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(']').map(|(found, _)| found.to_owned())
    };
    let (namespace, policy) = (between(name, "ns[")?, between(name, "-policy[")?);
    let rule = between(name, "-rule[")?;
    Some(Placed { object: format!("AuthorizationPolicy {namespace}/{policy}"), path: format!("spec.rules[{rule}]") })
}

/// The line of a place, as the object's YAML is shown.
pub(super) fn of(mesh: &Mesh, placed: &Placed) -> Option<By> {
    let (kind, name) = placed.object.split_once(' ')?;
    let (kind, group) = kind.split_once('.').map_or((kind, None), |(kind, group)| (kind, Some(group)));
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let kinds = KINDS.iter().filter(|k| k.kind == kind && group.is_none_or(|group| k.group == group));
    let find = || kinds.clone().find_map(|kind| in_kind(mesh, kind, namespace, name, &placed.path));
    mesh.made.place(placed, find)
}

fn in_kind(mesh: &Mesh, kind: &Kind, namespace: &str, name: &str, path: &str) -> Option<By> {
    let field =
        |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = mesh
        .world
        .of(kind.group, kind.kind)
        .into_iter()
        .find(|o| field(o, "/metadata/namespace") == namespace && field(o, "/metadata/name") == name)?;
    let (objects, _) = varka_api::read("", &crate::world::written(&object));
    Some(By {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        kind: kind.kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        line: objects.first().map_or(0, |object| object.position.line_of(path)),
        field: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::policy;

    #[test]
    fn policies_are_named_by_their_rules() {
        let placed = policy("istio-ext-authz-ns[a]-policy[b-c]-rule[2]").unwrap();
        assert_eq!((placed.object.as_str(), placed.path.as_str()), ("AuthorizationPolicy a/b-c", "spec.rules[2]"));
        assert_eq!(policy("default-deny-all-due-to-bad-CUSTOM-action"), None);
    }
}
