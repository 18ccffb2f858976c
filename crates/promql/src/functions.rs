//! The table of functions: what each takes and gives, and what computes it. `docs/PROMQL.md` lists the same.

use crate::ast::Type;
use crate::date::Date;
use crate::eval::over_time as ot;
use crate::eval::{RangeFunction, rate, trend};
use crate::histogram::Histogram;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub args: &'static [Type],
    /// How many of the last kind may be left out or added.
    variadic: Variadic,
    /// What it gives.
    pub returns: Type,
    pub(crate) body: Body,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variadic {
    No,
    /// The last argument may be left out, or be there so often.
    UpTo(usize),
    /// The last argument may be left out, or be there any number of times.
    Any,
}

/// What computes a function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// Of each float sample.
    Float(fn(f64) -> f64),
    /// Of each histogram sample.
    Histogram(fn(&Histogram) -> f64),
    /// Of the time that each float sample is, or of the step's.
    Date(fn(&Date) -> i64),
    /// Of each series' samples in a range.
    Range(RangeFunction),
    /// Of its own.
    Special(Special),
}

/// Functions that are each computed in a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMax,
    ClampMin,
    End,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    Pi,
    Range,
    Round,
    Scalar,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Start,
    StartTimestamp,
    Step,
    Time,
    Timestamp,
    Vector,
}

impl Function {
    /// How many arguments it takes at least, and at most.
    pub(crate) fn arity(&self) -> (usize, Option<usize>) {
        let named = self.args.len();
        match self.variadic {
            Variadic::No => (named, Some(named)),
            Variadic::UpTo(more) => (named.saturating_sub(1), Some(named.saturating_sub(1) + more)),
            Variadic::Any => (named.saturating_sub(1), None),
        }
    }

    pub(crate) fn body_is(&self, special: Special) -> bool {
        matches!(self.body, Body::Special(own) if own == special)
    }

    /// Whether it depends on the step's time even where its arguments do not.
    pub(crate) fn depends_on_time(&self) -> bool {
        matches!(self.body, Body::Date(_) | Body::Special(Special::Time | Special::Timestamp | Special::StartTimestamp))
            || self.name == "predict_linear"
    }
}

/// A function by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().and_then(|at| FUNCTIONS.get(at))
}

use Type::{Matrix as M, Scalar as S, String as T, Vector as V};

const fn of(name: &'static str, args: &'static [Type], variadic: Variadic, returns: Type, body: Body) -> Function {
    Function { name, args, variadic, returns, body }
}

const fn float(name: &'static str, body: fn(f64) -> f64) -> Function {
    of(name, &[V], Variadic::No, V, Body::Float(body))
}

const fn histogram(name: &'static str, body: fn(&Histogram) -> f64) -> Function {
    of(name, &[V], Variadic::No, V, Body::Histogram(body))
}

const fn date(name: &'static str, body: fn(&Date) -> i64) -> Function {
    of(name, &[V], Variadic::UpTo(1), V, Body::Date(body))
}

const fn range(name: &'static str, body: RangeFunction) -> Function {
    of(name, &[M], Variadic::No, V, Body::Range(body))
}

