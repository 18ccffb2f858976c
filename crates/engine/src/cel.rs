//! The Common Expression Language, as far as telemetry settings use it: attributes, literals, comparisons, logic, choices,
//! `+`, `in`, `has`, `size`, and what is asked of text (`startsWith`, `endsWith`, `contains`, `matches`).
//!
//! An expression is parsed once and evaluated often; evaluation asks an [`Attributes`] for what it names and nothing else. It
//! cannot loop: its cost is bounded by its length. Arithmetic other than `+`, macros over lists, and time are refused when it is
//! parsed.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use regex::Regex;

/// Why a text is no expression that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {what}")]
pub struct ParseError {
    /// Where.
    pub at: usize,
    /// What.
    pub what: String,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Fraction.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// List.
    List(Vec<Value<'a>>),
}

impl Value<'_> {
    /// As Istio writes it into a label.
    pub fn print(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(b) => b.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Double(n) => n.to_string(),
            Self::Text(text) => text.to_string(),
            Self::List(items) => items.iter().map(Self::print).collect::<Vec<_>>().join(","),
        }
    }
}

/// Where the values of names come from.
pub trait Attributes {
    /// The value at a path (`["request", "headers", "x-user"]`); `None`: there is none.
    fn attribute(&self, path: &[&str]) -> Option<Value<'_>>;
}

/// An evaluation failed: an attribute that is not there, or values of kinds that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoValue;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression(Node);

#[derive(Debug, Clone)]
enum Node {
    Literal(Value<'static>),
    /// A name and what is selected of it.
    Attribute(Vec<String>),
    List(Vec<Node>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choose(Box<Node>, Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Add(Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    Has(Vec<String>),
    Size(Box<Node>),
    Print(Box<Node>),
    Test(Test, Box<Node>, Box<Node>),
    Matches(Box<Node>, Box<Regex>),
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    StartsWith,
    EndsWith,
    Contains,
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// It is no expression, or one of a kind that is not supported.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::expression(text).map(Self)
    }

    /// Its value.
    ///
    /// # Errors
    /// An attribute is missing, or values do not go together.
    pub fn evaluate<'a>(&'a self, attributes: &'a dyn Attributes) -> Result<Value<'a>, NoValue> {
        self.0.evaluate(attributes)
    }

    /// Whether it holds. One without a value, or with one that is no truth value, does not.
    pub fn holds(&self, attributes: &dyn Attributes) -> bool {
        matches!(self.evaluate(attributes), Ok(Value::Bool(true)))
    }
}

impl Node {
    fn evaluate<'a>(&'a self, attributes: &'a dyn Attributes) -> Result<Value<'a>, NoValue> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Attribute(path) => attributes.attribute(&steps(path)).ok_or(NoValue),
            Self::List(items) => {
                items.iter().map(|i| i.evaluate(attributes)).collect::<Result<_, _>>().map(Value::List)
            }
            Self::Not(inner) => truth(inner.evaluate(attributes)).map(|b| Value::Bool(!b)),
            Self::And(a, b) => logic(false, a, b, attributes),
            Self::Or(a, b) => logic(true, a, b, attributes),
            Self::Choose(when, then, otherwise) => {
                if truth(when.evaluate(attributes))? { then } else { otherwise }.evaluate(attributes)
            }
            Self::Compare(how, a, b) => compare(*how, &a.evaluate(attributes)?, &b.evaluate(attributes)?),
            Self::Add(a, b) => add(a.evaluate(attributes)?, b.evaluate(attributes)?),
            Self::In(item, of) => contained(item, of, attributes),
            Self::Has(path) => Ok(Value::Bool(attributes.attribute(&steps(path)).is_some())),
            Self::Size(inner) => match inner.evaluate(attributes)? {
                Value::Text(text) => whole(text.chars().count()),
                Value::List(items) => whole(items.len()),
                _ => Err(NoValue),
            },
            Self::Print(inner) => inner.evaluate(attributes).map(|v| Value::Text(v.print().into())),
            Self::Test(how, a, b) => match (a.evaluate(attributes)?, b.evaluate(attributes)?) {
                (Value::Text(a), Value::Text(b)) => Ok(Value::Bool(match how {
                    Test::StartsWith => a.starts_with(&*b),
                    Test::EndsWith => a.ends_with(&*b),
                    Test::Contains => a.contains(&*b),
                })),
                _ => Err(NoValue),
            },
            Self::Matches(inner, regex) => match inner.evaluate(attributes)? {
                Value::Text(text) => Ok(Value::Bool(regex.is_match(&text))),
                _ => Err(NoValue),
            },
        }
    }
}

fn steps(path: &[String]) -> smallvec::SmallVec<[&str; 4]> {
    path.iter().map(String::as_str).collect()
}

fn truth(value: Result<Value<'_>, NoValue>) -> Result<bool, NoValue> {
    match value? {
        Value::Bool(b) => Ok(b),
        _ => Err(NoValue),
    }
}

fn whole<'a>(n: usize) -> Result<Value<'a>, NoValue> {
    i64::try_from(n).map(Value::Int).map_err(|_| NoValue)
}

/// `&&` and `||`: one side that decides alone does so, even if the other has no value.
fn logic<'a>(decides: bool, a: &'a Node, b: &'a Node, attributes: &'a dyn Attributes) -> Result<Value<'a>, NoValue> {
    let first = truth(a.evaluate(attributes));
    if first == Ok(decides) {
        return Ok(Value::Bool(decides));
    }
    match (first, truth(b.evaluate(attributes))) {
        (_, Ok(second)) if second == decides => Ok(Value::Bool(decides)),
        (Ok(_), Ok(_)) => Ok(Value::Bool(!decides)),
        _ => Err(NoValue),
    }
}

