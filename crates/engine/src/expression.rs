//! Conditions on a finished request, in the part of CEL that filters of access logs are written in.
//!
//! There are comparisons, `&&`, `||`, `!`, `in`, `has()`, `size()`, `duration()` and the string functions, over Envoy's attributes.
//! Types are checked when an expression is parsed. An attribute that a request does not have makes what asks for it an error, as in
//! CEL: a condition that ends in an error does not hold. Arithmetic, `? :`, maps, macros and metadata are refused by name.

use std::borrow::Cow;
use std::cmp::Ordering;

mod parse;
#[cfg(test)]
mod tests;

pub use parse::ExpressionError;

/// A parsed condition.
#[derive(Debug, Clone)]
pub struct Expression(Node);

/// What a condition can ask of a request.
pub trait Attributes {
    /// The attribute; `None`: this request does not have it.
    fn attribute(&self, attribute: Attribute) -> Option<Value<'_>>;
    /// All lines of a header, joined by commas; `None`: it is not there.
    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, str>>;
}

/// Whose headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
    Bool,
    Duration,
}

macro_rules! attributes {
    ($($(#[$meta:meta])* $name:ident $path:literal $kind:ident,)*) => {
        /// An attribute of a request, of its response or of the connections.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Attribute {
            $(#[doc = concat!("`", $path, "`.")] $name,)*
        }

        impl Attribute {
            fn named(path: &str) -> Option<Self> {
                match path {
                    $($path => Some(Self::$name),)*
                    _ => None,
                }
            }

            fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)*
                }
            }
        }
    };
}

attributes! {
    RequestPath "request.path" Text,
    RequestUrlPath "request.url_path" Text,
    RequestHost "request.host" Text,
    RequestScheme "request.scheme" Text,
    RequestMethod "request.method" Text,
    RequestProtocol "request.protocol" Text,
    RequestId "request.id" Text,
    RequestReferer "request.referer" Text,
    RequestUserAgent "request.useragent" Text,
    RequestSize "request.size" Int,
    RequestDuration "request.duration" Duration,
    ResponseCode "response.code" Int,
    ResponseDetails "response.code_details" Text,
    ResponseGrpcStatus "response.grpc_status" Int,
    ResponseSize "response.size" Int,
    ConnectionMtls "connection.mtls" Bool,
    ConnectionServerName "connection.requested_server_name" Text,
    ConnectionPeerUri "connection.uri_san_peer_certificate" Text,
    ConnectionLocalUri "connection.uri_san_local_certificate" Text,
    SourceAddress "source.address" Text,
    SourcePort "source.port" Int,
    DestinationAddress "destination.address" Text,
    DestinationPort "destination.port" Int,
    UpstreamAddress "upstream.address" Text,
    UpstreamPort "upstream.port" Int,
    UpstreamFailure "upstream.transport_failure_reason" Text,
    UpstreamAttempts "upstream.request_attempt_count" Int,
    ClusterName "xds.cluster_name" Text,
    RouteName "xds.route_name" Text,
}

/// A condition.
#[derive(Debug, Clone)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Compare(Operand, Comparison, Operand),
    OneOf(Operand, Vec<Operand>),
    Has(Attribute),
    HasHeader(Message, String),
    Text(Operand, TextTest),
    True(Operand),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone)]
enum TextTest {
    StartsWith(Operand),
    EndsWith(Operand),
    Contains(Operand),
    Matches(Box<regex::Regex>),
}

#[derive(Debug, Clone)]
enum Operand {
    Literal(Value<'static>),
    Attribute(Attribute),
    Header(Message, String),
    Size(Box<Operand>),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Where and why it is none, or what of it is not supported.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        parse::expression(text).map(Self)
    }

    /// Whether a request satisfies it.
    pub fn holds(&self, request: &dyn Attributes) -> bool {
        self.0.evaluate(request) == Some(true)
    }
}

impl Node {
    /// `None`: an error.
    fn evaluate(&self, request: &dyn Attributes) -> Option<bool> {
        match self {
            Self::Any(nodes) => decided(nodes, request, true),
            Self::All(nodes) => decided(nodes, request, false),
            Self::Not(node) => node.evaluate(request).map(|holds| !holds),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(request)?, right.value(request)?);
                Some(comparison.holds(left.order(&right)?))
            }
            Self::OneOf(operand, list) => {
                let value = operand.value(request)?;
                let is = |item: &Operand| item.value(request).is_some_and(|i| i.order(&value) == Some(Ordering::Equal));
                Some(list.iter().any(is))
            }
            Self::Has(attribute) => Some(request.attribute(*attribute).is_some()),
            Self::HasHeader(of, name) => Some(request.header(*of, name).is_some()),
            Self::Text(operand, test) => {
                let value = operand.value(request)?;
                test.holds(value.text()?, request)
            }
            Self::True(operand) => match operand.value(request)? {
                Value::Bool(holds) => Some(holds),
                _ => None,
            },
        }
    }
}

/// `||` and `&&`: one that decides outweighs those that are errors.
fn decided(nodes: &[Node], request: &dyn Attributes, by: bool) -> Option<bool> {
    let mut outcome = Some(!by);
    for node in nodes {
        match node.evaluate(request) {
            Some(holds) if holds == by => return Some(by),
            Some(_) => {}
            None => outcome = None,
        }
    }
    outcome
}

impl TextTest {
    fn holds(&self, value: &str, request: &dyn Attributes) -> Option<bool> {
        let with = |operand: &Operand, test: fn(&str, &str) -> bool| Some(test(value, operand.value(request)?.text()?));
        match self {
            Self::StartsWith(start) => with(start, |v, s| v.starts_with(s)),
            Self::EndsWith(end) => with(end, |v, e| v.ends_with(e)),
            Self::Contains(part) => with(part, |v, p| v.contains(p)),
            Self::Matches(regex) => Some(regex.is_match(value)),
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, request: &'a dyn Attributes) -> Option<Value<'a>> {
        match self {
            Self::Literal(value) => Some(value.borrowed()),
            Self::Attribute(attribute) => request.attribute(*attribute),
            Self::Header(of, name) => request.header(*of, name).map(Value::Text),
            Self::Size(text) => {
                let characters = text.value(request)?.text()?.chars().count();
                Some(Value::Int(i64::try_from(characters).unwrap_or(i64::MAX)))
            }
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Literal(Value::Int(_)) | Self::Size(_) => Kind::Int,
            Self::Literal(Value::Text(_)) | Self::Header(..) => Kind::Text,
            Self::Literal(Value::Bool(_)) => Kind::Bool,
            Self::Literal(Value::Duration(_)) => Kind::Duration,
            Self::Attribute(attribute) => attribute.kind(),
        }
    }
}

impl Value<'_> {
    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Int(n) => Value::Int(*n),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bool(b) => Value::Bool(*b),
            Self::Duration(ns) => Value::Duration(*ns),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `None`: the two are of different types.
    fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Value::Int(b)) | (Self::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Self::Text(a), Value::Text(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (Self::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "a number",
            Self::Text => "a text",
            Self::Bool => "true or false",
            Self::Duration => "a duration",
        }
    }
}
