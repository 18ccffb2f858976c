//! The parser: recursive descent, operators by their strength, one word ahead. What does not fit together by its types is refused
//! here, so that evaluation only meets what it can evaluate.
//!
//! Every query is accepted that Prometheus accepts with all of its experimental syntax switched on.

mod call;
mod check;
mod durations;
mod selector;

use crate::ast::{Aggregator, Binary, Cardinality, Expr, Kind, Op, Span};
use crate::error::{Error, Limit, QueryError};
use crate::lexer::{Lexer, Token, Word};
use crate::limits::{MAX_DEPTH, MAX_QUERY_BYTES};

/// Reads a query.
///
/// # Errors
/// When it is no query, or one that is too long or too deep.
pub fn parse(query: &str) -> Result<Expr, Error> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(Limit::QueryBytes.into());
    }
    let mut parser = Parser::new(query)?;
    if parser.word.token == Token::End {
        return Err(parser.error_at(0, "no expression found in input").into());
    }
    let expr = parser.expression(0)?;
    if parser.word.token != Token::End {
        return Err(parser.unexpected("an operator or the end of the query").into());
    }
    parser.check_selectors(&expr)?;
    Ok(expr)
}

/// Reads a series selector alone: `metric{label="value"}`.
///
/// # Errors
/// When it is anything else.
pub fn parse_selector(query: &str) -> Result<crate::ast::Selector, Error> {
    let expr = parse(query)?;
    match expr.kind {
        Kind::Selector(selector) if selector.when == crate::ast::When::default() && selector.extension.is_none() => {
            Ok(*selector)
        }
        _ => {
            let problem = "a series selector is needed, such as metric{label=\"value\"}".to_owned();
            Err(QueryError { place: crate::error::Place { line: 1, column: 1 }, problem }.into())
        }
    }
}

/// How strongly a sign binds: as multiplication, so that `-2^2` is `-(2^2)`.
const SIGN_STRENGTH: u8 = 5;

struct Parser<'q> {
    lexer: Lexer<'q>,
    word: Word<'q>,
    /// Where the word before it ended.
    last_end: usize,
    depth: u32,
}

impl<'q> Parser<'q> {
    fn new(query: &'q str) -> Result<Self, QueryError> {
        let mut lexer = Lexer::new(query);
        let word = lexer.next()?;
        Ok(Self { lexer, word, last_end: 0, depth: 0 })
    }

    fn error_at(&self, at: usize, problem: impl Into<String>) -> QueryError {
        self.lexer.error(at, problem)
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        self.error_at(self.word.start, format!("unexpected {}, expected {expected}", self.word.token.describe()))
    }

