//! What the server knows about the shape of objects: field types, list semantics, protobuf field numbers.
//!
//! One description serves strict field validation, protobuf request bodies, strategic merge, server-side apply and OpenAPI. The built-in
//! kinds come from a table ([`table`]), custom kinds from their CRD's schema ([`structural`]). Nothing here touches an object; the modules
//! that do (validation, patches) ask [`Types`] how.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

pub(crate) mod convert;
pub(crate) mod openapi;
pub(crate) mod strict;
pub mod structural;
pub(crate) mod table;

/// Names a struct of a [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StructId(u32);

/// The type of a field, list element or map value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A string.
    String,
    /// A 32 or 64 bit integer.
    Int,
    /// `true` or `false`.
    Bool,
    /// A floating point number.
    Float,
    /// Bytes, base64 in JSON.
    Bytes,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A Go duration such as `1m30s`.
    Duration,
    /// A resource quantity such as `250m`; JSON numbers are taken too.
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// Strings wrapped in a message of their own on the protobuf wire, a plain list in JSON.
    StringItems,
    /// Anything; maps merge by key, lists are one value.
    Any,
    /// A list.
    List(Box<Type>, ListKind),
    /// A map with string keys; `true` if it is owned as one value.
    Map(Box<Type>, bool),
    /// Named fields.
    Struct(StructId),
}

/// How a list merges in server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub enum ListKind {
    /// As one value.
    Atomic,
    /// A set of scalars.
    Set,
    /// A map keyed by these fields of its elements.
    Map(Vec<ListKey>),
}

/// One key of a list that is a map.
#[derive(Clone, Debug, PartialEq)]
pub struct ListKey {
    /// The field.
    pub name: String,
    /// What an element without the field counts as.
    pub default: Option<Value>,
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Protobuf field number, 0 if none.
    pub tag: u32,
    /// Whether the API's documentation calls it required.
    pub required: bool,
    /// Whether a zero value differs from an absent one.
    pub pointer: bool,
    /// Owned as one value in server-side apply, whatever its type says.
    pub atomic: bool,
    /// Strategic merge: `None` replaces; `Some("")` merges a list of scalars; else the key that identifies an element.
    pub merge_key: Option<String>,
    /// Strategic merge: `$retainKeys` applies.
    pub retain_keys: bool,
    /// Strategic merge: the whole value replaces, even if it is a map.
    pub replaces: bool,
}

impl Field {
    /// A plain optional field.
    #[must_use]
    pub fn new(name: &str, ty: Type) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            tag: 0,
            required: false,
            pointer: false,
            atomic: false,
            merge_key: None,
            retain_keys: false,
            replaces: false,
        }
    }
}

/// A set of named fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// Its name in the table or a path in a CRD's schema.
    pub name: String,
    /// Owned as one value in server-side apply.
    pub atomic: bool,
    /// Carries `apiVersion` and `kind`.
    pub type_meta: bool,
    /// All fields, those of embedded structs included.
    pub fields: Vec<Field>,
    /// Structs whose fields are embedded, with the field number that carries them in protobuf.
    pub embedded: Vec<(u32, StructId)>,
    /// The type of fields that are not named, if such are allowed.
    pub rest: Option<Type>,
    index: HashMap<String, usize>,
}

impl Struct {
    /// The field of that JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index.get(name).and_then(|&i| self.fields.get(i))
    }

    fn push(&mut self, field: Field) {
        self.index.entry(field.name.clone()).or_insert(self.fields.len());
        self.fields.push(field);
    }
}

/// Structs that may refer to each other.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// Structs below these numbers belong to the built-in types.
    base: Option<&'static Types>,
    structs: Vec<Struct>,
    names: HashMap<String, StructId>,
}

impl Types {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The types of the built-in kinds, by names such as `core.v1.Pod`.
    pub(crate) fn builtin() -> &'static Types {
        static BUILTIN: OnceLock<Types> = OnceLock::new();
        BUILTIN.get_or_init(|| table::parse(include_str!("schema/builtin.types")))
    }

    /// An empty set that can refer to the built-in types.
    pub(crate) fn over_builtin() -> Self {
        Self { base: Some(Self::builtin()), ..Self::default() }
    }

    /// Reserves a number, so that structs can refer to each other before they are [defined](Self::define).
    pub fn declare(&mut self, name: &str) -> StructId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let offset = self.base.map_or(0, |b| b.structs.len());
        let id = StructId(u32::try_from(offset + self.structs.len()).unwrap_or(u32::MAX));
        self.structs.push(Struct { name: name.to_owned(), ..Struct::default() });
        self.names.insert(name.to_owned(), id);
        id
    }

    /// Gives a declared struct its fields.
    pub fn define(&mut self, id: StructId, fields: Vec<Field>, rest: Option<Type>, atomic: bool) {
        if let Some(item) = self.get_mut(id) {
            item.rest = rest;
            item.atomic = atomic;
            fields.into_iter().for_each(|f| item.push(f));
        }
    }

    /// The struct of that number.
    #[must_use]
    pub fn get(&self, id: StructId) -> &Struct {
        static NOTHING: OnceLock<Struct> = OnceLock::new();
        let offset = self.base.map_or(0, |b| b.structs.len());
        let index = id.0 as usize;
        let found = if index < offset {
            self.base.and_then(|b| b.structs.get(index))
        } else {
            self.structs.get(index - offset)
        };
        found.unwrap_or_else(|| NOTHING.get_or_init(Struct::default))
    }

    /// The struct of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<StructId> {
        self.names.get(name).copied().or_else(|| self.base.and_then(|b| b.find(name)))
    }

    fn get_mut(&mut self, id: StructId) -> Option<&mut Struct> {
        let offset = self.base.map_or(0, |b| b.structs.len());
        (id.0 as usize).checked_sub(offset).and_then(|i| self.structs.get_mut(i))
    }

    /// Copies the fields of embedded structs into those that embed them.
    fn flatten(&mut self) {
        let mut done = vec![false; self.structs.len()];
        for index in 0..self.structs.len() {
            self.flatten_one(index, &mut done);
        }
    }

    fn flatten_one(&mut self, index: usize, done: &mut [bool]) {
        match done.get_mut(index) {
            Some(flag) if !*flag => *flag = true,
            _ => return,
        }
        let embedded = self.structs.get(index).map(|s| s.embedded.clone()).unwrap_or_default();
        for (_, id) in embedded {
            self.flatten_one(id.0 as usize, done);
            let fields = self.get(id).fields.clone();
            if let Some(item) = self.structs.get_mut(index) {
                fields.into_iter().for_each(|f| item.push(Field { tag: 0, ..f }));
            }
        }
    }
}
