//! Reads the text table of types.
//!
//! ```text
//! core.v1.Volume                      a struct; then `kind` if it carries apiVersion and kind, `atomic` if it is one value in server-side apply
//!  1! name string                     protobuf number, `!` if required, `?` if zero differs from absent, JSON name, type
//!  2 - core.v1.VolumeSource           the fields of another struct, embedded
//!  3 ports []core.v1.ServicePort merge=port map=port,protocol:TCP
//! ```
//! A type is a word of [`Type`], `[]` or `{}` before another type, or a struct's name. Notes: `merge=KEY` and `merge` (strategic merge),
//! `retainKeys`, `set`, `map=KEY[:DEFAULT],...` and `atomic` (server-side apply).

use super::{Field, ListKey, ListKind, Struct, Type, Types};

/// Reads a table. Lines that mean nothing are passed over: the tables are part of the program and tests hold them to be whole.
pub(crate) fn parse(text: &str) -> Types {
    let mut types = Types::new();
    for line in text.lines().filter(|l| !l.starts_with([' ', '#'])) {
        if let Some(name) = line.split(' ').next() {
            types.declare(name);
        }
    }
    let mut current = None;
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if line.starts_with(' ') {
            if let Some(id) = current {
                add_field(&mut types, id, line);
            }
            continue;
        }
        let mut words = line.split(' ');
        current = words.next().and_then(|name| types.find(name));
        let Some(item) = current.and_then(|id| types.get_mut(id)) else { continue };
        for word in words {
            match word {
                "kind" => item.type_meta = true,
                "atomic" => item.atomic = true,
                _ => {}
            }
        }
    }
    types.flatten();
    types
}

fn add_field(types: &mut Types, owner: super::StructId, line: &str) {
    let mut words = line.trim_start().split(' ');
    let (Some(number), Some(name), Some(word)) = (words.next(), words.next(), words.next()) else { return };
    let tag = number.trim_end_matches(['!', '?']).parse().unwrap_or(0);
    let Some(ty) = parse_type(types, word) else { return };
    let mut field =
        Field { tag, required: number.ends_with('!'), pointer: number.ends_with('?'), ..Field::new(name, ty) };
    for note in words {
        add_note(&mut field, note);
    }
    let Some(item) = types.get_mut(owner) else { return };
    match (name, &field.ty) {
        ("-", Type::Struct(id)) => item.embedded.push((tag, *id)),
        _ => Struct::push(item, field),
    }
}

fn add_note(field: &mut Field, note: &str) {
    let (word, value) = note.split_once('=').unwrap_or((note, ""));
    match (word, &mut field.ty) {
        ("merge", _) => field.merge_key = Some(value.to_owned()),
        ("retainKeys", _) => field.retain_keys = true,
        ("set", Type::List(_, kind)) => *kind = ListKind::Set,
        ("map", Type::List(_, kind)) => *kind = ListKind::Map(value.split(',').map(list_key).collect()),
        ("atomic", Type::Map(_, atomic)) => *atomic = true,
        ("atomic", _) => field.atomic = true,
        _ => {}
    }
}

fn list_key(word: &str) -> ListKey {
    let (name, default) = word.split_once(':').map_or((word, None), |(n, d)| (n, Some(d.into())));
    ListKey { name: name.to_owned(), default }
}

fn parse_type(types: &Types, word: &str) -> Option<Type> {
    if let Some(element) = word.strip_prefix("[]") {
        return Some(Type::List(Box::new(parse_type(types, element)?), ListKind::Atomic));
    }
    if let Some(value) = word.strip_prefix("{}") {
        return Some(Type::Map(Box::new(parse_type(types, value)?), false));
    }
    Some(match word {
        "string" => Type::String,
        "int" => Type::Int,
        "bool" => Type::Bool,
        "float" => Type::Float,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "duration" => Type::Duration,
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "items" => Type::StringItems,
        "any" => Type::Any,
        name => Type::Struct(types.find(name)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_builtin_table_is_understood() {
        let text = include_str!("builtin.types");
        let types = Types::builtin();
        let lines = text.lines().filter(|l| l.starts_with(' ')).count();
        let fields: usize =
            types.structs.iter().map(|s| s.fields.iter().filter(|f| f.tag != 0).count() + s.embedded.len()).sum();
        let untagged = text.lines().filter(|l| l.starts_with(" 0")).count();
        assert_eq!(lines - untagged, fields);
    }

    #[test]
    fn embedded_fields_are_found_and_lists_know_their_keys() {
        let types = Types::builtin();
        let volume = types.get(types.find("core.v1.Volume").unwrap());
        assert!(volume.field("configMap").is_some());
        let service = types.get(types.find("core.v1.ServiceSpec").unwrap());
        let ports = service.field("ports").unwrap();
        assert_eq!(ports.merge_key.as_deref(), Some("port"));
        let Type::List(_, ListKind::Map(keys)) = &ports.ty else { panic!("{:?}", ports.ty) };
        assert_eq!(keys.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["port", "protocol"]);
    }
}
