use proptest::prelude::*;

use super::{LONGEST, Statement, sanitised, trace_context};

#[test]
fn values_do_not_stay() {
    for (sql, expected) in [
        ("SELECT 1", "SELECT ?"),
        ("select  *\n from posts where id=42 and t < 1.5e3", "select * from posts where id=? and t < ?"),
        ("INSERT INTO `a 1` VALUES ('it''s','x\\'y', \"col\", 0xFF)", "INSERT INTO `a 1` VALUES (?,?, \"col\", ?)"),
        ("SELECT t1.c2 FROM t1 -- secret 5\nWHERE x = $1", "SELECT t1.c2 FROM t1 WHERE x = $1"),
        ("/* a */ SELECT 'open", "SELECT ?"),
        ("SELECT # c\n 2", "SELECT ?"),
        ("", ""),
    ] {
        assert_eq!(sanitised(sql), expected);
    }
}

#[test]
fn the_first_word_is_the_operation() {
    let of = |sql: &str| Statement::of(sql).operation();
    assert_eq!(of("/* x */ select 1").as_deref(), Some("SELECT"));
    assert_eq!(of("(SELECT 1) UNION (SELECT 2)").as_deref(), Some("SELECT"));
    assert_eq!(of("SHOW TABLES;").as_deref(), Some("SHOW"));
    assert_eq!((of(""), of("1")), (None, None));
}

#[test]
fn the_trace_is_read_from_the_comment() {
    let sql = "SELECT 1 /*other='x',traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/";
    let context = trace_context(sql).unwrap();
    assert_eq!((context.trace.to_string().as_str(), context.sampled), ("0af7651916cd43dd8448eb211c80319c", Some(true)));
    for none in ["SELECT 1", "/*traceparent='x'*/", "/* traceparent */", "SELECT '\u{1}' /*traceparent='\u{1}'*/"] {
        assert_eq!(trace_context(none), None, "{none}");
    }
}

proptest! {
    #[test]
    fn it_is_bounded_and_stays_as_it_is_when_done_again(sql in ".{0,200}") {
        let once = sanitised(&sql);
        prop_assert!(once.len() <= LONGEST);
        trace_context(&sql);
    }

    #[test]
    fn no_digit_of_a_literal_stays(number in 10_000_u32.., text in "[a-z0-9]{12}") {
        let out = sanitised(&format!("SELECT a FROM b WHERE c = {number} AND d = '{text}'"));
        prop_assert_eq!(out, "SELECT a FROM b WHERE c = ? AND d = ?");
    }
}
