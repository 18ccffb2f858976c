//! A query's tree as text, which is read as the same tree again.

use std::fmt;

use crate::ast::{Aggregate, At, Binary, Cardinality, Duration, Expr, Extension, Kind, Op, Selector, When};
use crate::{duration, format};

/// Things with something between them.
struct List<'a, T>(&'a [T], fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result);

impl<T> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            (self.1)(item, f)?;
        }
        Ok(())
    }
}

fn labels(names: &[String]) -> List<'_, String> {
    List(names, |name, f| f.write_str(&format::name(name)))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(number) => f.write_str(&format::plain(*number)),
            Kind::Text(text) => f.write_str(&format::quote(text)),
            Kind::Selector(selector) => write!(f, "{selector}{}{}", Extended(selector), selector.when),
            Kind::Range(range) => {
                let selector = &range.selector;
                write!(f, "{selector}[{}]{}{}", range.range, Extended(selector), selector.when)
            }
            Kind::Subquery(subquery) => {
                write!(f, "{}[{}:", subquery.expr, subquery.range)?;
                if let Some(step) = &subquery.step {
                    write!(f, "{step}")?;
                }
                write!(f, "]{}", subquery.when)
            }
            Kind::Unary(negative, expr) => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            Kind::Paren(expr) => write!(f, "({expr})"),
            Kind::Binary(binary) => write!(f, "{binary}"),
            Kind::Aggregate(aggregate) => write!(f, "{aggregate}"),
            Kind::Call(function, args) => write!(f, "{}({})", function.name, List(args, |arg, f| arg.fmt(f))),
        }
    }
}

/// Name and matchers only.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or_default())?;
        if self.name.is_none() || !self.matchers.is_empty() {
            write!(f, "{{{}}}", List(&self.matchers, |matcher, f| matcher.fmt(f)))?;
        }
        Ok(())
    }
}

struct Extended<'a>(&'a Selector);

impl fmt::Display for Extended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.extension {
            None => "",
            Some(Extension::Anchored) => " anchored",
            Some(Extension::Smoothed) => " smoothed",
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Time(time)) => {
                let sign = if time < 0 { "-" } else { "" };
                write!(f, " @ {sign}{}.{:03}", time.unsigned_abs() / 1000, time.unsigned_abs() % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
        }
        match &self.offset {
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(seconds) => {
                let milliseconds = (seconds.abs() * 1000.0).round();
                let exact = milliseconds / 1000.0 == seconds.abs() && milliseconds < 1e15;
                let sign = if *seconds < 0.0 { "-" } else { "" };
                if exact {
                    write!(f, "{sign}{}", duration::print(milliseconds as u64))
                } else {
                    write!(f, "{sign}{}", format::plain(seconds.abs()))
                }
            }
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Binary(op, left, right) => write!(f, "{left} {} {right}", op.symbol()),
            Self::Min(left, right) => write!(f, "min_of({left}, {right})"),
            Self::Max(left, right) => write!(f, "max_of({left}, {right})"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.left, self.op, if self.returns_bool { " bool" } else { "" })?;
        let matching = &self.matching;
        if matching.on || !matching.labels.is_empty() || matching.cardinality != Cardinality::OneToOne {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", labels(&matching.labels))?;
        }
        let group = match matching.cardinality {
            Cardinality::OneToOne => None,
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
        };
        if let Some(group) = group {
            write!(f, " {group} ({})", labels(&matching.include))?;
        }
        for (word, value) in [("fill_left", matching.fill_left), ("fill_right", matching.fill_right)] {
            if let Some(value) = value {
                write!(f, " {word} ({})", format::plain(value))?;
            }
        }
        write!(f, " {}", self.right)
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if self.without {
            write!(f, " without ({}) ", labels(&self.grouping))?;
        } else if !self.grouping.is_empty() {
            write!(f, " by ({}) ", labels(&self.grouping))?;
        }
        match &self.parameter {
            Some(parameter) => write!(f, "({parameter}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}
