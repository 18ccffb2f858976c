//! Building the JSON form of a protobuf message: fields in order, those with their default value left out.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A message under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(Map<String, Value>);

impl Message {
    /// Without fields.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// With an `@type`.
    pub(super) fn typed(name: &str) -> Self {
        Self::new().set("@type", format!("type.googleapis.com/{name}").into())
    }

    /// A field, unless its value is empty.
    #[must_use]
    pub(super) fn set(mut self, name: &str, value: Value) -> Self {
        if !is_empty(&value) {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// A field that is shown even where it is empty: a wrapper, or a member of a oneof.
    #[must_use]
    pub(super) fn always(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    #[must_use]
    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.set(name, value.into())
    }

    #[must_use]
    pub(super) fn texts<T: AsRef<str>>(self, name: &str, values: &[T]) -> Self {
        self.set(name, values.iter().map(|v| v.as_ref().to_owned()).collect::<Vec<_>>().into())
    }

    /// A scalar: false and zero are left out.
    #[must_use]
    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        if value { self.always(name, true.into()) } else { self }
    }

    #[must_use]
    pub(super) fn number(self, name: &str, value: u64) -> Self {
        if value == 0 { self } else { self.always(name, value.into()) }
    }

    #[must_use]
    pub(super) fn duration(self, name: &str, value: Option<Duration>) -> Self {
        match value {
            Some(value) => self.always(name, duration(value).into()),
            None => self,
        }
    }

    /// A message field: shown if it is given, even without fields of its own.
    #[must_use]
    pub(super) fn message(self, name: &str, value: Message) -> Self {
        self.always(name, value.value())
    }

    #[must_use]
    pub(super) fn optional(self, name: &str, value: Option<Message>) -> Self {
        match value {
            Some(value) => self.message(name, value),
            None => self,
        }
    }

    #[must_use]
    pub(super) fn list(self, name: &str, values: impl IntoIterator<Item = Message>) -> Self {
        self.set(name, values.into_iter().map(Message::value).collect::<Vec<_>>().into())
    }

    /// The fields of another message after these.
    #[must_use]
    pub(super) fn merge(mut self, other: Message) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Whether a value is what a field has when it is not set.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `10s`, `0.250s`.
pub(super) fn duration(value: Duration) -> String {
    let (seconds, nanos) = (value.as_secs(), value.subsec_nanos());
    match nanos {
        0 => format!("{seconds}s"),
        n if n % 1_000_000 == 0 => format!("{seconds}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{seconds}.{:06}s", n / 1_000),
        n => format!("{seconds}.{n:09}s"),
    }
}

pub(super) fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A share in millionths as `FractionalPercent`.
pub(super) fn millionths(value: u32) -> Message {
    Message::new().number("numerator", value.into()).text("denominator", "MILLION")
}

/// A filter or extension: name and typed configuration.
pub(super) fn extension(name: &str, kind: &str, config: Message) -> Message {
    Message::new().text("name", name).message("typed_config", Message::typed(kind).merge(config))
}
