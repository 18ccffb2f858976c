//! From a CustomResourceDefinition to a row, and what the server writes into the definition: defaults, accepted names, conditions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{self, at, list_at, str_at};
use crate::status::FieldError;

use super::{PrinterColumn, Resource, Scale, Version};

/// The row of a definition. `None` if it lacks what a row needs, which validation has refused before.
pub(crate) fn resource(definition: &Value) -> Option<Resource> {
    let spec = definition.get("spec")?;
    let group = str_at(spec, &["group"]).to_owned();
    let plural = str_at(spec, &["names", "plural"]).to_owned();
    let kind = str_at(spec, &["names", "kind"]).to_owned();
    let mut versions: Vec<Version> = list_at(spec, &["versions"]).iter().map(version).collect();
    versions.sort_by_key(|v| std::cmp::Reverse(priority(&v.name)));
    let stored = list_at(spec, &["versions"]).iter().find(|v| v.get("storage") == Some(&Value::Bool(true)))?;
    let strings = |path: &[&str]| list_at(spec, path).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let or =
        |path: &[&str], other: String| Some(str_at(spec, path)).filter(|s| !s.is_empty()).map_or(other, str::to_owned);
    Some(Resource {
        key: format!("{plural}.{group}").into(),
        stored_as: super::group_version(&group, str_at(stored, &["name"])),
        singular: or(&["names", "singular"], kind.to_lowercase()),
        list_kind: or(&["names", "listKind"], format!("{kind}List")),
        namespaced: str_at(spec, &["scope"]) == "Namespaced",
        short_names: strings(&["names", "shortNames"]),
        categories: strings(&["names", "categories"]),
        group,
        versions,
        plural,
        kind,
        fields: None,
        generation: true,
        extra: &[],
        inert: false,
        renamed_event: false,
    })
}

fn version(version: &Value) -> Version {
    let path = |path: &str| -> Vec<String> { path.split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect() };
    let scale = at(version, &["subresources", "scale"]).map(|scale| Scale {
        spec: path(str_at(scale, &["specReplicasPath"])),
        status: path(str_at(scale, &["statusReplicasPath"])),
        selector: scale.get("labelSelectorPath").and_then(Value::as_str).map(path),
    });
    let deprecated = version.get("deprecated") == Some(&Value::Bool(true));
    let schema = at(version, &["schema", "openAPIV3Schema"]);
    Version {
        name: str_at(version, &["name"]).to_owned(),
        served: version.get("served") == Some(&Value::Bool(true)),
        deprecation: deprecated.then(|| str_at(version, &["deprecationWarning"]).to_owned()),
        status: at(version, &["subresources", "status"]).is_some(),
        scale,
        rules: schema.is_some_and(has_rules),
        schema: schema.cloned().map(Arc::new),
        columns: list_at(version, &["additionalPrinterColumns"]).iter().map(column).collect(),
    }
}

fn column(column: &Value) -> PrinterColumn {
    PrinterColumn {
        name: str_at(column, &["name"]).to_owned(),
        ty: str_at(column, &["type"]).to_owned(),
        path: str_at(column, &["jsonPath"]).to_owned(),
        priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
    }
}

