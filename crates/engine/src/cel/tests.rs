//! Expressions and their values.

use proptest::prelude::*;

use super::*;

struct Request;

impl Attributes for Request {
    fn attribute(&self, path: &[&str]) -> Option<Value<'_>> {
        Some(match path {
            ["request", "method"] => Value::Text("GET".into()),
            ["request", "url_path"] => Value::Text("/orders/7".into()),
            ["request", "headers", "x-user"] => Value::Text("ann".into()),
            ["response", "code"] => Value::Int(503),
            ["connection", "mtls"] => Value::Bool(true),
            _ => return None,
        })
    }
}

fn value(text: &str) -> Option<String> {
    Expression::parse(text).unwrap().evaluate(&Request).ok().map(|v| v.print())
}

#[test]
fn expressions_have_the_values_that_cel_gives_them() {
    for (text, want) in [
        ("'gateway'", Some("gateway")),
        ("request.method", Some("GET")),
        ("request.headers['x-user']", Some("ann")),
        ("request.headers['x-none']", None),
        ("request.nothing", None),
        ("response.code >= 400", Some("true")),
        ("response.code == 503 ? 'bad' : 'good'", Some("bad")),
        ("has(request.headers.x) || response.code == 503", Some("true")),
        ("has(request.headers['x-user'])", Some("true")),
        ("'x-user' in request.headers", Some("true")),
        ("'x-none' in request.headers", Some("false")),
        ("response.code in [500, 503]", Some("true")),
        ("request.url_path.startsWith('/orders') && !request.url_path.endsWith('x')", Some("true")),
        ("request.url_path.matches('^/orders/[0-9]+$')", Some("true")),
        ("request.method + '-' + string(response.code)", Some("GET-503")),
        ("size(request.method) == 3", Some("true")),
        // One side that decides alone does so.
        ("request.nothing == 'a' || true", Some("true")),
        ("request.nothing == 'a' && false", Some("false")),
        ("request.nothing == 'a' && true", None),
        ("connection.mtls == true", Some("true")),
        ("request.method < 3", None),
        ("(response.code != 200) == true", Some("true")),
    ] {
        assert_eq!(value(text).as_deref(), want, "{text}");
    }
}

#[test]
fn what_is_not_supported_is_said_with_its_place() {
    for (text, at) in [
        ("", 0),
        ("request.", 8),
        ("1 - 2", 2),
        ("request.headers[0]", 16),
        ("request.time.getHours()", 22),
        ("'open", 0),
        ("a.matches('(')", 14),
        ("a b", 2),
    ] {
        assert_eq!(Expression::parse(text).unwrap_err().at, at, "{text}");
    }
    assert!(Expression::parse(&"(".repeat(100)).is_err());
    assert!(Expression::parse(&"!".repeat(100)).is_err());
    assert!(Expression::parse(&"a".repeat(5000)).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9 .'\"\\[\\]()!&|=<>?:+,]{0,60}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.evaluate(&Request);
        }
    }
}
