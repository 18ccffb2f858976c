//! What fits together: the types of operands and arguments.

use super::Parser;
use crate::ast::{Aggregate, Binary, Cardinality, Expr, Kind, Type, When};
use crate::error::Error;
use crate::functions::Function;

impl Parser<'_> {
    fn check_type(&self, expr: &Expr, wanted: Type, context: &str) -> Result<(), Error> {
        let found = expr.result_type();
        if found == wanted {
            return Ok(());
        }
        let problem = format!("expected type {} in {context}, got {}", wanted.name(), found.name());
        Err(self.error_at(expr.span.start, problem).into())
    }

    /// What a sign stands before.
    pub(super) fn check_operand(&self, expr: &Expr) -> Result<(), Error> {
        match expr.result_type() {
            Type::Scalar | Type::Vector => Ok(()),
            other => {
                let problem = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                    other.name()
                );
                Err(self.error_at(expr.span.start, problem).into())
            }
        }
    }

    pub(super) fn check_binary(&self, binary: &Binary) -> Result<(), Error> {
        let (op, matching) = (binary.op, &binary.matching);
        let start = binary.left.span.start;
        let fail = |at: usize, problem: String| Err(self.error_at(at, problem).into());
        for side in [&binary.left, &binary.right] {
            if !matches!(side.result_type(), Type::Scalar | Type::Vector) {
                let problem = "binary expression must contain only scalar and instant vector types";
                return fail(side.span.start, problem.to_owned());
            }
        }
        let scalars = [&binary.left, &binary.right].map(|side| side.result_type() == Type::Scalar);
        if binary.returns_bool && !op.is_comparison() {
            return fail(start, "bool modifier can only be used on comparison operators".to_owned());
        }
        if op.is_comparison() && !binary.returns_bool && scalars == [true, true] {
            return fail(start, "comparisons between scalars must use BOOL modifier".to_owned());
        }
        if matching.on
            && let Some(both) = matching.labels.iter().find(|label| matching.include.contains(label))
        {
            return fail(start, format!("label {both:?} must not occur in ON and GROUP clause at once"));
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if scalars != [false, false] {
            if op.is_set() {
                return fail(start, format!("set operator {:?} not allowed in binary scalar expression", op.symbol()));
            }
            if scalars == [true, true] && matches!(op, crate::ast::Op::TrimLower | crate::ast::Op::TrimUpper) {
                return fail(start, format!("operator {:?} cuts histograms, and not scalars", op.symbol()));
            }
            if !matching.labels.is_empty() {
                return fail(start, "vector matching only allowed between instant vectors".to_owned());
            }
            if fills {
                return fail(start, "filling in missing series only allowed between instant vectors".to_owned());
            }
        } else if op.is_set() {
            if matching.cardinality != Cardinality::OneToOne {
                return fail(start, format!("no grouping allowed for {:?} operation", op.symbol()));
            }
            if fills {
                return fail(start, "filling in missing series not allowed for set operators".to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn check_aggregate(&self, aggregate: &Aggregate) -> Result<(), Error> {
        self.check_type(&aggregate.expr, Type::Vector, "aggregation expression")?;
        match (&aggregate.parameter, aggregate.op.parameter()) {
            (Some(parameter), Some(wanted)) => self.check_type(parameter, wanted, "aggregation parameter"),
            _ => Ok(()),
        }
    }

    pub(super) fn check_call(&self, function: &'static Function, args: &[Expr], start: usize) -> Result<(), Error> {
        let (least, most) = function.arity();
        let found = args.len();
        let name = function.name;
        let problem = match most {
            Some(most) if most == least && found != least => {
                Some(format!("expected {least} argument(s) in call to {name:?}, got {found}"))
            }
            _ if found < least => {
                Some(format!("expected at least {least} argument(s) in call to {name:?}, got {found}"))
            }
            Some(most) if found > most => {
                Some(format!("expected at most {most} argument(s) in call to {name:?}, got {found}"))
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(self.error_at(start, problem).into());
        }
        for (index, arg) in args.iter().enumerate() {
            let wanted = function.args.get(index).or(function.args.last()).copied().unwrap_or(Type::Scalar);
            self.check_type(arg, wanted, &format!("call to function {name:?}"))?;
            let text = wanted == Type::String && !matches!(arg.bare().kind, Kind::Text(_));
            if text {
                return Err(self.error_at(arg.span.start, "a quoted string is needed").into());
            }
        }
        match args.get(1) {
            Some(arg) if function.name == "info" && !names_labels(arg) => {
                Err(self.error_at(arg.span.start, "expected label selectors only").into())
            }
            _ => Ok(()),
        }
    }

    /// A selector has to select something particular, except where it only names labels.
    pub(super) fn check_selectors(&self, expr: &Expr) -> Result<(), Error> {
        let selector = match &expr.kind {
            Kind::Selector(selector) => Some(&**selector),
            Kind::Range(range) => Some(&range.selector),
            _ => None,
        };
        if selector.is_some_and(|selector| !selector.is_particular()) {
            let problem = "vector selector must contain at least one non-empty matcher";
            return Err(self.error_at(expr.span.start, problem).into());
        }
        let labels_only = matches!(&expr.kind, Kind::Call(function, _) if function.name == "info");
        let children = expr.children().into_iter().enumerate();
        children.filter(|(index, _)| !labels_only || *index == 0).try_for_each(|(_, child)| self.check_selectors(child))
    }
}

/// Whether it is a selector without a metric's name, at no particular time.
fn names_labels(arg: &Expr) -> bool {
    match &arg.kind {
        Kind::Selector(selector) => selector.name.is_none() && selector.when == When::default(),
        _ => false,
    }
}
