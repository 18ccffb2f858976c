//! Why there is no answer.

use std::fmt;

use crate::limits::{MAX_DEPTH, MAX_LABEL_BYTES, MAX_QUERY_BYTES, MAX_REGEX_BYTES, MAX_STEPS};

/// Why there is no answer, cut by who has to change something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The query, or its times, cannot be understood: its author has to change it.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The query asks for too much: its author has to ask for less.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// The query means nothing for the data that it meets. Where Prometheus has a text for it, this is that text.
    #[error("{0}")]
    Evaluation(EvaluationError),
    /// The storage could not be read: the query may be asked again.
    #[error("the samples cannot be read: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn evaluation(text: impl Into<String>) -> Self {
        Self::Evaluation(EvaluationError(text.into()))
    }

    /// Prometheus' `errorType` of the answer.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Query(_) => "bad_data",
            Self::Limit(_) | Self::Evaluation(_) => "execution",
            Self::Storage(_) => "internal",
        }
    }
}

/// What is wrong with a query's text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: parse error: {problem}")]
pub struct QueryError {
    /// Where it was noticed.
    pub place: Place,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A place in a query, both parts from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The byte in the line.
    pub column: usize,
}

impl Place {
    /// Of a byte of the query.
    pub(crate) fn of(query: &str, offset: usize) -> Self {
        let before = query.as_bytes().get(..offset).unwrap_or(query.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What a query asks too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Its text.
    #[error("the query is longer than {MAX_QUERY_BYTES} bytes; split it")]
    QueryBytes,
    /// Its nesting.
    #[error("the query nests deeper than {MAX_DEPTH} levels; take parentheses or operators out, or split it")]
    Depth,
    /// Its steps.
    #[error(
        "exceeded maximum resolution of {MAX_STEPS} points per timeseries; a larger step or a shorter range is needed"
    )]
    Steps,
    /// A pattern.
    #[error("the regular expression takes more than {MAX_REGEX_BYTES} bytes when compiled; write a simpler one")]
    Regex,
    /// A label that it makes.
    #[error("a label's value would be longer than {MAX_LABEL_BYTES} bytes; repeat less in it")]
    LabelBytes,
    /// What is held at once.
    #[error(
        "query processing would load too many samples into memory: more than {0}; select fewer series, a shorter range or a larger step"
    )]
    Samples(usize),
    /// What is looked at in all.
    #[error("the query looked at more than {0} samples; select fewer series, shorter ranges or a larger step")]
    Work(u64),
    /// What a selector finds.
    #[error("a selector finds more than {0} series; add label matchers")]
    Series(usize),
}

/// What the data did not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError(String);

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
