use proptest::prelude::*;

use super::*;
use crate::ast::{Aggregate, At, Duration, Extension, Matching, Range, Selector, Subquery, When};
use crate::functions;
use crate::matcher::{MatchOp, Matcher};

fn printed(query: &str) -> String {
    parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).to_string()
}

fn problem(query: &str) -> String {
    parse(query).expect_err(query).to_string()
}

/// With parentheses around every operation.
fn grouped(expr: &Expr) -> String {
    match &expr.kind {
        Kind::Binary(binary) => format!("({} {} {})", grouped(&binary.left), binary.op, grouped(&binary.right)),
        Kind::Unary(negative, inner) => format!("({}{})", if *negative { "-" } else { "+" }, grouped(inner)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_as_strongly_as_in_prometheus() {
    let groups = [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("a - b - c", "((a - b) - c)"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("a ^ -b * c", "((a ^ (-b)) * c)"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a == bool b + c atan2 d", "(a == (b + (c atan2 d)))"),
        ("a + b offset 5m", "(a + b offset 5m)"),
        ("a offset 100 + 2", "(a offset 1m40s + 2)"),
        ("-a offset 2 ^ 2", "(-(a offset 2s ^ 2))"),
        ("a </ 5 + 1", "(a </ (5 + 1))"),
    ];
    for (query, group) in groups {
        assert_eq!(grouped(&parse(query).unwrap()), group, "{query}");
    }
}

#[test]
fn a_query_is_printed_as_it_is_read() {
    let queries = [
        "sum by (a, \"b.c\") (rate(x{y=~\"a|b\"}[5m]))",
        "x{a!=\"b\", c!~\"d\"} @ 1.500 offset -5m",
        "{__name__=\"my metric\", \"label.x\"=\"y\"}",
        "rate(x[step() * 2s + min_of(range(), 1h)] smoothed @ start())",
        "max_over_time((a + b)[1h:] @ end() offset (5m / 2s))",
        "a * on (x) group_left (y) b",
        "a / ignoring (x) group_right () b",
        "a + fill_left (0) fill_right (-Inf) b",
        "topk without (z) (3, x)",
        "count_values(\"a\\xc5z\", version)",
        "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")",
        "a anchored offset 1h",
        "-(1 + NaN)",
    ];
    for query in queries {
        assert_eq!(printed(query), query);
    }
    let others = [
        ("SUM(x) BY (job)", "sum by (job) (x)"),
        ("sum by () (x)", "sum(x)"),
        ("x[300]", "x[5m]"),
        ("a + fill(1) b", "a + fill_left (1) fill_right (1) b"),
        ("{\"my metric\", a='b'}", "{__name__=\"my metric\", a=\"b\"}"),
        ("1e3 + 0x1F + inf + 5m", "1000 + 31 + +Inf + 300"),
        ("sum # a comment\n(x)", "sum(x)"),
    ];
    for (query, expected) in others {
        assert_eq!(printed(query), expected, "{query}");
    }
}

#[test]
fn keywords_are_names_where_they_can_be() {
    for query in
        ["sum", "sum{a=\"b\"}", "by", "offset", "start", "rate", "fill + fill", "fill_left{a=\"b\"}", "or{a=\"b\"}"]
    {
        assert_eq!(printed(query), query);
    }
    assert_eq!(printed("sum(sum) by (by, sum, bool)"), "sum by (by, sum, bool) (sum)");
    assert!(problem("bool").contains("unexpected \"bool\""));
}

#[test]
fn an_error_says_where_and_what() {
    let problems = [
        ("", "1:1: parse error: no expression found in input"),
        ("sum(", "1:5: parse error: unexpected the end of the query"),
        ("a +\n  + * b", "2:5: parse error: unexpected \"*\""),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("foo(x)", "1:1: parse error: unknown function with name \"foo\""),
        ("round(x, 1, 2)", "expected at most 2 argument(s) in call to \"round\", got 3"),
        ("{a=\"\"}", "must contain at least one non-empty matcher"),
        ("x{__name__=\"y\"}", "metric name must not be set twice"),
        ("1 == 2", "comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "bool modifier can only be used on comparison operators"),
        ("a and 1", "set operator \"and\" not allowed in binary scalar expression"),
        ("a and on (x) group_left b", "no grouping allowed for \"and\" operation"),
        ("a * on (x) group_left (x) b", "label \"x\" must not occur in ON and GROUP clause at once"),
        ("x offset 5m offset 5m", "offset may not be set multiple times"),
        ("x @ 1 @ 2", "@ <timestamp> may not be set multiple times"),
        ("(a + b)[5m]", "ranges only allowed for vector selectors"),
        ("1[5m:1m]", "subquery is only allowed on instant vector, got scalar instead"),
        ("x[0]", "duration must be greater than 0"),
        ("x[5m / 0]", "division by zero"),
        ("x{a=~\"(\"}", "not a regular expression"),
        ("x @ Inf", "timestamp out of bounds"),
        ("a b", "unexpected \"b\", expected an operator or the end of the query"),
        ("sum by (a:b) (x)", "in grouping opts, expected label"),
        ("f(x,)", "unknown function"),
        ("abs(x,)", "trailing comma"),
        ("info(x, y)", "expected label selectors only"),
        ("label_join(x, \"a\")", "expected at least 3 argument(s)"),
        ("\"a", "unterminated quoted string"),
        ("a $ b", "unexpected character: '$'"),
    ];
    for (query, expected) in problems {
        let found = problem(query);
        assert!(found.contains(expected), "{query}: {found}");
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let deep = |count: usize| format!("{}x{}", "(".repeat(count), ")".repeat(count));
    assert!(parse(&deep(90)).is_ok());
    for query in [
        deep(1000),
        "-".repeat(5000) + "x",
        "x".to_owned() + &" + x".repeat(5000),
        "x".to_owned() + &"[1m:1m]".repeat(200),
    ] {
        let found = problem(&query);
        assert!(found.contains("nests deeper than 100") || found.contains("only allowed on instant vector"), "{found}");
    }
    let calculated = format!("x[1{}]", "+1".repeat(5000));
    assert!(problem(&calculated).contains("nests deeper"));
    assert!(problem(&"x ".repeat(40_000)).contains("longer than 65536 bytes"));
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,6}", Just("a.b c".to_owned()), Just("é\"\n".to_owned())]
}

fn duration() -> impl Strategy<Value = Duration> {
    let leaf = prop_oneof![
        (1i64..10_000_000).prop_map(|milliseconds| Duration::Number(milliseconds as f64 / 1000.0)),
        Just(Duration::Step),
        Just(Duration::Range),
    ];
    let paren = |inner: Duration| Duration::Paren(Box::new(inner));
    leaf.prop_recursive(3, 8, 2, move |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), prop_oneof![Just(Op::Add), Just(Op::Mul), Just(Op::Pow)]).prop_map(
                move |(left, right, op)| { paren(Duration::Binary(op, Box::new(paren(left)), Box::new(paren(right)))) }
            ),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Duration::Min(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Duration::Max(Box::new(a), Box::new(b))),
        ]
    })
}

