//! Who a proxy says it is, as JSON-like data and as Envoy's message.

use serde_json::{Map, Number, Value as Json};
use varka_engine::ir::Locality;
use varka_proto::envoy::core;
use varka_proto::protobuf::{ListValue, Struct, Value, value::Kind};

/// `envoy.config.core.v3.Node`. What it says proves nothing: who a proxy is, its certificate or token says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// `sidecar~10.0.0.7~web-0.blog-system~blog-system.svc.cluster.local`.
    pub id: String,
    /// `web.blog-system`.
    pub cluster: String,
    /// Istio's node metadata: an object with `NAMESPACE`, `LABELS`, ... Numbers are doubles on the wire.
    pub metadata: Json,
    /// Where it runs.
    pub locality: Locality,
}

impl Node {
    /// As it is sent.
    pub fn encode(&self) -> core::Node {
        let metadata = match encode_json(&self.metadata).kind {
            Some(Kind::StructValue(object)) => Some(object),
            _ => None,
        };
        core::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata,
            locality: (self.locality != Locality::default()).then(|| core::Locality {
                region: self.locality.region.to_string(),
                zone: self.locality.zone.to_string(),
                sub_zone: self.locality.sub_zone.to_string(),
            }),
            user_agent_name: "varka".to_owned(),
            ..Default::default()
        }
    }

    /// As it came.
    pub fn decode(node: core::Node) -> Self {
        let locality = node.locality.map(|l| Locality {
            region: l.region.into(),
            zone: l.zone.into(),
            sub_zone: l.sub_zone.into(),
        });
        Self {
            id: node.id,
            cluster: node.cluster,
            metadata: node.metadata.map_or(Json::Null, decode_object),
            locality: locality.unwrap_or_default(),
        }
    }
}

fn encode_json(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(encode_json).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(key, value)| (key.clone(), encode_json(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

fn decode_object(object: Struct) -> Json {
    // Sorted, so that equal metadata is equal as text.
    let mut fields: Vec<_> = object.fields.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Json::Object(fields.into_iter().map(|(key, value)| (key, decode_json(value))).collect::<Map<_, _>>())
}

/// Depth is bounded by the protobuf decoder.
fn decode_json(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::NumberValue(value)) => Number::from_f64(value).map_or(Json::Null, Json::Number),
        Some(Kind::StringValue(value)) => Json::String(value),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(decode_json).collect()),
        Some(Kind::StructValue(object)) => decode_object(object),
    }
}
