//! Mutations that know what an input looks like, from a fixed series of numbers: the same seed makes the same input everywhere.

use serde_json::{Map, Value};

/// What an input looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Bytes,
    /// Lines, words and separators.
    Text,
    /// A JSON document.
    Json,
    /// A choice in the first byte, then a protobuf message.
    Protobuf,
}

/// SplitMix64: small, and good enough to choose with.
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// A series.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of so many; zero of none.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        usize::try_from(self.draw() % count).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Another input.
pub fn mutate(input: &[u8], form: Form, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut out = match form {
        Form::Json => json(input, &mut numbers),
        Form::Protobuf => match input.split_first() {
            Some((choice, message)) => [&[*choice], &protobuf(message, &mut numbers, 0)[..]].concat(),
            None => Vec::new(),
        },
        Form::Text => text(input, &mut numbers),
        Form::Bytes => input.to_vec(),
    };
    // What no structure knows of.
    if form == Form::Bytes || numbers.below(4) == 0 {
        for _ in 0..=numbers.below(3) {
            bytes(&mut out, &mut numbers);
        }
    }
    out
}

const NUMBERS: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];

fn bytes(data: &mut Vec<u8>, numbers: &mut Numbers) {
    let at = numbers.below(data.len() + 1);
    match numbers.below(7) {
        0 => {
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        1 => {
            if let Some(byte) = data.get_mut(at) {
                *byte = numbers.draw().to_le_bytes()[0];
            }
        }
        2 => data.insert(at, numbers.draw().to_le_bytes()[0]),
        3 => {
            let end = (at + 1 + numbers.below(8)).min(data.len());
            data.drain(at.min(end)..end);
        }
        4 => {
            // A number of some width, as lengths are.
            let number = numbers.of(&NUMBERS).copied().unwrap_or_default().to_be_bytes();
            let width = 1 << numbers.below(4);
            for (byte, new) in data.iter_mut().skip(at).zip(number.iter().skip(8 - width)) {
                *byte = *new;
            }
        }
        5 => {
            let end = (at + numbers.below(32)).min(data.len());
            let part = data.get(at..end).unwrap_or_default().to_vec();
            let to = numbers.below(data.len() + 1);
            data.splice(to..to, part);
        }
        _ => data.truncate(at),
    }
}

/// Pieces that mean something to one parser or another.
const WORDS: [&str; 74] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "=",
    "==",
    "!=",
    "&&",
    "||",
    "!",
    "?",
    "#",
    "%",
    "%%",
    "%2F",
    "%2e",
    "%5C",
    "%00",
    "/",
    "//",
    "/../",
    "/./",
    "\\",
    "..",
    "*",
    ".",
    "-",
    "_",
    "@",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "'",
    "\"",
    "<",
    ">=",
    "+",
    "0",
    "1",
    "-1",
    "00",
    "9223372036854775808",
    "ffffffffffffffff",
    "1e9",
    "0x10",
    " in ",
    " notin ",
    "has(",
    "size(",
    "true",
    "null",
    "chunked",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "HTTP/1.1",
    "HTTP/1.0",
    "GET /",
    "- ",
    "---\n",
    "&a ",
    "*a",
    "\u{e9}",
    "\u{1F600}",
];

/// Lines and words are taken out, doubled, moved, and put in.
fn text(input: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    let class = |byte: u8| if byte.is_ascii_alphanumeric() || byte >= 0x80 { 0 } else { byte };
    for byte in input {
        match tokens.last_mut() {
            Some(token) if token.last().is_some_and(|last| class(*last) == 0 && class(*byte) == 0) => token.push(*byte),
            _ => tokens.push(vec![*byte]),
        }
    }
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(tokens.len() + 1);
        let word = |numbers: &mut Numbers| numbers.of(&WORDS).map(|w| w.as_bytes().to_vec()).unwrap_or_default();
        match numbers.below(6) {
            0 => tokens.insert(at, word(numbers)),
            1 => {
                if let Some(token) = tokens.get_mut(at) {
                    *token = word(numbers);
                }
            }
            2 if at < tokens.len() => drop(tokens.remove(at)),
            3 => {
                let copy = numbers.of(&tokens).cloned().unwrap_or_default();
                tokens.insert(at, copy);
            }
            4 if tokens.len() > 1 => {
                let (count, other) = (tokens.len(), numbers.below(tokens.len()));
                tokens.swap(at.min(count - 1), other);
            }
            _ => {
                if let Some(token) = tokens.get_mut(at) {
                    bytes(token, numbers);
                }
            }
        }
    }
    tokens.concat()
}

/// Members are removed, doubled, moved, and replaced by values of other kinds. What is no JSON is taken as text.
fn json(input: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(input) else { return text(input, numbers) };
    for _ in 0..=numbers.below(3) {
        let mut count = 0;
        visit(&mut value, &mut |_| count += 1);
        let (from, to) = (numbers.below(count), numbers.below(count));
        let mut taken = Value::Null;
        let mut at = 0;
        visit(&mut value, &mut |node| {
            if at == from {
                taken = node.clone();
            }
            at += 1;
        });
        let (action, mut at) = (numbers.below(8), 0);
        visit(&mut value, &mut |node| {
            if at == to {
                change(node, action, &taken, numbers);
            }
            at += 1;
        });
    }
    value.to_string().into_bytes()
}

fn visit(value: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    act(value);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|child| visit(child, act)),
        Value::Object(map) => map.values_mut().for_each(|child| visit(child, act)),
        _ => {}
    }
}