#[expect(clippy::cast_precision_loss, reason = "as CEL compares whole numbers with fractions")]
fn compare<'a>(how: Comparison, a: &Value<'_>, b: &Value<'_>) -> Result<Value<'a>, NoValue> {
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let holds = match (how, order) {
        (Comparison::Equal, order) => order.map_or(a == b, std::cmp::Ordering::is_eq),
        (Comparison::NotEqual, order) => order.map_or(a != b, std::cmp::Ordering::is_ne),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::LessOrEqual, Some(order)) => order.is_le(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::GreaterOrEqual, Some(order)) => order.is_ge(),
        (_, None) => return Err(NoValue),
    };
    Ok(Value::Bool(holds))
}

fn add<'a>(a: Value<'a>, b: Value<'a>) -> Result<Value<'a>, NoValue> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(b).map(Value::Int).ok_or(NoValue),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Text(a), Value::Text(b)) => Ok(Value::Text(Cow::Owned(a.into_owned() + &b))),
        (Value::List(mut a), Value::List(b)) => {
            a.extend(b);
            Ok(Value::List(a))
        }
        _ => Err(NoValue),
    }
}

/// Whether a list has an element, or a map that is named has a key.
fn contained<'a>(item: &'a Node, of: &'a Node, attributes: &'a dyn Attributes) -> Result<Value<'a>, NoValue> {
    let item = item.evaluate(attributes)?;
    if let (Node::Attribute(path), Value::Text(key)) = (of, &item) {
        let mut steps = steps(path);
        steps.push(key);
        if attributes.attribute(&steps).is_some() {
            return Ok(Value::Bool(true));
        }
        return match attributes.attribute(steps.get(..path.len()).unwrap_or_default()) {
            Some(Value::List(items)) => Ok(Value::Bool(items.contains(&item))),
            _ => Ok(Value::Bool(false)),
        };
    }
    match of.evaluate(attributes)? {
        Value::List(items) => Ok(Value::Bool(items.contains(&item))),
        _ => Err(NoValue),
    }
}