fn when() -> impl Strategy<Value = When> {
    let at = prop_oneof![any::<i32>().prop_map(|time| At::Time(i64::from(time))), Just(At::Start), Just(At::End)];
    (proptest::option::of(at), proptest::option::of(duration())).prop_map(|(at, offset)| When { at, offset })
}

fn selector() -> impl Strategy<Value = Selector> {
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
    let matcher = (label(), op, "[a-z|.*é\"]{0,5}")
        .prop_filter_map("a pattern", |(name, op, value)| Matcher::new(name, op, value).ok());
    let extension = proptest::option::of(prop_oneof![Just(Extension::Anchored), Just(Extension::Smoothed)]);
    ("[a-z]{3}_[a-z:]{1,4}", proptest::collection::vec(matcher, 0..3), when(), extension)
        .prop_map(|(name, matchers, when, extension)| Selector { name: Some(name), matchers, when, extension })
}

fn node(kind: Kind) -> Expr {
    Expr::new(kind, Span::default())
}

fn vector() -> impl Strategy<Value = Expr> {
    let range =
        (selector(), duration()).prop_map(|(selector, range)| node(Kind::Range(Box::new(Range { selector, range }))));
    let rate = functions::find("rate").unwrap();
    let leaf = prop_oneof![
        selector().prop_map(|selector| node(Kind::Selector(Box::new(selector)))),
        range.prop_map(move |range| node(Kind::Call(rate, vec![range]))),
    ];
    let max = functions::find("max_over_time").unwrap();
    let paren = |inner: Expr| node(Kind::Paren(Box::new(inner)));
    leaf.prop_recursive(4, 24, 2, move |inner| {
        let labels = || proptest::collection::vec(label(), 0..3);
        let sides = (inner.clone(), inner.clone());
        let matching = (any::<bool>(), labels(), proptest::option::of(-5.0..5.0f64))
            .prop_map(|(on, labels, fill_left)| Matching { on, labels, fill_left, ..Matching::default() });
        let op = prop_oneof![Just(Op::Add), Just(Op::Pow), Just(Op::Lt), Just(Op::Atan2)];
        prop_oneof![
            (sides, matching, op).prop_map(move |((left, right), matching, op)| {
                let (left, right, returns_bool) = (paren(left), paren(right), op == Op::Lt);
                node(Kind::Binary(Box::new(Binary { op, left, right, returns_bool, matching })))
            }),
            (inner.clone(), any::<bool>())
                .prop_map(move |(expr, negative)| { node(Kind::Unary(negative, Box::new(paren(expr)))) }),
            (inner.clone(), labels(), any::<bool>()).prop_map(|(expr, grouping, without)| {
                let op = Aggregator::Sum;
                node(Kind::Aggregate(Box::new(Aggregate { op, expr, parameter: None, without, grouping })))
            }),
            (inner, duration(), proptest::option::of(duration()), when()).prop_map(move |(expr, range, step, when)| {
                let subquery = Subquery { expr: paren(expr), range, step, when };
                node(Kind::Call(max, vec![node(Kind::Subquery(Box::new(subquery)))]))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_printed_is_read_as_the_same(expr in vector()) {
        let text = expr.to_string();
        let read = parse(&text);
        prop_assert!(read.is_ok(), "{}: {}", text, read.unwrap_err());
        prop_assert_eq!(read.unwrap(), expr, "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(prop_oneof![
        Just("sum"), Just("rate"), Just("("), Just(")"), Just("["), Just("]"), Just("{"), Just("}"), Just("5m"), Just("x"),
        Just("by"), Just("on"), Just("offset"), Just("@"), Just("start"), Just(","), Just("="), Just("=~"), Just("\"a\""),
        Just("+"), Just("-"), Just("^"), Just("<"), Just("/"), Just(":"), Just("1"), Just("fill"), Just("bool"),
        Just("group_left"), Just("anchored"), Just("info"), Just("topk"), Just("\\"), Just("'")], 0..24)) {
        if let Ok(expr) = parse(&words.join(" ")) {
            let text = expr.to_string();
            prop_assert_eq!(parse(&text).map_err(|error| error.to_string()), Ok(expr), "{}", text);
        }
    }
}