const fn special(name: &'static str, args: &'static [Type], returns: Type, body: Special) -> Function {
    of(name, args, Variadic::No, returns, Body::Special(body))
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Every function, ordered by name.
pub static FUNCTIONS: [Function; 90] = [
    float("abs", f64::abs),
    special("absent", &[V], V, Special::Absent),
    special("absent_over_time", &[M], V, Special::AbsentOverTime),
    float("acos", f64::acos),
    float("acosh", f64::acosh),
    float("asin", f64::asin),
    float("asinh", f64::asinh),
    float("atan", f64::atan),
    float("atanh", f64::atanh),
    range("avg_over_time", ot::avg),
    float("ceil", f64::ceil),
    range("changes", trend::changes),
    special("clamp", &[V, S, S], V, Special::Clamp),
    special("clamp_max", &[V, S], V, Special::ClampMax),
    special("clamp_min", &[V, S], V, Special::ClampMin),
    float("cos", f64::cos),
    float("cosh", f64::cosh),
    range("count_over_time", ot::count),
    date("day_of_month", |date| date.day),
    date("day_of_week", |date| date.weekday),
    date("day_of_year", |date| date.day_of_year),
    date("days_in_month", Date::days_in_month),
    float("deg", f64::to_degrees),
    range("delta", rate::delta),
    range("deriv", trend::deriv),
    of("double_exponential_smoothing", &[M, S, S], Variadic::No, V, Body::Range(trend::double_exponential_smoothing)),
    special("end", &[], S, Special::End),
    float("exp", f64::exp),
    range("first_over_time", ot::first),
    float("floor", f64::floor),
    histogram("histogram_avg", |h| h.sum / h.count),
    histogram("histogram_count", |h| h.count),
    special("histogram_fraction", &[S, S, V], V, Special::HistogramFraction),
    special("histogram_quantile", &[S, V], V, Special::HistogramQuantile),
    of("histogram_quantiles", &[V, T, S, S], Variadic::UpTo(9), V, Body::Special(Special::HistogramQuantiles)),
    histogram("histogram_stddev", |h| h.variance().sqrt()),
    histogram("histogram_stdvar", Histogram::variance),
    histogram("histogram_sum", |h| h.sum),
    date("hour", |date| date.hour),
    range("idelta", rate::idelta),
    range("increase", rate::increase),
    of("info", &[V, V], Variadic::UpTo(1), V, Body::Special(Special::Info)),
    range("irate", rate::irate),
    of("label_join", &[V, T, T, T], Variadic::Any, V, Body::Special(Special::LabelJoin)),
    special("label_replace", &[V, T, T, T, T], V, Special::LabelReplace),
    range("last_over_time", ot::last),
    float("ln", f64::ln),
    float("log10", f64::log10),
    float("log2", f64::log2),
    range("mad_over_time", ot::mad),
    special("max_of", &[S, S], S, Special::MaxOf),
    range("max_over_time", ot::max),
    special("min_of", &[S, S], S, Special::MinOf),
    range("min_over_time", ot::min),
    date("minute", |date| date.minute),
    date("month", |date| date.month),
    special("pi", &[], S, Special::Pi),
    of("predict_linear", &[M, S], Variadic::No, V, Body::Range(trend::predict_linear)),
    range("present_over_time", ot::present),
    of("quantile_over_time", &[S, M], Variadic::No, V, Body::Range(ot::quantile)),
    float("rad", f64::to_radians),
    special("range", &[], S, Special::Range),
    range("rate", rate::rate),
    range("resets", trend::resets),
    of("round", &[V, S], Variadic::UpTo(1), V, Body::Special(Special::Round)),
    special("scalar", &[V], S, Special::Scalar),
    float("sgn", sign),
    float("sin", f64::sin),
    float("sinh", f64::sinh),
    special("sort", &[V], V, Special::Sort),
    of("sort_by_label", &[V, T], Variadic::Any, V, Body::Special(Special::SortByLabel)),
    of("sort_by_label_desc", &[V, T], Variadic::Any, V, Body::Special(Special::SortByLabelDesc)),
    special("sort_desc", &[V], V, Special::SortDesc),
    float("sqrt", f64::sqrt),
    special("start", &[], S, Special::Start),
    special("start_timestamp", &[V], V, Special::StartTimestamp),
    range("stddev_over_time", ot::stddev),
    range("stdvar_over_time", ot::stdvar),
    special("step", &[], S, Special::Step),
    range("sum_over_time", ot::sum),
    float("tan", f64::tan),
    float("tanh", f64::tanh),
    special("time", &[], S, Special::Time),
    special("timestamp", &[V], V, Special::Timestamp),
    range("ts_of_first_over_time", ot::time_of_first),
    range("ts_of_last_over_time", ot::time_of_last),
    range("ts_of_max_over_time", ot::time_of_max),
    range("ts_of_min_over_time", ot::time_of_min),
    special("vector", &[S], V, Special::Vector),
    date("year", |date| date.year),
];

#[cfg(test)]
mod tests;
