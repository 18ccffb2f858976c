//! What clients of the Kubernetes API send: paths, queries, selectors, bodies, patches, schemas, and frames of port-forward.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use varka_apiserver::patch::apply::set::{Set, Step};
use varka_apiserver::patch::apply::typed;
use varka_apiserver::patch::apply::updater::{self, Kind, Managers, Versioned};
use varka_apiserver::patch::{json as ours, merge, strategic};
use varka_apiserver::requests::{Query, Selector, SpdyCodec, SpdyFrame, Target, builtin, object, target};
use varka_apiserver::schema::{StructId, Type, Types, structural};

use crate::{choice, member, pieces};

/// What is stored has to be readable again.
fn can_be_stored(value: &Value) {
    let text = value.to_string();
    let again =
        serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("what was accepted cannot be read back: {e}"));
    assert_eq!(&again, value);
}

pub(crate) fn json_patch(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (document, patch) = (member(&input, "doc"), member(&input, "patch").to_string());
    let Ok(parsed) = ours::parse(patch.as_bytes()) else { return };
    let Ok(result) = ours::apply_within(document, &parsed, 100_000) else { return };
    can_be_stored(&result);
    // Another implementation, where it takes the patch too: it knows no indexes from the end.
    let Ok(theirs) = serde_json::from_str::<::json_patch::Patch>(&patch) else { return };
    let mut other = document.clone();
    if ::json_patch::patch(&mut other, &theirs).is_ok() {
        assert!(ours::equal(&result, &other), "{result} is not {other}");
    }
}

pub(crate) fn merge_patch(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (document, patch) = (member(&input, "doc"), member(&input, "patch"));
    let result = merge::apply(document.clone(), patch);
    can_be_stored(&result);
    assert_eq!(merge::apply(result.clone(), patch), result, "applied twice it does more");
    let mut other = document.clone();
    ::json_patch::merge(&mut other, patch);
    assert!(ours::equal(&result, &other), "{result} is not {other}");
}

fn pod() -> StructId {
    builtin().find("core.v1.Pod").unwrap()
}

pub(crate) fn strategic_patch(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (document, patch) = (member(&input, "doc"), member(&input, "patch"));
    match strategic::apply(builtin(), pod(), document, patch) {
        Ok(result) => can_be_stored(&result),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // A patch that says nothing changes nothing.
    if document.is_object() {
        assert_eq!(strategic::apply(builtin(), pod(), document, &json!({})).as_ref(), Ok(document));
    }
}

struct Pods;

impl Kind for Pods {
    fn types(&self) -> &Types {
        builtin()
    }

    fn root(&self, _: &str) -> Type {
        Type::Struct(pod())
    }

    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned> {
        Some(Versioned { value: object.value.clone(), version: version.to_owned() })
    }

    fn ignored(&self, _: &str) -> Set {
        Set::default()
    }
}

fn versioned(value: &Value) -> Versioned {
    Versioned { value: value.clone(), version: "v1".to_owned() }
}

/// Two managers apply one after the other; then the first applies the same once more.
pub(crate) fn apply(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (first, second) = (member(&input, "first"), member(&input, "second"));
    if !first.is_object() || !second.is_object() {
        return;
    }
    let empty = versioned(&json!({}));
    let Ok((one, managers)) = updater::apply(&Pods, &empty, &versioned(first), Managers::new(), "one", false) else {
        return;
    };
    can_be_stored(&one.value);
    let owned = managers.get("one").map(|owned| owned.set.clone()).unwrap_or_default();
    assert_eq!(owned, typed::field_set(builtin(), &Pods.root("v1"), first), "it does not own what it named");
    let Ok((both, managers)) = updater::apply(&Pods, &one, &versioned(second), managers, "two", true) else { return };
    can_be_stored(&both.value);
    for (name, owned) in &managers {
        assert_eq!(Set::from_fields(&owned.set.to_fields()), owned.set, "what {name} owns is not read back");
    }
    let again = updater::apply(&Pods, &both, &versioned(second), managers.clone(), "two", false);
    let (same, same_managers) = again.unwrap_or_else(|e| panic!("applied again it is refused: {e}"));
    assert_eq!((same.value, same_managers), (both.value, managers), "applied again it does more");
}

pub(crate) fn field_set(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (a, b) = (Set::from_fields(member(&input, "a")), Set::from_fields(member(&input, "b")));
    for set in [&a, &b] {
        assert_eq!(&Set::from_fields(&set.to_fields()), set);
        for step in set.paths().into_iter().flatten() {
            assert_eq!(Step::parse(&step.to_text()), Some(step));
        }
    }
    let paths = |set: &Set| set.paths().into_iter().collect::<BTreeSet<Vec<Step>>>();
    let (in_a, in_b) = (paths(&a), paths(&b));
    assert_eq!(paths(&a.union(&b)), &in_a | &in_b);
    assert_eq!(paths(&a.intersection(&b)), &in_a & &in_b);
    assert_eq!(paths(&a.difference(&b)), &in_a - &in_b);
    let below = |path: &Vec<Step>| in_b.iter().any(|other| path.starts_with(other));
    assert_eq!(paths(&a.without_trees(&b)), in_a.iter().filter(|p| !below(p)).cloned().collect());
}

/// First line of labels, second of fields.
pub(crate) fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (labels, fields) = text.split_once('\n').unwrap_or((text, ""));
    let objects = [
        json!({}),
        json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "x", "a": ""}}, "spec": {"paused": true}}),
        json!({"metadata": {"name": "b", "labels": {"app": "was", "b/c": "1"}}}),
    ];
    if let Ok(selector) = Selector::parse(labels, fields) {
        for object in &objects {
            let _ = selector.matches(object);
        }
        assert!(!selector.is_empty() || objects.iter().all(|object| selector.matches(object)));
    }
    // As text, which is what a Scale's status has, it selects the same.
    let Ok(selector) = Selector::parse(labels, "") else { return };
    let printed = selector.to_text();
    let again = Selector::parse(&printed, "").unwrap_or_else(|e| panic!("{labels:?} is printed as {printed:?}: {e}"));
    assert_eq!(again.to_text(), printed, "{labels:?}");
    for object in &objects {
        assert_eq!(again.matches(object), selector.matches(object), "{labels:?} as {printed:?}");
    }
}

