//! Selectors, and what stands behind an expression: ranges, `@`, `offset`, `anchored` and `smoothed`.

use super::Parser;
use crate::ast::{At, Duration, Expr, Extension, Kind, Range, Selector, Subquery, Type, When};
use crate::error::Error;
use crate::labels::METRIC_NAME;
use crate::lexer::Token;
use crate::matcher::{MatchOp, Matcher, RegexError};

/// Keywords that cannot be a metric's name.
const RESERVED: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

impl Parser<'_> {
    /// `name`, `name{...}` or `{...}`
    pub(super) fn selector(&mut self, name: Option<&str>) -> Result<Expr, Error> {
        let start = self.word.start;
        if let Some(name) = name {
            if RESERVED.iter().any(|word| name.eq_ignore_ascii_case(word)) {
                return Err(self.unexpected("a metric").into());
            }
            self.advance()?;
        }
        let matchers = if self.is("{") { self.matchers()? } else { Vec::new() };
        if let Some(name) = name
            && let Some(twice) = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME)
        {
            let problem = format!("metric name must not be set twice: {name:?} or {:?}", twice.value());
            return Err(self.error_at(start, problem).into());
        }
        let name = name.map(str::to_owned);
        let selector = Selector { name, matchers, when: When::default(), extension: None };
        self.build(Kind::Selector(Box::new(selector)), start)
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, Error> {
        self.advance()?;
        let mut matchers = Vec::new();
        while !self.is("}") {
            matchers.push(self.matcher()?);
            if !self.take(",")? && !self.is("}") {
                return Err(self.unexpected("\",\" or \"}\" in label matching").into());
            }
        }
        self.advance()?;
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, Error> {
        let start = self.word.start;
        let quoted = matches!(self.word.token, Token::Text(_));
        let name = match self.advance()? {
            Token::Identifier(name) if !name.contains(':') => name.to_owned(),
            Token::Text(text) => self.utf8(text, start)?,
            other => {
                let problem =
                    format!("unexpected {} in label matching, expected identifier or \"}}\"", other.describe());
                return Err(self.error_at(start, problem).into());
            }
        };
        let op = match self.word.token {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            // A quoted name alone is the metric's.
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected("label matching operator").into()),
        };
        self.advance()?;
        let at = self.word.start;
        let Token::Text(value) = self.advance()? else {
            return Err(self.error_at(at, "unexpected word in label matching, expected string").into());
        };
        let value = self.utf8(value, at)?;
        Matcher::new(name, op, value).map_err(|error| match error {
            RegexError::Size(limit) => limit.into(),
            RegexError::Syntax(_) => self.error_at(at, error.to_string()).into(),
        })
    }

    fn utf8(&self, text: Vec<u8>, at: usize) -> Result<String, Error> {
        String::from_utf8(text).map_err(|_| self.error_at(at, "labels and their values are UTF-8").into())
    }

    /// What stands behind an expression.
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr, Error> {
        loop {
            if self.is("[") {
                expr = self.brackets(expr)?;
            } else if self.is("@") {
                self.advance()?;
                let at = self.at()?;
                let start = expr.span.start;
                let Some(when) = when(&mut expr) else {
                    let problem = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                    return Err(self.error_at(start, problem).into());
                };
                if when.at.replace(at).is_some() {
                    return Err(self.error_at(start, "@ <timestamp> may not be set multiple times").into());
                }
            } else if self.is_keyword("offset") {
                self.advance()?;
                let offset = self.offset_duration()?;
                let start = expr.span.start;
                let Some(when) = when(&mut expr) else {
                    let problem = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                    return Err(self.error_at(start, problem).into());
                };
                if when.offset.replace(offset).is_some_and(|before| before != Duration::Number(0.0)) {
                    return Err(self.error_at(start, "offset may not be set multiple times").into());
                }
            } else if self.is_keyword("anchored") || self.is_keyword("smoothed") {
                self.extend(&mut expr)?;
            } else {
                return Ok(expr);
            }
            expr.span.end = self.last_end;
        }
    }

    fn extend(&mut self, expr: &mut Expr) -> Result<(), Error> {
        let (extension, word) = if self.is_keyword("anchored") {
            (Extension::Anchored, "anchored")
        } else {
            (Extension::Smoothed, "smoothed")
        };
        let start = expr.span.start;
        self.advance()?;
        let selector = match &mut expr.kind {
            Kind::Selector(selector) => selector,
            Kind::Range(range) => &mut range.selector,
            Kind::Subquery(_) => {
                return Err(self.error_at(start, format!("{word} modifier is not supported for subqueries")).into());
            }
            _ => return Err(self.error_at(start, format!("{word} modifier not implemented")).into()),
        };
        if selector.extension.replace(extension).is_some_and(|before| before != extension) {
            let problem = "anchored and smoothed modifiers cannot be used together";
            return Err(self.error_at(start, problem).into());
        }
        Ok(())
    }

    /// Behind `@`.
    fn at(&mut self) -> Result<At, Error> {
        for (keyword, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_keyword(keyword)? {
                self.expect("(", "after the name")?;
                self.expect(")", "after the parenthesis")?;
                return Ok(at);
            }
        }
        let start = self.word.start;
        let seconds = self.signed_number()?;
        let milliseconds = (seconds * 1000.0).round();
        // Far enough from the ends that offsets and ranges can be taken away.
        if milliseconds.is_nan() || milliseconds.abs() > 9e15 {
            return Err(self.error_at(start, format!("timestamp out of bounds for @ modifier: {seconds}")).into());
        }
        Ok(At::Time(milliseconds as i64))
    }

    /// `[5m]` or `[5m:1m]`
    fn brackets(&mut self, expr: Expr) -> Result<Expr, Error> {
        let (start, at) = (expr.span.start, self.word.start);
        self.advance()?;
        let range = self.positive_duration()?;
        if self.take(":")? {
            let step = if self.is("]") { None } else { Some(self.positive_duration()?) };
            self.expect("]", "in subquery selector")?;
            let found = expr.result_type();
            if found != Type::Vector {
                let problem = format!("subquery is only allowed on instant vector, got {} instead", found.name());
                return Err(self.error_at(start, problem).into());
            }
            let subquery = Subquery { expr, range, step, when: When::default() };
            return self.build(Kind::Subquery(Box::new(subquery)), start);
        }
        self.expect("]", "or \":\" in subquery or range selector")?;
        let problem = match expr.kind {
            Kind::Selector(selector) => {
                if selector.when.offset.is_some() {
                    "no offset modifiers allowed before range"
                } else if selector.when.at.is_some() {
                    "no @ modifiers allowed before range"
                } else {
                    return self.build(Kind::Range(Box::new(Range { selector: *selector, range })), start);
                }
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error_at(at, problem).into())
    }
}

/// Where a modifier of the time belongs.
fn when(expr: &mut Expr) -> Option<&mut When> {
    match &mut expr.kind {
        Kind::Selector(selector) => Some(&mut selector.when),
        Kind::Range(range) => Some(&mut range.selector.when),
        Kind::Subquery(subquery) => Some(&mut subquery.when),
        _ => None,
    }
}
