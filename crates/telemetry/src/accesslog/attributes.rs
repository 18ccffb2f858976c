//! What a filter can ask of a finished request or connection, under Envoy's names.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::HeaderMap;
use varka_engine::expression::{Attribute, Attributes, Message, Value};
use varka_engine::headers::protocol_name;

use super::Record;

impl Attributes for Record<'_> {
    fn attribute(&self, attribute: Attribute) -> Option<Value<'_>> {
        let connection = self.connection;
        match attribute {
            Attribute::RequestPath => text(self.path),
            Attribute::RequestUrlPath => text(self.path.split('?').next().unwrap_or_default()),
            Attribute::RequestHost => text(self.authority),
            Attribute::RequestScheme => text(self.scheme),
            Attribute::RequestMethod => text(self.method),
            Attribute::RequestProtocol => self.version.and_then(|v| text(protocol_name(v))),
            Attribute::RequestId => self.header(Message::Request, "x-request-id").map(Value::Text),
            Attribute::RequestReferer => self.header(Message::Request, "referer").map(Value::Text),
            Attribute::RequestUserAgent => self.header(Message::Request, "user-agent").map(Value::Text),
            Attribute::RequestSize => number(self.bytes_received),
            Attribute::RequestDuration => i64::try_from(self.duration.as_nanos()).ok().map(Value::Duration),
            // Nothing was answered: a reset, or no HTTP.
            Attribute::ResponseCode => (self.outcome.status > 0).then(|| Value::Int(self.outcome.status.into())),
            Attribute::ResponseDetails => text(&self.outcome.details),
            Attribute::ResponseGrpcStatus => self.grpc_status().map(|s| Value::Int(s.into())),
            Attribute::ResponseSize => number(self.bytes_sent),
            Attribute::ConnectionMtls => Some(Value::Bool(connection.peer_identity.is_some())),
            Attribute::ConnectionServerName => connection.sni.and_then(text),
            Attribute::ConnectionPeerUri => connection.peer_identity.and_then(|p| p.uri()).and_then(text),
            Attribute::ConnectionLocalUri => connection.local_identity.and_then(text),
            Attribute::SourceAddress => address(Some(self.client)),
            Attribute::SourcePort => port(Some(self.client)),
            Attribute::DestinationAddress => address(Some(connection.original_dst)),
            Attribute::DestinationPort => port(Some(connection.original_dst)),
            Attribute::UpstreamAddress => address(self.upstream_host),
            Attribute::UpstreamPort => port(self.upstream_host),
            Attribute::UpstreamFailure => text(self.transport_failure),
            Attribute::UpstreamAttempts => number(self.attempts.into()),
            Attribute::ClusterName => text(self.cluster),
            Attribute::RouteName => text(self.route),
        }
    }

    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, str>> {
        let headers: &HeaderMap = match of {
            Message::Request => self.request?,
            Message::Response => self.response?,
        };
        let mut lines = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
        let first = lines.next()?;
        Some(lines.fold(first, |all, line| Cow::Owned(format!("{all},{line}"))))
    }
}

fn text(value: &str) -> Option<Value<'_>> {
    (!value.is_empty()).then_some(Value::Text(Cow::Borrowed(value)))
}

fn number(value: u64) -> Option<Value<'static>> {
    i64::try_from(value).ok().map(Value::Int)
}

fn address(value: Option<SocketAddr>) -> Option<Value<'static>> {
    value.map(|a| Value::Text(Cow::Owned(a.to_string())))
}

fn port(value: Option<SocketAddr>) -> Option<Value<'static>> {
    value.map(|a| Value::Int(a.port().into()))
}