pub(crate) fn rest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Target::Objects(named) = target(path) {
        assert!(!named.plural.is_empty());
        // Written out again, it names the same.
        let parts = [&named.plural, &named.name, &named.subresource];
        let rest: String = parts.into_iter().filter(|p| !p.is_empty()).map(|p| format!("/{}", encode(p))).collect();
        let group = if named.group.is_empty() { "api".to_owned() } else { format!("apis/{}", encode(&named.group)) };
        let namespace = if named.namespace.is_empty() {
            String::new()
        } else {
            format!("/namespaces/{}", encode(&named.namespace))
        };
        let printed = format!("/{group}/{}{namespace}{rest}", encode(&named.version));
        assert_eq!(target(&printed), Target::Objects(named), "{path:?} as {printed:?}");
    }
    let parsed = Query::parse(query);
    for name in ["labelSelector", "command", "limit", "watch"] {
        let all: Vec<&str> = parsed.all(name).collect();
        assert_eq!(parsed.get(name), all.first().copied().unwrap_or_default());
        let printed: Vec<String> = all.iter().map(|value| format!("{name}={}", encode(value))).collect();
        assert_eq!(Query::parse(&printed.join("&")).all(name).collect::<Vec<_>>(), all);
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) fn body(data: &[u8]) {
    let (first, body) = choice(data);
    let media_type = match first % 3 {
        0 => "application/json",
        1 => "application/yaml",
        _ => "application/vnd.kubernetes.protobuf",
    };
    let kind = match first / 3 % 4 {
        0 => "core.v1.Pod",
        1 => "core.v1.ConfigMap",
        2 => "apps.v1.Deployment",
        _ => "core.v1.Event",
    };
    match object(media_type, kind, body) {
        Ok((value, mistyped)) => {
            can_be_stored(&value);
            // Protobuf has types: what it holds fits them.
            assert!(first % 3 != 2 || mistyped.is_empty(), "{mistyped:?}");
        }
        Err(message) => assert!(!message.is_empty()),
    }
}

pub(crate) fn custom_schema(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let (schema, mut value) = (member(&input, "schema"), member(&input, "object").clone());
    structural::prune(schema, &mut value);
    let pruned = value.clone();
    assert_eq!(structural::prune(schema, &mut value), Vec::<String>::new(), "pruned twice it loses more");
    assert_eq!(value, pruned);
    structural::fill_defaults(schema, &mut value);
    for error in structural::validate(schema, &value) {
        assert!(!error.field.is_empty() || value.is_object() || schema.is_object());
    }
}

pub(crate) fn printer_column(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    let object = member(&input, "object");
    let Some(path) = member(&input, "path").as_str() else { return };
    if let Some(found) = varka_apiserver::requests::printer_column(object, path) {
        assert!(!found.is_null());
        assert!(found.to_string().len() <= (path.len() + 4) * (object.to_string().len() + 4) * 8);
    }
}

pub(crate) fn port_forward(data: &[u8]) {
    let (first, data) = choice(data);
    let read = |sizes: [usize; 3]| {
        let Ok(mut codec) = SpdyCodec::new() else { panic!("no codec") };
        let mut frames = Vec::new();
        for piece in pieces(data, sizes) {
            codec.feed(piece);
            loop {
                match codec.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error.to_string())),
                }
            }
        }
        (frames, None)
    };
    let whole = read([usize::MAX; 3]);
    assert_eq!(read([1 + usize::from(first & 15), 1 + usize::from(first >> 4), 7]), whole, "in pieces");
    for frame in &whole.0 {
        match frame {
            SpdyFrame::SynStream { headers, .. } => {
                let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                // Bytes that are no text each become one of three bytes.
                assert!(size <= 3 * 64 * 1024, "{size} bytes of headers");
            }
            SpdyFrame::Data { data: bytes, .. } => assert!(bytes.len() <= data.len()),
            _ => {}
        }
    }
}
