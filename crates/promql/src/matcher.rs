//! Label matchers: which series a selector means.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::error::Limit;
use crate::format;
use crate::labels::Labels;
use crate::limits::MAX_REGEX_BYTES;

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, the whole value
    Regex,
    /// `!~`, the whole value
    NotRegex,
}

/// One condition on one label. A label that is not there has an empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// A matcher.
    ///
    /// # Errors
    /// When the value is to be a regular expression and is none, or one that is too large.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, RegexError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// A matcher for one value.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a value or a regular expression.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value is meant.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let found = self.regex.as_ref().map_or(self.value == value, |regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal | MatchOp::Regex => found,
            MatchOp::NotEqual | MatchOp::NotRegex => !found,
        }
    }

    /// Whether a series is meant by all of some matchers.
    #[must_use]
    pub fn all_match(matchers: &[Self], labels: &Labels) -> bool {
        matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", format::name(&self.name), format::quote(self.value.as_bytes()))
    }
}

/// Why a text is no regular expression.
#[derive(Debug, thiserror::Error)]
pub enum RegexError {
    /// It is not written as one.
    #[error("not a regular expression: {0}")]
    Syntax(#[source] Box<regex::Error>),
    /// It is too large.
    #[error(transparent)]
    Size(#[from] Limit),
}

/// A regular expression that has to match a whole value.
pub(crate) fn compile(pattern: &str) -> Result<Regex, RegexError> {
    let built = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(MAX_REGEX_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => RegexError::Size(Limit::Regex),
        other => RegexError::Syntax(Box::new(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_means_the_whole_value() {
        let of = |op, value: &str| Matcher::new("a", op, value).unwrap();
        assert!(of(MatchOp::Regex, "pro.*").matches("production"));
        assert!(!of(MatchOp::Regex, "duct").matches("production"));
        assert!(of(MatchOp::Regex, "a|b").matches("b"));
        assert!(of(MatchOp::NotRegex, "(?i:PRO).*").matches("canary"));
        assert!(of(MatchOp::NotEqual, "x").matches("") && of(MatchOp::Equal, "").matches(""));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let error = Matcher::new("a", MatchOp::Regex, "((a{100}){100}){100}").unwrap_err();
        assert!(error.to_string().contains("write a simpler one"), "{error}");
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