/// How much a version name is preferred: stable before beta before alpha, then higher numbers.
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority>
pub(crate) fn priority(version: &str) -> (u8, u32, u32) {
    let parse = || -> Option<(u8, u32, u32)> {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = rest.split_at_checked(end)?;
        let major = major.parse().ok()?;
        if rest.is_empty() {
            return Some((3, major, 0));
        }
        let (rank, minor) =
            rest.strip_prefix("beta").map(|m| (2, m)).or_else(|| rest.strip_prefix("alpha").map(|m| (1, m)))?;
        Some((rank, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

/// Fills in names that follow from others, and the status of a definition that is served at once.
pub(crate) fn establish(definition: &mut Value) {
    let kind = str_at(definition, &["spec", "names", "kind"]).to_owned();
    if let Some(names) = object::map_at(definition, &["spec", "names"]) {
        object::default(names, "singular", kind.to_lowercase());
        object::default(names, "listKind", format!("{kind}List"));
    }
    if let Some(spec) = object::map_at(definition, &["spec"]) {
        object::default(spec, "conversion", json!({"strategy": "None"}));
    }
    let names = at(definition, &["spec", "names"]).cloned().unwrap_or_default();
    let mut stored: Vec<Value> = list_at(definition, &["status", "storedVersions"]).to_vec();
    for version in list_at(definition, &["spec", "versions"]) {
        let name = version.get("name").cloned().unwrap_or_default();
        if version.get("storage") == Some(&Value::Bool(true)) && !stored.contains(&name) {
            stored.push(name);
        }
    }
    let since =
        list_at(definition, &["status", "conditions"]).first().map(|c| str_at(c, &["lastTransitionTime"]).to_owned());
    let since = since.filter(|s| !s.is_empty()).unwrap_or_else(object::now);
    let condition = |ty: &str, reason: &str, message: &str| json!({"type": ty, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    let status = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": names,
        "storedVersions": stored,
    });
    object::set(definition, "status", status);
}

/// The rules for definitions that a row depends on.
pub(crate) fn validate(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let (group, plural) = (str_at(spec, &["group"]), str_at(spec, &["names", "plural"]));
    for path in [&["group"][..], &["names", "plural"], &["names", "kind"], &["scope"]] {
        if str_at(spec, path).is_empty() {
            errors.push(FieldError::required(format!("spec.{}", path.join(".")), ""));
        }
    }
    let name = object::name(definition);
    if name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    if !matches!(str_at(spec, &["scope"]), "Namespaced" | "Cluster" | "") {
        errors.push(FieldError::not_supported("spec.scope", str_at(spec, &["scope"]), &["Cluster", "Namespaced"]));
    }
    let versions = list_at(spec, &["versions"]);
    let stored = versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))).count();
    if stored != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            Value::Null,
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        if at(version, &["schema", "openAPIV3Schema"]).is_none() {
            errors.push(FieldError::required(
                format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
    if str_at(spec, &["conversion", "strategy"]) == "Webhook" {
        errors.push(FieldError::not_supported("spec.conversion.strategy", "Webhook", &["None"]));
    }
    if group.ends_with(".k8s.io")
        && !group.contains("networking.k8s.io")
        && !group.starts_with("gateway.")
        && builtin_group(group)
    {
        errors.push(FieldError::invalid("spec.group", group, "the group is served by the server itself"));
    }
    errors
}

/// Whether a schema has CEL rules, at any depth.
fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(name, inner)| match name.as_str() {
            "x-kubernetes-validations" => inner.as_array().is_some_and(|rules| !rules.is_empty()),
            // Values, not schemas.
            "default" | "enum" | "example" => false,
            _ => has_rules(inner),
        }),
        Value::Array(list) => list.iter().any(has_rules),
        _ => false,
    }
}

/// A warning for each version of a definition whose CEL rules are stored and not evaluated.
pub(crate) fn rules(definition: &Value) -> Vec<String> {
    let group = str_at(definition, &["spec", "group"]);
    let versions = list_at(definition, &["spec", "versions"]).iter();
    let with_rules = versions.filter(|v| at(v, &["schema", "openAPIV3Schema"]).is_some_and(has_rules));
    let effect = if group.ends_with(".istio.io") {
        "the product's own rules of this kind hold instead"
    } else {
        "objects that they would refuse are accepted"
    };
    with_rules
        .map(|v| {
            let name = str_at(v, &["name"]);
            format!("spec.versions ({name}): x-kubernetes-validations are stored and not evaluated: {effect}")
        })
        .collect()
}

fn builtin_group(group: &str) -> bool {
    super::builtin::resources().iter().any(|r| r.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_documented() {
        let mut names =
            vec!["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let expected = names.clone();
        names.sort_by_key(|v| std::cmp::Reverse(priority(v)));
        assert_eq!(names, expected);
    }

    #[test]
    fn rules_that_nobody_evaluates_are_told() {
        let definition = |group: &str, field: Value| {
            let schema =
                json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": field}}}});
            json!({"spec": {"group": group, "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}})
        };
        let ruled = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}]});
        let found = rules(&definition("example.com", ruled.clone()));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("spec.versions (v1)") && found[0].contains("not evaluated"), "{found:?}");
        assert!(rules(&definition("security.istio.io", ruled))[0].contains("the product's own rules"));
        let named = json!({"type": "object", "default": {"x-kubernetes-validations": [1]}});
        assert_eq!(rules(&definition("example.com", named)), [""; 0]);
    }
}
