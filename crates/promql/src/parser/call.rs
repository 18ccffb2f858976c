//! Aggregations and function calls.

use super::Parser;
use crate::ast::{Aggregate, Aggregator, Expr, Kind};
use crate::error::Error;
use crate::functions;
use crate::lexer::Token;

/// Words that mean something between operands, and label names elsewhere.
fn is_label(name: &str) -> bool {
    !name.contains(':')
}

impl Parser<'_> {
    /// `(a, b, "c.d")`
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, Error> {
        self.expect("(", "to begin a list of labels")?;
        let mut labels = Vec::new();
        while !self.is(")") {
            let start = self.word.start;
            let label = match self.advance()? {
                Token::Identifier(name) if is_label(name) => name.to_owned(),
                Token::Text(text) => {
                    let name = String::from_utf8(text).ok().filter(|name| !name.is_empty());
                    name.ok_or_else(|| self.error_at(start, "a label's name is UTF-8 and not empty"))?
                }
                other => {
                    let problem = format!("unexpected {} in grouping opts, expected label", other.describe());
                    return Err(self.error_at(start, problem).into());
                }
            };
            labels.push(label);
            if !self.take(",")? && !self.is(")") {
                return Err(self.unexpected("\",\" or \")\" in a list of labels").into());
            }
        }
        self.advance()?;
        Ok(labels)
    }

    /// `(a, b)`
    fn arguments(&mut self) -> Result<Vec<Expr>, Error> {
        self.expect("(", "to begin the arguments")?;
        let mut args = Vec::new();
        if self.take(")")? {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            if self.take(",")? {
                if self.is(")") {
                    return Err(self.unexpected("another argument: a trailing comma is not allowed").into());
                }
                continue;
            }
            self.expect(")", "or \",\" after an argument")?;
            return Ok(args);
        }
    }

    /// `by (a)` or `without (a)`
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, Error> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.advance()?;
        Ok(Some((without, self.label_list()?)))
    }

    pub(super) fn aggregate(&mut self, op: Aggregator) -> Result<Expr, Error> {
        let start = self.word.start;
        self.advance()?;
        let mut grouping = self.grouping()?;
        let args = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = grouping.unwrap_or_default();
        let wanted = if op.parameter().is_some() { 2 } else { 1 };
        let found = args.len();
        let mut args = args.into_iter();
        let parameter = op.parameter().and_then(|_| args.next());
        let (Some(expr), true) = (args.next(), found == wanted) else {
            let problem =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}");
            return Err(self.error_at(start, problem).into());
        };
        let aggregate = Aggregate { op, expr, parameter, without, grouping };
        self.check_aggregate(&aggregate)?;
        self.build(Kind::Aggregate(Box::new(aggregate)), start)
    }

    pub(super) fn call(&mut self, name: &str) -> Result<Expr, Error> {
        let start = self.word.start;
        let function = functions::find(name);
        let function = function.ok_or_else(|| self.error_at(start, format!("unknown function with name {name:?}")))?;
        self.advance()?;
        let args = self.arguments()?;
        self.check_call(function, &args, start)?;
        self.build(Kind::Call(function, args), start)
    }
}
