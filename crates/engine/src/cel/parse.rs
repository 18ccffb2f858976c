//! From text to a tree.

use regex::Regex;

use super::{Comparison, Node, ParseError, Test, Value};

/// Longest expression.
const LONGEST: usize = 4096;
/// Most levels of nesting.
const DEEPEST: usize = 32;

pub(super) fn expression(text: &str) -> Result<Node, ParseError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > LONGEST {
        return Err(parser.error("longer than 4096 characters"));
    }
    let node = parser.choice()?;
    parser.space();
    if parser.at < text.len() { Err(parser.error("nothing more is expected here")) } else { Ok(node) }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

type Parsed = Result<Node, ParseError>;

impl Parser<'_> {
    fn error(&self, what: impl Into<String>) -> ParseError {
        ParseError { at: self.at, what: what.into() }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes a token, if it is next.
    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) { Ok(()) } else { Err(self.error(format!("`{token}` is expected"))) }
    }

    fn choice(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("nested too deeply"));
        }
        let when = self.or()?;
        let node = if self.eat("?") {
            let then = self.choice()?;
            self.need(":")?;
            Node::Choose(Box::new(when), Box::new(then), Box::new(self.choice()?))
        } else {
            when
        };
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Parsed {
        let mut node = self.and()?;
        while self.eat("||") {
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Parsed {
        let mut node = self.relation()?;
        while self.eat("&&") {
            node = Node::And(Box::new(node), Box::new(self.relation()?));
        }
        Ok(node)
    }

    fn relation(&mut self) -> Parsed {
        const COMPARISONS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let node = self.sum()?;
        if let Some((_, how)) = COMPARISONS.into_iter().find(|(token, _)| self.eat(token)) {
            return Ok(Node::Compare(how, Box::new(node), Box::new(self.sum()?)));
        }
        self.space();
        if self.rest().strip_prefix("in").is_some_and(|r| !r.starts_with(is_name)) {
            self.at += 2;
            return Ok(Node::In(Box::new(node), Box::new(self.sum()?)));
        }
        Ok(node)
    }

    fn sum(&mut self) -> Parsed {
        let mut node = self.unary()?;
        loop {
            if self.eat("+") {
                node = Node::Add(Box::new(node), Box::new(self.unary()?));
                continue;
            }
            self.space();
            match self.rest().chars().next() {
                Some(c @ ('-' | '*' | '/' | '%')) => return Err(self.error(format!("`{c}` is not supported"))),
                _ => return Ok(node),
            }
        }
    }

    fn unary(&mut self) -> Parsed {
        self.space();
        if self.rest().starts_with('!') {
            self.at += 1;
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(self.error("nested too deeply"));
            }
            let node = Node::Not(Box::new(self.unary()?));
            self.depth -= 1;
            return Ok(node);
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let mut node = self.primary()?;
        loop {
            if self.eat(".") {
                let name = self.name()?;
                node = if self.eat("(") { self.method(node, &name)? } else { self.select(node, name)? };
            } else if self.eat("[") {
                self.space();
                let Some(key) = self.text_literal()? else { return Err(self.error("only text selects")) };
                self.need("]")?;
                node = self.select(node, key)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn select(&self, of: Node, name: String) -> Parsed {
        match of {
            Node::Attribute(mut path) => {
                path.push(name);
                Ok(Node::Attribute(path))
            }
            _ => Err(self.error(format!("`{name}` can only be selected of an attribute"))),
        }
    }

    fn method(&mut self, of: Node, name: &str) -> Parsed {
        if name == "size" {
            self.need(")")?;
            return Ok(Node::Size(Box::new(of)));
        }
        let argument = self.choice()?;
        self.need(")")?;
        let test = match name {
            "startsWith" => Test::StartsWith,
            "endsWith" => Test::EndsWith,
            "contains" => Test::Contains,
            "matches" => return self.regex(of, &argument),
            _ => return Err(self.error(format!("`{name}` is not supported"))),
        };
        Ok(Node::Test(test, Box::new(of), Box::new(argument)))
    }

    fn regex(&self, of: Node, pattern: &Node) -> Parsed {
        let Node::Literal(Value::Text(pattern)) = pattern else {
            return Err(self.error("the pattern of `matches` must be written out"));
        };
        let regex = Regex::new(pattern).map_err(|e| self.error(format!("`{pattern}`: {e}")))?;
        Ok(Node::Matches(Box::new(of), Box::new(regex)))
    }

    fn primary(&mut self) -> Parsed {
        self.space();
        if let Some(text) = self.text_literal()? {
            return Ok(Node::Literal(Value::Text(text.into())));
        }
        if self.eat("(") {
            let node = self.choice()?;
            self.need(")")?;
            return Ok(node);
        }
        if self.eat("[") {
            return self.list();
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.number();
        }
        let name = self.name()?;
        match name.as_str() {
            "true" => Ok(Node::Literal(Value::Bool(true))),
            "false" => Ok(Node::Literal(Value::Bool(false))),
            "null" => Ok(Node::Literal(Value::Null)),
            _ if self.eat("(") => self.function(&name),
            _ => Ok(Node::Attribute(vec![name])),
        }
    }

    fn function(&mut self, name: &str) -> Parsed {
        let argument = self.choice()?;
        // The second argument of `matches`.
        let second = if self.eat(",") { Some(self.choice()?) } else { None };
        self.need(")")?;
        match (name, argument, second) {
            ("has", Node::Attribute(path), None) if path.len() > 1 => Ok(Node::Has(path)),
            ("size", of, None) => Ok(Node::Size(Box::new(of))),
            ("string", of, None) => Ok(Node::Print(Box::new(of))),
            ("matches", of, Some(pattern)) => self.regex(of, &pattern),
            _ => Err(self.error(format!("`{name}` is not supported"))),
        }
    }

    fn list(&mut self) -> Parsed {
        let mut items = Vec::new();
        while !self.eat("]") {
            items.push(self.choice()?);
            if !self.eat(",") {
                self.need("]")?;
                break;
            }
        }
        Ok(Node::List(items))
    }

    fn number(&mut self) -> Parsed {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && *c == '-')))
            .map_or(rest.len(), |(i, _)| i);
        let digits = rest.get(..end).unwrap_or_default();
        let value = match digits.parse::<i64>() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Double(digits.parse().map_err(|_| self.error("a number is expected"))?),
        };
        self.at += end;
        // `404u` is unsigned.
        if self.rest().starts_with('u') {
            self.at += 1;
        }
        Ok(Node::Literal(value))
    }

    fn name(&mut self) -> Result<String, ParseError> {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.error("a name is expected"));
        }
        let name = name.to_owned();
        self.at += end;
        Ok(name)
    }

    /// Text in quotes; `None`: there is none here.
    fn text_literal(&mut self) -> Result<Option<String>, ParseError> {
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"')) else { return Ok(None) };
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.at += i + 1;
                    return Ok(Some(out));
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(c @ ('\\' | '\'' | '"')) => out.push(c),
                    _ => return Err(self.error("this escape is not supported")),
                },
                c => out.push(c),
            }
        }
        Err(self.error("the text does not end"))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