    /// Takes a word.
    fn advance(&mut self) -> Result<Token<'q>, QueryError> {
        let next = self.lexer.next()?;
        self.last_end = self.word.end;
        Ok(std::mem::replace(&mut self.word, next).token)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.word.token, Token::Symbol(found) if found == symbol)
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.word.token, Token::Identifier(name) if name.eq_ignore_ascii_case(keyword))
    }

    /// Takes a symbol if it is the next word.
    fn take(&mut self, symbol: &str) -> Result<bool, QueryError> {
        let found = self.is(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn take_keyword(&mut self, keyword: &str) -> Result<bool, QueryError> {
        let found = self.is_keyword(keyword);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str, context: &str) -> Result<(), QueryError> {
        if self.take(symbol)? { Ok(()) } else { Err(self.unexpected(&format!("{symbol:?} {context}"))) }
    }

    /// One level of nesting deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Limit::Depth.into());
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn build(&self, kind: Kind, start: usize) -> Result<Expr, Error> {
        let expr = Expr::new(kind, Span { start, end: self.last_end });
        // A long chain of operators is as deep a tree as nested parentheses are.
        if expr.depth > MAX_DEPTH { Err(Limit::Depth.into()) } else { Ok(expr) }
    }

    fn operator(&self) -> Option<(Op, u8)> {
        let symbol = match self.word.token {
            Token::Symbol(symbol) => symbol,
            Token::Identifier(name) => name,
            _ => return None,
        };
        Op::ALL.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(symbol)).map(|(op, _, strength)| (*op, *strength))
    }

    /// An expression whose operators all bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Result<Expr, Error> {
        self.nested(|parser| {
            let mut left = parser.operand()?;
            while let Some((op, strength)) = parser.operator().filter(|(_, strength)| *strength >= least) {
                parser.advance()?;
                let mut binary = parser.modifiers()?;
                // Powers are read from the right.
                let right = parser.expression(if op == Op::Pow { strength } else { strength + 1 })?;
                let start = left.span.start;
                binary.op = op;
                (binary.left, binary.right) = (left, right);
                parser.check_binary(&binary)?;
                left = parser.build(Kind::Binary(binary), start)?;
            }
            Ok(left)
        })
    }

    /// What stands between an operator and its right side.
    fn modifiers(&mut self) -> Result<Box<Binary>, Error> {
        let nothing = || Expr::new(Kind::Number(0.0), Span::default());
        let mut binary = Box::new(Binary {
            op: Op::Add,
            left: nothing(),
            right: nothing(),
            returns_bool: self.take_keyword("bool")?,
            matching: crate::ast::Matching::default(),
        });
        let on = self.is_keyword("on");
        if on || self.is_keyword("ignoring") {
            self.advance()?;
            binary.matching.on = on;
            binary.matching.labels = self.label_list()?;
            for (keyword, cardinality) in
                [("group_left", Cardinality::ManyToOne), ("group_right", Cardinality::OneToMany)]
            {
                if self.take_keyword(keyword)? {
                    binary.matching.cardinality = cardinality;
                    if self.is("(") {
                        binary.matching.include = self.label_list()?;
                    }
                    break;
                }
            }
        }
        for _ in 0..2 {
            self.fill(&mut binary.matching)?;
        }
        Ok(binary)
    }

    /// `fill(0)`, `fill_left(0)`, `fill_right(0)`; without a parenthesis these are names of metrics.
    fn fill(&mut self, matching: &mut crate::ast::Matching) -> Result<(), Error> {
        let Token::Identifier(name) = self.word.token else { return Ok(()) };
        let name = name.to_ascii_lowercase();
        let sides = match name.as_str() {
            "fill" if matching.fill_left.is_none() && matching.fill_right.is_none() => (true, true),
            "fill_left" if matching.fill_left.is_none() => (true, false),
            "fill_right" if matching.fill_right.is_none() => (false, true),
            _ => return Ok(()),
        };
        if self.peek()? != Token::Symbol("(") {
            return Ok(());
        }
        self.advance()?;
        self.advance()?;
        let value = Some(self.signed_number()?);
        self.expect(")", "after the value that fills in")?;
        if sides.0 {
            matching.fill_left = value;
        }
        if sides.1 {
            matching.fill_right = value;
        }
        Ok(())
    }

    /// The word after the next.
    fn peek(&self) -> Result<Token<'q>, QueryError> {
        Ok(self.lexer.ahead().next()?.token)
    }

    /// A number with or without a sign.
    fn signed_number(&mut self) -> Result<f64, QueryError> {
        let negative = self.is("-");
        if negative || self.is("+") {
            self.advance()?;
        }
        let number = self.number()?.ok_or_else(|| self.unexpected("a number"))?;
        Ok(if negative { -number } else { number })
    }

    /// A number or a duration in seconds, if that is the next word.
    fn number(&mut self) -> Result<Option<f64>, QueryError> {
        let number = match self.word.token {
            Token::Number(number) => number,
            Token::Duration(milliseconds) => milliseconds as f64 / 1000.0,
            Token::Identifier(name) if name.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Identifier(name) if name.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(number))
    }

    /// An operand with its sign.
    fn operand(&mut self) -> Result<Expr, Error> {
        let start = self.word.start;
        let negative = self.is("-");
        if !negative && !self.is("+") {
            let primary = self.primary()?;
            return self.postfix(primary);
        }
        self.advance()?;
        let operand = self.expression(SIGN_STRENGTH + 1)?;
        if let Kind::Number(number) = operand.kind {
            return self.build(Kind::Number(if negative { -number } else { number }), start);
        }
        self.check_operand(&operand)?;
        self.build(Kind::Unary(negative, Box::new(operand)), start)
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let start = self.word.start;
        if let Some(number) = self.number()? {
            return self.build(Kind::Number(number), start);
        }
        match self.word.token.clone() {
            Token::Text(text) => {
                self.advance()?;
                self.build(Kind::Text(text), start)
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.expression(0)?;
                self.expect(")", "to close the parenthesis")?;
                self.build(Kind::Paren(Box::new(inner)), start)
            }
            Token::Symbol("{") => self.selector(None),
            Token::Identifier(name) => {
                let aggregator =
                    Aggregator::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(op, _)| *op);
                let next = self.peek()?;
                let grouped = matches!(next, Token::Identifier(word)
                    if word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without"));
                match (aggregator, next) {
                    (Some(op), _) if grouped => self.aggregate(op),
                    (Some(op), Token::Symbol("(")) => self.aggregate(op),
                    (None, Token::Symbol("(")) => self.call(name),
                    _ => self.selector(Some(name)),
                }
            }
            _ => Err(self.unexpected("a metric, a number, a function or a parenthesis").into()),
        }
    }
}

#[cfg(test)]
mod tests;
