//! Why a message was refused, and where in it.
//!
//! A place ([`At`]) is a chain of borrowed steps on the stack; text is made of it only when something is refused.
//! [`open!`] takes a message apart by naming *every* field of it, so that a field added to Envoy's API does not compile
//! until someone has decided whether it is used, refused or harmless.

use std::fmt::Write as _;

use varka_engine::ir::{ResourceType, Str};
use varka_proto::protobuf::BoolValue;

/// A resource that cannot be used, for the sender to read: what, where and why.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Rejection {
    /// Service that carried it, where the type is known.
    pub kind: Option<ResourceType>,
    /// Name of the resource; empty where it could not be read.
    pub name: Str,
    /// Path of the field (`filter_chains[0].filters[1]`); empty: the resource as a whole.
    pub field: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Valid for Envoy, but this data plane does not do it.
    #[error("{0} is not implemented")]
    NotImplemented(String),
    /// A field that must be set is not.
    #[error("{0} is required")]
    Missing(&'static str),
    /// A value outside of what the field may hold.
    #[error("{value} is not {expected}")]
    Invalid {
        /// As sent.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A regular expression that does not compile.
    #[error("`{pattern}` is not a regular expression of linear time: {error}")]
    Regex {
        /// As sent.
        pattern: String,
        /// What the compiler says.
        error: String,
    },
    /// Not one of the resource types.
    #[error("type {0} is not carried by this service")]
    Type(String),
    /// The bytes are not a message of the type.
    #[error("malformed protobuf: {0}")]
    Malformed(prost::DecodeError),
    /// A field of a newer API, by its numbers from the message down.
    #[error("field number {0} is of a newer API and not known here")]
    UnknownField(String),
}

impl Rejection {
    fn text(&self) -> String {
        let kind = match self.kind {
            Some(ResourceType::Listener) => "listener",
            Some(ResourceType::Route) => "route configuration",
            Some(ResourceType::Cluster) => "cluster",
            Some(ResourceType::Endpoints) => "endpoints",
            Some(ResourceType::Secret) => "secret",
            Some(ResourceType::VirtualHost) => "virtual host",
            Some(ResourceType::Workload) => "workload",
            None => "resource",
        };
        let field = if self.field.is_empty() { String::new() } else { format!("{}: ", self.field) };
        format!("{kind} {}: {field}{}", self.name, self.reason)
    }
}

/// A reason with its place; boxed, since it is rare.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Box<(String, Reason)>);

pub(super) type Decoded<T> = Result<T, Refusal>;

/// Where in a message something is.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    up: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Top,
    Field(&'a str),
    Item(&'a str, usize),
    Key(&'a str, &'a str),
}

impl<'a> At<'a> {
    /// The resource itself.
    pub(super) const TOP: At<'static> = At { up: None, step: Step::Top };

    /// A field.
    pub(super) fn field(&'a self, name: &'a str) -> At<'a> {
        At { up: Some(self), step: Step::Field(name) }
    }

    /// An element of a repeated field.
    pub(super) fn item(&'a self, name: &'a str, index: usize) -> At<'a> {
        At { up: Some(self), step: Step::Item(name, index) }
    }

    /// An entry of a map.
    pub(super) fn key(&'a self, name: &'a str, key: &'a str) -> At<'a> {
        At { up: Some(self), step: Step::Key(name, key) }
    }

    /// Decodes every element of a repeated field.
    pub(super) fn each<T, U>(
        &self,
        name: &str,
        items: Vec<T>,
        mut decode: impl FnMut(&At<'_>, T) -> Decoded<U>,
    ) -> Decoded<Vec<U>> {
        items.into_iter().enumerate().map(|(i, item)| decode(&self.item(name, i), item)).collect()
    }

    /// Decodes a field that may be absent.
    pub(super) fn maybe<T, U>(
        &self,
        name: &str,
        value: Option<T>,
        decode: impl FnOnce(&At<'_>, T) -> Decoded<U>,
    ) -> Decoded<Option<U>> {
        value.map(|v| decode(&self.field(name), v)).transpose()
    }

    /// The value of a field that must be there.
    pub(super) fn need<T>(&self, name: &'static str, value: Option<T>) -> Decoded<T> {
        value.ok_or_else(|| self.refuse(Reason::Missing(name)))
    }

    /// Refuses a field that is set although its meaning is not implemented.
    pub(super) fn unset<T: Default + PartialEq>(&self, name: &str, value: &T) -> Decoded<()> {
        if *value == T::default() { Ok(()) } else { Err(self.not_implemented(name)) }
    }

    /// Like [`Self::unset`], for a flag whose default is `false`.
    pub(super) fn off(&self, name: &str, value: Option<BoolValue>) -> Decoded<()> {
        if value.is_some_and(|v| v.value) { Err(self.not_implemented(name)) } else { Ok(()) }
    }

    pub(super) fn not_implemented(&self, what: impl Into<String>) -> Refusal {
        self.refuse(Reason::NotImplemented(what.into()))
    }

    pub(super) fn invalid(&self, value: impl std::fmt::Display, expected: &'static str) -> Refusal {
        self.refuse(Reason::Invalid { value: value.to_string(), expected })
    }

    pub(super) fn refuse(&self, reason: Reason) -> Refusal {
        let mut path = String::new();
        self.write(&mut path);
        Refusal(Box::new((path, reason)))
    }

    fn write(&self, out: &mut String) {
        if let Some(up) = self.up {
            up.write(out);
        }
        if !out.is_empty() {
            out.push('.');
        }
        // Writing to a String does not fail.
        let _ = match self.step {
            Step::Top => Ok(()),
            Step::Field(name) => write!(out, "{name}"),
            Step::Item(name, index) => write!(out, "{name}[{index}]"),
            Step::Key(name, key) => write!(out, "{name}[{key}]"),
        };
    }
}

/// Takes a message apart. Every field of the message type must be named in one of three lists: those that are bound as
/// variables, those that are refused unless they hold their default, and those that change nothing this data plane does.
macro_rules! open {
    ($at:expr, $message:expr => $($path:ident)::+ { $($used:ident),* $(,)? }
     $(refuse { $($no:ident),* $(,)? })? $(harmless { $($skip:ident),* $(,)? })?) => {
        #[allow(deprecated, reason = "obsolete fields are named too, to be refused")]
        let $($path)::+ { $($used,)* $($($no,)*)? $($($skip: _,)*)? } = $message;
        $($( $at.unset(stringify!($no), &$no)?; )*)?
    };
}
pub(super) use open;
