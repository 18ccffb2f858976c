//! A query as a tree.

use crate::functions::Function;
use crate::labels::METRIC_NAME;
use crate::matcher::Matcher;

/// Where a part of a query stands. Two that stand elsewhere are the same nevertheless.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What an expression results in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A number at each step.
    Scalar,
    /// A text.
    String,
    /// Series with a sample at each step.
    Vector,
    /// Series with samples over a range.
    Matrix,
}

impl Type {
    /// As Prometheus' documentation calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
    /// Levels below and with it.
    pub(crate) depth: u32,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A number; durations are numbers of seconds.
    Number(f64),
    /// A text, which need not be UTF-8.
    Text(Vec<u8>),
    /// `metric{label="value"}`
    Selector(Box<Selector>),
    /// `metric[5m]`
    Range(Box<Range>),
    /// `expression[5m:1m]`
    Subquery(Box<Subquery>),
    /// `-expression` or `+expression`
    Unary(bool, Box<Expr>),
    /// `(expression)`
    Paren(Box<Expr>),
    /// `left + right`
    Binary(Box<Binary>),
    /// `sum by (label) (expression)`
    Aggregate(Box<Aggregate>),
    /// `rate(...)`
    Call(&'static Function, Vec<Expr>),
}

/// Which series.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The metric's name, where it is written before the braces.
    pub name: Option<String>,
    /// What is written in the braces.
    pub matchers: Vec<Matcher>,
    /// When.
    pub when: When,
    /// Whether samples beyond the range count.
    pub extension: Option<Extension>,
}

impl Selector {
    /// All conditions, with the one on the name.
    #[must_use]
    pub fn all_matchers(&self) -> Vec<Matcher> {
        let name = self.name.as_ref().map(|name| Matcher::equal(METRIC_NAME, name));
        self.matchers.iter().cloned().chain(name).collect()
    }

    /// Whether it selects something particular: a selector that every series fits is most likely a mistake.
    pub(crate) fn is_particular(&self) -> bool {
        self.name.is_some() || self.matchers.iter().any(|matcher| !matcher.matches(""))
    }
}

/// The time that a selector or subquery is evaluated for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct When {
    /// `@`: instead of the step's.
    pub at: Option<At>,
    /// `offset`: so much earlier.
    pub offset: Option<Duration>,
}

/// A fixed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since 1970.
    Time(i64),
    /// The query's first step.
    Start,
    /// The query's last step.
    End,
}

/// Which samples beyond a range count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The last one before the range.
    Anchored,
    /// Values between samples, at both ends.
    Smoothed,
}

/// A selector over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// Which series, and when.
    pub selector: Selector,
    /// How far back.
    pub range: Duration,
}

/// An expression at many times.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What.
    pub expr: Expr,
    /// How far back.
    pub range: Duration,
    /// How often; the caller's default where it is left out.
    pub step: Option<Duration>,
    /// When.
    pub when: When,
}

/// A duration as it is written: a number, or a calculation with the query's step and range.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// Seconds.
    Number(f64),
    /// `step()`
    Step,
    /// `range()`: from the query's first step to its last.
    Range,
    /// `-duration`
    Negative(Box<Duration>),
    /// `(duration)`
    Paren(Box<Duration>),
    /// `+`, `-`, `*`, `/`, `%`, `^`
    Binary(Op, Box<Duration>, Box<Duration>),
    /// `min_of(a, b)`
    Min(Box<Duration>, Box<Duration>),
    /// `max_of(a, b)`
    Max(Box<Duration>, Box<Duration>),
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `</`: a histogram's part below a value
    TrimUpper,
    /// `>/`: a histogram's part above a value
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl Op {
    /// Every operator, with how it is written and how strongly it binds.
    pub const ALL: [(Self, &'static str, u8); 18] = [
        (Self::Or, "or", 1),
        (Self::And, "and", 2),
        (Self::Unless, "unless", 2),
        (Self::Eq, "==", 3),
        (Self::Ne, "!=", 3),
        (Self::Lt, "<", 3),
        (Self::Le, "<=", 3),
        (Self::Gt, ">", 3),
        (Self::Ge, ">=", 3),
        (Self::TrimUpper, "</", 3),
        (Self::TrimLower, ">/", 3),
        (Self::Add, "+", 4),
        (Self::Sub, "-", 4),
        (Self::Mul, "*", 5),
        (Self::Div, "/", 5),
        (Self::Mod, "%", 5),
        (Self::Atan2, "atan2", 5),
        (Self::Pow, "^", 6),
    ];

    /// How it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        Self::ALL.iter().find(|(op, ..)| *op == self).map_or("", |(_, symbol, _)| symbol)
    }

    /// Whether it takes or leaves samples instead of calculating.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether it compares.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Whether the result is no longer what the metric's name says.
    pub(crate) fn changes_metric(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2)
    }
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: Op,
    /// The left side.
    pub left: Expr,
    /// The right side.
    pub right: Expr,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Which series of the two sides belong together.
    pub matching: Matching,
}

