//! Label selectors as Kubernetes matches them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Whether `labels` satisfy every requirement of the selector. An empty selector matches everything; an operator that does
/// not exist matches nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let labels_match =
        selector.match_labels.iter().flatten().all(|(key, wanted)| value(key).is_some_and(|found| found == wanted));
    labels_match
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            match (requirement.operator.as_str(), value(&requirement.key)) {
                ("In", Some(found)) => values.contains(found),
                ("NotIn", found) => found.is_none_or(|found| !values.contains(found)),
                ("Exists", found) => found.is_some(),
                ("DoesNotExist", found) => found.is_none(),
                _ => false,
            }
        })
}

/// Whether it would match every object.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A Service's selector: plain equality, and an empty one selects nothing.
pub(crate) fn selects(selector: Option<&BTreeMap<String, String>>, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector.iter().all(|(key, wanted)| labels.and_then(|labels| labels.get(key)) == Some(wanted))
    })
}

#[cfg(test)]
mod tests;
