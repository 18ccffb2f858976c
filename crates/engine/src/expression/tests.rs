use std::borrow::Cow;

use super::*;

/// A request of which only this is known.
struct Known {
    code: Option<i64>,
    path: &'static str,
    tenant: Option<&'static str>,
    milliseconds: i64,
    mtls: bool,
}

const OK: Known = Known { code: Some(200), path: "/a/b?c", tenant: Some("red"), milliseconds: 40, mtls: true };

impl Attributes for Known {
    fn attribute(&self, attribute: Attribute) -> Option<Value<'_>> {
        match attribute {
            Attribute::ResponseCode => self.code.map(Value::Int),
            Attribute::RequestPath => Some(Value::Text(Cow::Borrowed(self.path))),
            Attribute::RequestDuration => Some(Value::Duration(self.milliseconds * 1_000_000)),
            Attribute::ConnectionMtls => Some(Value::Bool(self.mtls)),
            _ => None,
        }
    }

    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, str>> {
        (of == Message::Request && name == "x-tenant").then_some(self.tenant?).map(Cow::Borrowed)
    }
}

fn holds(text: &str, request: &Known) -> bool {
    Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).holds(request)
}

#[test]
fn comparisons_and_their_precedence() {
    let failed = Known { code: Some(503), mtls: false, ..OK };
    for (text, of_ok, of_failed) in [
        ("response.code >= 400", false, true),
        ("response.code >= 500 || response.code == 200 && connection.mtls", true, true),
        ("(response.code >= 500 || response.code == 200) && connection.mtls", true, false),
        ("!connection.mtls", false, true),
        ("connection.mtls == false", false, true),
        ("!(response.code < 500)", false, true),
        ("response.code in [200, 201]", true, false),
        ("request.path.startsWith('/a') && !request.path.endsWith(\"x\")", true, true),
        ("request.path.matches('^/[a-z]/b')", true, true),
        ("request.path.contains('zz')", false, false),
        ("size(request.path) == 6 && request.path.size() > 5", true, true),
        ("request.headers['x-tenant'] == 'red'", true, true),
        ("request.headers['X-Tenant'].startsWith('b')", false, false),
        ("request.duration > duration('39ms') && request.duration < duration('0.1s')", true, true),
        ("true", true, true),
        ("response.code != -1", true, true),
    ] {
        assert_eq!((holds(text, &OK), holds(text, &failed)), (of_ok, of_failed), "{text}");
    }
}

#[test]
fn what_is_absent_is_an_error_and_errors_do_not_hold() {
    let unknown = Known { code: None, tenant: None, ..OK };
    for (text, wanted) in [
        ("response.code >= 400", false),
        ("!(response.code >= 400)", false),
        ("response.code >= 400 || connection.mtls", true),
        ("response.code >= 400 && connection.mtls", false),
        ("!(response.code >= 400 && !connection.mtls)", true),
        ("has(response.code)", false),
        ("!has(response.code)", true),
        ("has(request.headers['x-tenant'])", false),
        ("'x-tenant' in request.headers", false),
        ("request.headers['x-tenant'] != 'red'", false),
    ] {
        assert_eq!(holds(text, &unknown), wanted, "{text}");
    }
    assert!(holds("'x-tenant' in request.headers", &OK));
}

#[test]
fn what_is_no_condition_is_refused_with_its_place() {
    for (text, said) in [
        ("response.code == '200'", "at byte 14: a number and a text cannot be compared"),
        ("response.code", "a number is no condition"),
        ("response.kode >= 400", "at byte 0: `response.kode` is not an attribute"),
        ("response.code >=", "it ends where a value is expected"),
        ("response.code + 1 > 2", "`+` is not supported"),
        ("(response.code > 2", "it ends where `)` is expected"),
        ("request.path.upper() == 'A'", "there is no function `upper`"),
        ("request.path.matches('(')", "regex parse error"),
        ("request.duration > duration('soon')", "`soon` is no duration"),
        ("'a", "no closing quote"),
        ("a # b", "`#` means nothing"),
        ("", "it ends where a value is expected"),
        ("true false", "`false` stands where an operator or the end is expected"),
    ] {
        let error = Expression::parse(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(Expression::parse(&"!".repeat(5000)).is_err());
    assert!(Expression::parse(&format!("{}true{}", "(".repeat(100), ")".repeat(100))).is_err());
}