fn change(node: &mut Value, action: usize, other: &Value, numbers: &mut Numbers) {
    match (action, node) {
        (0, Value::Array(list)) if !list.is_empty() => drop(list.remove(numbers.below(list.len()))),
        (1, Value::Array(list)) => list.push(other.clone()),
        (0, Value::Object(map)) => {
            let at = numbers.below(map.len());
            let name = map.keys().nth(at).cloned().unwrap_or_default();
            map.shift_remove(&name);
        }
        (1, Value::Object(map)) => {
            let name = numbers.of(&WORDS).map(|w| (*w).to_owned()).unwrap_or_default();
            map.insert(name, other.clone());
        }
        (2, Value::String(text)) => {
            let changed = self::text(text.as_bytes(), numbers);
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        (3, node) => *node = other.clone(),
        (4, node) => *node = Value::Null,
        (5, node) => *node = numbers.of(&NUMBERS).copied().map(Value::from).unwrap_or_default(),
        (6, node) => *node = if numbers.below(2) == 0 { Value::Object(Map::new()) } else { Value::Array(Vec::new()) },
        (_, node) => {
            *node = Value::String(numbers.of(&WORDS).map(|w| (*w).to_owned()).unwrap_or_default());
        }
    }
}

/// A field of a message on the wire: its key and what follows it.
struct Field<'a> {
    key: u64,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Fixed(&'a [u8]),
    Bytes(&'a [u8]),
}

/// Fields are removed, doubled, renumbered, and changed within. What is no message is taken as bytes.
fn protobuf(input: &[u8], numbers: &mut Numbers, depth: usize) -> Vec<u8> {
    let Some(mut list) = fields(input).filter(|list| !list.is_empty()) else {
        let mut out = input.to_vec();
        bytes(&mut out, numbers);
        return out;
    };
    let at = numbers.below(list.len());
    let mut within = None;
    match (numbers.below(8), list.get(at).map(|field| field.content)) {
        (0, _) => drop(list.remove(at)),
        (1, Some(content)) => {
            let key = list.get(at).map(|field| field.key).unwrap_or_default();
            list.insert(at, Field { key, content });
        }
        (2, Some(content)) => {
            // The same content under another number.
            let wire = list.get(at).map(|field| field.key & 7).unwrap_or_default();
            let number = u64::try_from(1 + numbers.below(40)).unwrap_or(1);
            list.insert(at, Field { key: number << 3 | wire, content });
        }
        (3, Some(Content::Number(_))) => {
            let number = numbers.of(&NUMBERS).copied().unwrap_or_default();
            if let Some(field) = list.get_mut(at) {
                field.content = Content::Number(number);
            }
        }
        (_, Some(Content::Bytes(inner))) if depth < 12 => within = Some(protobuf(inner, numbers, depth + 1)),
        _ => {
            let mut out = input.to_vec();
            bytes(&mut out, numbers);
            return out;
        }
    }
    let mut out = Vec::with_capacity(input.len() + 16);
    for (index, field) in list.iter().enumerate() {
        put_varint(&mut out, field.key);
        match (field.content, &within) {
            (Content::Number(number), _) => put_varint(&mut out, number),
            (Content::Fixed(fixed), _) => out.extend_from_slice(fixed),
            (Content::Bytes(_), Some(changed)) if index == at => {
                put_varint(&mut out, u64::try_from(changed.len()).unwrap_or_default());
                out.extend_from_slice(changed);
            }
            (Content::Bytes(inner), _) => {
                put_varint(&mut out, u64::try_from(inner.len()).unwrap_or_default());
                out.extend_from_slice(inner);
            }
        }
    }
    out
}

fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => Content::Number(varint(&mut bytes)?),
            1 => Content::Fixed(bytes.split_off(..8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Content::Bytes(bytes.split_off(..length)?)
            }
            5 => Content::Fixed(bytes.split_off(..4)?),
            _ => return None,
        };
        out.push(Field { key, content });
    }
    Some(out)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::{Form, mutate};

    #[test]
    fn the_same_seed_makes_the_same_input_and_most_seeds_others() {
        let cases: [(&[u8], Form); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", Form::Text),
            (br#"{"a":[1,{"b":"c"}]}"#, Form::Json),
            (b"\0\x0a\x03abc\x10\x01", Form::Protobuf),
            (b"bytes", Form::Bytes),
        ];
        for (input, form) in cases {
            let all: std::collections::BTreeSet<Vec<u8>> = (0..200).map(|seed| mutate(input, form, seed)).collect();
            assert!(all.len() > 50, "{form:?}: only {} different", all.len());
            assert_eq!(mutate(input, form, 7), mutate(input, form, 7));
        }
    }

    #[test]
    fn documents_stay_documents_and_messages_messages_most_of_the_time() {
        let valid = |form, input: &[u8], check: fn(&[u8]) -> bool| {
            (0..400).filter(|seed| check(&mutate(input, form, *seed))).count()
        };
        let json =
            valid(Form::Json, br#"{"a":[1,{"b":"c"}]}"#, |i| serde_json::from_slice::<serde_json::Value>(i).is_ok());
        let message = valid(Form::Protobuf, b"\0\x0a\x05\x0a\x03abc\x10\x01", |i| {
            i.get(1..).is_some_and(|message| super::fields(message).is_some())
        });
        assert!(json > 250 && message > 200, "{json} {message}");
    }
}
