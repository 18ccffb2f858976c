//! Which spans somebody is shown: those of namespaces that they see. Of others of a trace is said how many there are.
//!
//! A span of a proxy says in its `node_id` whose it is. Another's is of the namespace that its resource names, or of its service's name
//! (`was.blog-system`, as proxies call theirs); where neither says, only who sees everything is shown it.

use varka_proto::otlp::{KeyValue, Value};

use crate::access::sight::Sight;
use crate::requests::node;
use crate::store::spans::Found;

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?;
    match &found.value {
        Some(Value::StringValue(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The namespace of a service, by its name.
fn of_service(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, namespace)| namespace)
}

/// Whether the spans of a service of this name are seen.
pub(super) fn sees_service(sight: &Sight, name: &str) -> bool {
    sight.is_all() || of_service(name).is_some_and(|namespace| sight.sees(namespace))
}

fn sees(sight: &Sight, found: &Found) -> bool {
    if let Some(id) = text(&found.span.attributes, "node_id") {
        return node(id).is_some_and(|(namespace, _, _)| sight.sees(&namespace));
    }
    let said = text(&found.resource.attributes, "k8s.namespace.name");
    said.map(str::to_owned)
        .or_else(|| of_service(&found.service()).map(str::to_owned))
        .is_some_and(|of| sight.sees(&of))
}

/// The spans that are seen, and how many are not.
pub(super) fn of_trace(sight: &Sight, spans: Vec<Found>) -> (Vec<Found>, usize) {
    if sight.is_all() {
        return (spans, 0);
    }
    let all = spans.len();
    let seen: Vec<Found> = spans.into_iter().filter(|found| sees(sight, found)).collect();
    let hidden = all - seen.len();
    (seen, hidden)
}
