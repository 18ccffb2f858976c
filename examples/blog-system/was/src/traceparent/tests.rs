use super::TraceParent;
use axum::http::{HeaderMap, HeaderValue};

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("traceparent", HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_statement_names_its_trace() {
    let trace = TraceParent::of(&headers(&[GOOD])).unwrap();
    assert_eq!(trace.comment("SELECT 1"), format!("SELECT 1 /*traceparent='{GOOD}'*/"));
}

#[test]
fn nothing_else_gets_into_a_statement() {
    let end = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-*/";
    let upper = GOOD.to_ascii_uppercase();
    let longer = format!("{GOOD}-01");
    for values in [&[][..], &[""], &["00-1-2-3"], &[end], &[&upper], &[&longer], &[GOOD, GOOD]] {
        assert_eq!(TraceParent::of(&headers(values)), None, "{values:?}");
    }
}