/// How many series of each side belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One of each.
    #[default]
    OneToOne,
    /// `group_left`: many of the left side.
    ManyToOne,
    /// `group_right`: many of the right side.
    OneToMany,
}

/// Which series of two sides belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// The labels that are compared, or left out.
    pub labels: Vec<String>,
    /// How many.
    pub cardinality: Cardinality,
    /// Labels taken over from the one side.
    pub include: Vec<String>,
    /// Stands for what the left side lacks.
    pub fill_left: Option<f64>,
    /// Stands for what the right side lacks.
    pub fill_right: Option<f64>,
}

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregator {
    /// `avg`
    Avg,
    /// `bottomk`
    Bottomk,
    /// `count`
    Count,
    /// `count_values`
    CountValues,
    /// `group`
    Group,
    /// `limit_ratio`
    LimitRatio,
    /// `limitk`
    Limitk,
    /// `max`
    Max,
    /// `min`
    Min,
    /// `quantile`
    Quantile,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `sum`
    Sum,
    /// `topk`
    Topk,
}

impl Aggregator {
    /// Every aggregation with its name.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Avg, "avg"),
        (Self::Bottomk, "bottomk"),
        (Self::Count, "count"),
        (Self::CountValues, "count_values"),
        (Self::Group, "group"),
        (Self::LimitRatio, "limit_ratio"),
        (Self::Limitk, "limitk"),
        (Self::Max, "max"),
        (Self::Min, "min"),
        (Self::Quantile, "quantile"),
        (Self::Stddev, "stddev"),
        (Self::Stdvar, "stdvar"),
        (Self::Sum, "sum"),
        (Self::Topk, "topk"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(aggregator, _)| *aggregator == self).map_or("", |(_, name)| name)
    }

    /// What its first argument is, if it has two.
    #[must_use]
    pub fn parameter(self) -> Option<Type> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => Some(Type::Scalar),
            Self::CountValues => Some(Type::String),
            _ => None,
        }
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: Aggregator,
    /// Of what.
    pub expr: Expr,
    /// How many, which quantile, which label.
    pub parameter: Option<Expr>,
    /// `without` instead of `by`.
    pub without: bool,
    /// The labels that make the groups.
    pub grouping: Vec<String>,
}

impl Expr {
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        let below = match &kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(_) => 0,
            Kind::Subquery(subquery) => subquery.expr.depth,
            Kind::Unary(_, expr) | Kind::Paren(expr) => expr.depth,
            Kind::Binary(binary) => binary.left.depth.max(binary.right.depth),
            Kind::Aggregate(aggregate) => {
                aggregate.expr.depth.max(aggregate.parameter.as_ref().map_or(0, |expr| expr.depth))
            }
            Kind::Call(_, args) => args.iter().map(|arg| arg.depth).max().unwrap_or(0),
        };
        Self { kind, span, depth: below.saturating_add(1) }
    }

    /// What it results in.
    #[must_use]
    pub fn result_type(&self) -> Type {
        match &self.kind {
            Kind::Number(_) => Type::Scalar,
            Kind::Text(_) => Type::String,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Range(_) | Kind::Subquery(_) => Type::Matrix,
            Kind::Unary(_, expr) | Kind::Paren(expr) => expr.result_type(),
            Kind::Binary(binary) => {
                if binary.left.result_type() == Type::Scalar && binary.right.result_type() == Type::Scalar {
                    Type::Scalar
                } else {
                    Type::Vector
                }
            }
            Kind::Call(function, _) => function.returns,
        }
    }

    /// What is within the parentheses around it.
    #[must_use]
    pub fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Paren(expr) => expr.bare(),
            _ => self,
        }
    }

    /// The parts that are expressions themselves.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(_) => Vec::new(),
            Kind::Subquery(subquery) => vec![&subquery.expr],
            Kind::Unary(_, expr) | Kind::Paren(expr) => vec![expr],
            Kind::Binary(binary) => vec![&binary.left, &binary.right],
            Kind::Aggregate(aggregate) => aggregate.parameter.iter().chain([&aggregate.expr]).collect(),
            Kind::Call(_, args) => args.iter().collect(),
        }
    }
}
