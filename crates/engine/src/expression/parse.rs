//! From text to a condition: words, then descent by CEL's precedence (`||`, `&&`, comparison, `!`).

use super::{Attribute, Comparison, Kind, Message, Node, Operand, TextTest, Value};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4096;
/// Deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 32;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub struct ExpressionError {
    /// Where.
    pub at: usize,
    /// What is wrong, or not supported.
    pub message: String,
}

type Parsed<T> = Result<T, ExpressionError>;

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Name(String),
    Int(i64),
    Text(String),
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 20] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ".", ",", "-", "+", "*", "?", ":"];

pub(super) fn expression(text: &str) -> Parsed<Node> {
    if text.len() > MAX_LENGTH {
        return Err(ExpressionError { at: 0, message: format!("it is longer than {MAX_LENGTH} bytes") });
    }
    let mut parser = Parser { words: words(text)?, at: 0, depth: 0 };
    let node = parser.any()?;
    match parser.word() {
        Word::End => Ok(node),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

/// Takes a text apart, each word with its place.
fn words(text: &str) -> Parsed<Vec<(usize, Word)>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let run = |fits: fn(char) -> bool| rest.find(|c: char| !fits(c)).unwrap_or(rest.len());
        let (word, length) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if c == '"' || c == '\'' {
            literal(rest, c).ok_or_else(|| error(at, "the text has no closing quote, or an escape that is none"))?
        } else if c.is_ascii_digit() {
            let length = run(|c| c.is_ascii_digit());
            let number = rest.get(..length).and_then(|digits| digits.parse().ok());
            (Word::Int(number.ok_or_else(|| error(at, "the number is too large"))?), length)
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = run(|c| c.is_ascii_alphanumeric() || c == '_');
            (Word::Name(rest.get(..length).unwrap_or_default().to_owned()), length)
        } else {
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s));
            let sign = sign.ok_or_else(|| error(at, format!("`{c}` means nothing here")))?;
            (Word::Sign(sign), sign.len())
        };
        words.push((at, word));
        at += length;
    }
    words.push((text.len(), Word::End));
    Ok(words)
}

fn error(at: usize, message: impl Into<String>) -> ExpressionError {
    ExpressionError { at, message: message.into() }
}

/// A text in quotes, and how long it is written.
fn literal(rest: &str, quote: char) -> Option<(Word, usize)> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    loop {
        match letters.next()? {
            (end, c) if c == quote => return Some((Word::Text(value), end + 1)),
            (_, '\\') => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            }),
            (_, '\n') => return None,
            (_, c) => value.push(c),
        }
    }
}

/// What stands between operators: a condition by itself, or a value.
enum Term {
    Node(Node),
    Operand(Operand),
}

struct Parser {
    words: Vec<(usize, Word)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn word(&self) -> &Word {
        self.words.get(self.at).map_or(&Word::End, |(_, word)| word)
    }

    fn place(&self) -> usize {
        self.words.get(self.at).map_or(0, |(at, _)| *at)
    }

    fn error(&self, message: impl Into<String>) -> ExpressionError {
        error(self.place(), message)
    }

