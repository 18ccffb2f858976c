//! Durations behind `offset` and in brackets, which may be calculated.

use super::Parser;
use crate::ast::{Duration, Op};
use crate::duration::MAX_SECONDS;
use crate::error::{Error, Limit};
use crate::limits::MAX_DEPTH;

impl Parser<'_> {
    /// Behind `offset`: what binds at once; a calculation needs parentheses.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, Error> {
        if self.take("-")? {
            return Ok(negative(self.duration_operand()?));
        }
        self.take("+")?;
        self.duration_operand()
    }

    /// In brackets: a positive duration.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, Error> {
        let start = self.word.start;
        let duration = self.duration(0)?;
        match duration {
            Duration::Number(seconds) if seconds <= 0.0 => {
                Err(self.error_at(start, "duration must be greater than 0").into())
            }
            _ => Ok(duration),
        }
    }

    fn duration(&mut self, least: u8) -> Result<Duration, Error> {
        self.nested(|parser| {
            let mut left = if parser.take("-")? {
                negative(parser.duration(super::SIGN_STRENGTH + 1)?)
            } else if parser.take("+")? {
                parser.duration(super::SIGN_STRENGTH + 1)?
            } else {
                parser.duration_operand()?
            };
            let mut operators = 0;
            while let Some((op, strength)) = parser.operator().filter(|(_, strength)| *strength >= least) {
                if !matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow) {
                    break;
                }
                operators += 1;
                if operators > MAX_DEPTH {
                    return Err(Limit::Depth.into());
                }
                let at = parser.word.start;
                parser.advance()?;
                let right = parser.duration(if op == Op::Pow { strength } else { strength + 1 })?;
                if matches!(op, Op::Div | Op::Mod) && right == Duration::Number(0.0) {
                    let what = if op == Op::Div { "division" } else { "modulo" };
                    return Err(parser.error_at(at, format!("{what} by zero")).into());
                }
                left = Duration::Binary(op, Box::new(left), Box::new(right));
            }
            Ok(left)
        })
    }

    fn duration_operand(&mut self) -> Result<Duration, Error> {
        let start = self.word.start;
        if let Some(seconds) = self.number()? {
            if seconds.abs() <= MAX_SECONDS {
                return Ok(Duration::Number(seconds));
            }
            return Err(self.error_at(start, "duration out of range").into());
        }
        if self.take("(")? {
            let inner = self.duration(0)?;
            self.expect(")", "to close the parenthesis")?;
            return Ok(Duration::Paren(Box::new(inner)));
        }
        for (keyword, duration) in [("step", Duration::Step), ("range", Duration::Range)] {
            if self.take_keyword(keyword)? {
                self.expect("(", "after the name")?;
                self.expect(")", "after the parenthesis")?;
                return Ok(duration);
            }
        }
        for (keyword, of) in [("min_of", Duration::Min as fn(_, _) -> _), ("max_of", Duration::Max)] {
            if self.take_keyword(keyword)? {
                self.expect("(", "after the name")?;
                let left = self.duration(0)?;
                self.expect(",", "between the durations")?;
                let right = self.duration(0)?;
                self.expect(")", "after the durations")?;
                return Ok(of(Box::new(left), Box::new(right)));
            }
        }
        Err(self.unexpected("number, duration, step(), or range()").into())
    }
}

fn negative(duration: Duration) -> Duration {
    match duration {
        Duration::Number(seconds) => Duration::Number(-seconds),
        other => Duration::Negative(Box::new(other)),
    }
}
