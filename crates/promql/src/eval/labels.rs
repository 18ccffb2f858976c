//! Functions of labels: `label_replace`, `label_join`, and the four that sort.

use std::cmp::Ordering;

use super::values::{Row, Steps, merge_same};
use super::{Evaluator, mistyped};
use crate::ast::Expr;
use crate::error::{Error, Limit};
use crate::format;
use crate::functions::Special;
use crate::labels::METRIC_NAME;
use crate::limits::MAX_LABEL_BYTES;
use crate::matcher::{self, RegexError};

impl Evaluator<'_> {
    /// An argument that names a label.
    fn label_arg(args: &[Expr], index: usize, role: &str, function: &str) -> Result<String, Error> {
        let text = Self::text_arg(args, index)?;
        let name = std::str::from_utf8(text).ok().filter(|name| !name.is_empty());
        let wrong = || String::from_utf8_lossy(text).into_owned();
        name.map(str::to_owned)
            .ok_or_else(|| Error::evaluation(format!("invalid {role} label name in {function}(): {}", wrong())))
    }

    fn utf8_arg(args: &[Expr], index: usize) -> Result<String, Error> {
        let text = Self::text_arg(args, index)?.to_vec();
        String::from_utf8(text)
            .map_err(|error| Error::evaluation(format!("not UTF-8: {}", format::quote(error.as_bytes()))))
    }

    pub(super) fn label_replace(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let pattern = Self::utf8_arg(args, 4)?;
        let regex = matcher::compile(&pattern).map_err(|error| match error {
            RegexError::Size(limit) => Error::Limit(limit),
            RegexError::Syntax(_) => {
                Error::evaluation(format!("invalid regular expression in label_replace(): {pattern}"))
            }
        })?;
        let target = Self::label_arg(args, 1, "destination", "label_replace")?;
        let (replacement, source) = (Self::utf8_arg(args, 2)?, Self::utf8_arg(args, 3)?);
        let mut rows = self.vector_arg(args, 0, steps)?;
        let mut value = String::new();
        for row in &mut rows {
            let text = row.labels.get(&source);
            let Some(captures) = regex.captures(text) else { continue };
            // Before it is made: each reference can stand for the whole value.
            check_length(
                replacement.matches('$').count().saturating_mul(text.len()).saturating_add(replacement.len()),
            )?;
            value.clear();
            captures.expand(&replacement, &mut value);
            row.labels = row.labels.with(&target, &value);
            row.drop_name &= target != METRIC_NAME;
        }
        merge_same(rows)
    }

    pub(super) fn label_join(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let separator = Self::utf8_arg(args, 2)?;
        let sources = (3..args.len()).map(|index| Self::label_arg(args, index, "source", "label_join"));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let target = Self::label_arg(args, 1, "destination", "label_join")?;
        let mut rows = self.vector_arg(args, 0, steps)?;
        for row in &mut rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
            let separators = separator.len().saturating_mul(values.len());
            check_length(values.iter().map(|value| value.len()).fold(separators, usize::saturating_add))?;
            row.labels = row.labels.with(&target, &values.join(&separator));
            row.drop_name &= target != METRIC_NAME;
        }
        merge_same(rows)
    }

    /// Orders the series of an instant query; those of a range query are ordered by labels in the end.
    pub(super) fn sort(&self, special: Special, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let mut rows = self.vector_arg(args, 0, steps)?;
        match special {
            Special::Sort | Special::SortDesc => {
                for row in &mut rows {
                    let values = std::mem::take(&mut row.values);
                    row.values = values.map_floats(|_, value| value);
                }
                rows.retain(|row| !row.values.is_empty());
                let descending = special == Special::SortDesc;
                rows.sort_by(|a, b| by_value(a.values.float(0), b.values.float(0), descending));
            }
            Special::SortByLabel | Special::SortByLabelDesc => {
                let names = (1..args.len()).map(|index| Self::utf8_arg(args, index)).collect::<Result<Vec<_>, _>>()?;
                rows.sort_by(|a, b| {
                    let different = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
                    let by_name = different.into_iter().find(|ordering| ordering.is_ne());
                    by_name.unwrap_or_else(|| a.labels.cmp(&b.labels))
                });
                if special == Special::SortByLabelDesc {
                    rows.reverse();
                }
            }
            _ => return Err(mistyped()),
        }
        Ok(rows)
    }
}

fn check_length(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_LABEL_BYTES { Err(Limit::LabelBytes.into()) } else { Ok(()) }
}

/// Values in order; what is no number comes last, whichever way.
pub(super) fn by_value(a: Option<f64>, b: Option<f64>, descending: bool) -> Ordering {
    let [a, b] = [a, b].map(|value| value.unwrap_or(f64::NAN));
    let ordering = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    let ordering = if descending { ordering.reverse() } else { ordering };
    a.is_nan().cmp(&b.is_nan()).then(ordering)
}

/// Texts in the order that people expect: numbers in them by their size.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(left), Some(right)) = (a.chars().next(), b.chars().next()) else { return a.len().cmp(&b.len()) };
        if left.is_ascii_digit() && right.is_ascii_digit() {
            let ([left, rest_of_a], [right, rest_of_b]) = (number(a), number(b));
            // Numbers without leading zeros are compared by their length first.
            let [x, y] = [left, right].map(|digits| digits.trim_start_matches('0'));
            let ordering = x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| left.len().cmp(&right.len()));
            if ordering.is_ne() {
                return ordering;
            }
            (a, b) = (rest_of_a, rest_of_b);
        } else {
            if left != right {
                return left.cmp(&right);
            }
            let behind = left.len_utf8();
            (a, b) = (a.get(behind..).unwrap_or_default(), b.get(behind..).unwrap_or_default());
        }
    }
}

/// The digits at the beginning, and the rest.
fn number(text: &str) -> [&str; 2] {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    [digits, rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_count_by_their_size() {
        let mut texts = ["4m1000", "4m600", "4m5", "1.111.3", "1.2.3", "1.11.3", "", "a"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "1.2.3", "1.11.3", "1.111.3", "4m5", "4m600", "4m1000", "a"]);
    }
}