    fn unexpected(&self, wanted: &str) -> ExpressionError {
        match self.word() {
            Word::End => self.error(format!("it ends where {wanted} is expected")),
            Word::Sign(sign @ ("+" | "-" | "*" | "?" | ":")) => self.error(format!("`{sign}` is not supported")),
            Word::Sign(sign) => self.error(format!("`{sign}` stands where {wanted} is expected")),
            Word::Name(name) => self.error(format!("`{name}` stands where {wanted} is expected")),
            Word::Int(_) | Word::Text(_) => self.error(format!("a value stands where {wanted} is expected")),
        }
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.word(), Word::Sign(s) if *s == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn any(&mut self) -> Parsed<Node> {
        let mut nodes = vec![self.all()?];
        while self.take("||") {
            nodes.push(self.all()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self) -> Parsed<Node> {
        let mut nodes = vec![self.relation()?];
        while self.take("&&") {
            nodes.push(self.relation()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn relation(&mut self) -> Parsed<Node> {
        let left = self.term()?;
        for (sign, comparison) in [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            ("<", Comparison::Less),
            (">=", Comparison::GreaterOrEqual),
            (">", Comparison::Greater),
        ] {
            let place = self.place();
            if self.take(sign) {
                let (Term::Operand(left), Term::Operand(right)) = (left, self.term()?) else {
                    return Err(error(place, "conditions are joined by && and ||; values are compared"));
                };
                same_kind(place, left.kind(), right.kind())?;
                return Ok(Node::Compare(left, comparison, right));
            }
        }
        if matches!(self.word(), Word::Name(name) if name == "in") {
            self.at += 1;
            return self.one_of(left);
        }
        self.condition(left)
    }

    fn condition(&self, term: Term) -> Parsed<Node> {
        match term {
            Term::Node(node) => Ok(node),
            Term::Operand(operand) if operand.kind() == Kind::Bool => Ok(Node::True(operand)),
            Term::Operand(_) if matches!(self.word(), Word::Sign("+" | "-" | "*" | "?")) => {
                Err(self.unexpected("an operator"))
            }
            Term::Operand(operand) => {
                Err(self.error(format!("{} is no condition: compare it with something", operand.kind().name())))
            }
        }
    }

    /// What follows `in`: a list of values, or a message's headers.
    fn one_of(&mut self, left: Term) -> Parsed<Node> {
        let Term::Operand(left) = left else { return Err(self.error("a condition cannot be an element")) };
        if let Some(of) = self.headers() {
            return match left {
                Operand::Literal(Value::Text(name)) => Ok(Node::HasHeader(of, name.to_ascii_lowercase())),
                _ => Err(self.error("the name of a header is a text in quotes")),
            };
        }
        self.expect("[")?;
        let mut list = Vec::new();
        while !self.take("]") {
            if !list.is_empty() {
                self.expect(",")?;
            }
            let place = self.place();
            let Term::Operand(item) = self.term()? else { return Err(error(place, "an element is a value")) };
            same_kind(place, left.kind(), item.kind())?;
            list.push(item);
        }
        Ok(Node::OneOf(left, list))
    }

    /// `request.headers` or `response.headers`.
    fn headers(&mut self) -> Option<Message> {
        let words: Vec<&Word> = self.words.iter().skip(self.at).take(3).map(|(_, word)| word).collect();
        let [Word::Name(of), Word::Sign("."), Word::Name(headers)] = words.as_slice() else { return None };
        let of = match (of.as_str(), headers.as_str()) {
            ("request", "headers") => Message::Request,
            ("response", "headers") => Message::Response,
            _ => return None,
        };
        self.at += 3;
        Some(of)
    }

    fn term(&mut self) -> Parsed<Term> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("it is nested too deeply"));
        }
        let term = self.unary();
        self.depth -= 1;
        term
    }

    fn unary(&mut self) -> Parsed<Term> {
        if self.take("!") {
            let term = self.term()?;
            return Ok(Term::Node(Node::Not(Box::new(self.condition(term)?))));
        }
        if self.take("(") {
            let node = self.any()?;
            self.expect(")")?;
            return Ok(Term::Node(node));
        }
        if self.take("-") {
            return match *self.word() {
                Word::Int(n) => {
                    self.at += 1;
                    Ok(Term::Operand(Operand::Literal(Value::Int(-n))))
                }
                _ => Err(self.unexpected("a number")),
            };
        }
        let operand = match self.word().clone() {
            Word::Int(n) => {
                self.at += 1;
                Operand::Literal(Value::Int(n))
            }
            Word::Text(text) => {
                self.at += 1;
                Operand::Literal(Value::Text(text.into()))
            }
            Word::Name(_) => match self.named()? {
                Term::Operand(operand) => operand,
                node @ Term::Node(_) => return Ok(node),
            },
            Word::Sign(_) | Word::End => return Err(self.unexpected("a value")),
        };
        self.functions(operand)
    }

    /// A literal, a function or an attribute.
    fn named(&mut self) -> Parsed<Term> {
        if let Some(of) = self.headers() {
            return Ok(Term::Operand(Operand::Header(of, self.header_name()?)));
        }
        let (place, name) = (self.place(), self.name()?);
        match name.as_str() {
            "true" | "false" => return Ok(Term::Operand(Operand::Literal(Value::Bool(name == "true")))),
            "has" => {
                self.expect("(")?;
                let node = if let Some(of) = self.headers() {
                    Node::HasHeader(of, self.header_name()?)
                } else {
                    let (place, name) = (self.place(), self.name()?);
                    Node::Has(self.attribute(place, name)?)
                };
                self.expect(")")?;
                return Ok(Term::Node(node));
            }
            "size" => {
                self.expect("(")?;
                let place = self.place();
                let Term::Operand(operand) = self.term()? else { return Err(error(place, "a text is expected")) };
                same_kind(place, operand.kind(), Kind::Text)?;
                self.expect(")")?;
                return Ok(Term::Operand(Operand::Size(Box::new(operand))));
            }
            "duration" => {
                self.expect("(")?;
                let text = self.text()?;
                self.expect(")")?;
                let nanoseconds = duration(&text).ok_or_else(|| error(place, format!("`{text}` is no duration")))?;
                return Ok(Term::Operand(Operand::Literal(Value::Duration(nanoseconds))));
            }
            _ => {}
        }
        self.attribute(place, name).map(|attribute| Term::Operand(Operand::Attribute(attribute)))
    }

    fn name(&mut self) -> Parsed<String> {
        match self.word().clone() {
            Word::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn text(&mut self) -> Parsed<String> {
        match self.word().clone() {
            Word::Text(text) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("a text in quotes")),
        }
    }

    /// `['x-a']` or `.x_a` behind `headers`.
    fn header_name(&mut self) -> Parsed<String> {
        let name = if self.take(".") {
            self.name()?
        } else {
            self.expect("[")?;
            let name = self.text()?;
            self.expect("]")?;
            name
        };
        Ok(name.to_ascii_lowercase())
    }

    /// An attribute whose first name has been read.
    fn attribute(&mut self, place: usize, first: String) -> Parsed<Attribute> {
        let mut path = first;
        while Attribute::named(&path).is_none() && self.take(".") {
            path = format!("{path}.{}", self.name()?);
        }
        Attribute::named(&path).ok_or_else(|| error(place, format!("`{path}` is not an attribute that is known here")))
    }

    /// `.startsWith('x')` and its like behind a value.
    fn functions(&mut self, operand: Operand) -> Parsed<Term> {
        if !self.take(".") {
            return Ok(Term::Operand(operand));
        }
        let (place, name) = (self.place(), self.name()?);
        same_kind(place, operand.kind(), Kind::Text)?;
        self.expect("(")?;
        let test = match name.as_str() {
            "startsWith" => TextTest::StartsWith(self.text_operand()?),
            "endsWith" => TextTest::EndsWith(self.text_operand()?),
            "contains" => TextTest::Contains(self.text_operand()?),
            "matches" => {
                let (place, source) = (self.place(), self.text()?);
                let regex = regex::RegexBuilder::new(&source).size_limit(MAX_REGEX).build();
                TextTest::Matches(Box::new(regex.map_err(|e| error(place, e.to_string()))?))
            }
            "size" => {
                self.expect(")")?;
                return Ok(Term::Operand(Operand::Size(Box::new(operand))));
            }
            _ => return Err(error(place, format!("there is no function `{name}` of a text"))),
        };
        self.expect(")")?;
        Ok(Term::Node(Node::Text(operand, test)))
    }

    fn text_operand(&mut self) -> Parsed<Operand> {
        let place = self.place();
        let Term::Operand(operand) = self.term()? else { return Err(error(place, "a text is expected")) };
        same_kind(place, operand.kind(), Kind::Text)?;
        Ok(operand)
    }
}

fn same_kind(place: usize, left: Kind, right: Kind) -> Parsed<()> {
    if left == right {
        return Ok(());
    }
    Err(error(place, format!("{} and {} cannot be compared: this would never hold", left.name(), right.name())))
}

/// `1h30m`, `1.5s`, `250ms`, as nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let scale = match unit {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    // Beyond what an i64 holds the cast saturates, which is longer than any request.
    #[expect(clippy::cast_possible_truncation, reason = "a fraction of a nanosecond is nothing")]
    let nanoseconds = total as i64;
    (!text.is_empty()).then_some(nanoseconds)
}
