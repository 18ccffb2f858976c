//! Words of a query. Which word is a keyword depends on where it stands, so that is the parser's to say.

use crate::error::{Place, QueryError};
use crate::format;

/// A kind of word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'q> {
    /// A name; with colons outside of brackets.
    Identifier(&'q str),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    /// Without its quotes and escapes. What is escaped need not be UTF-8.
    Text(Vec<u8>),
    /// Operators, brackets, commas.
    Symbol(&'static str),
    End,
}

impl Token<'_> {
    /// As it is called in an error.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Identifier(name) => format!("{name:?}"),
            Self::Number(number) => format!("number {}", format::plain(*number)),
            Self::Duration(_) => "a duration".to_owned(),
            Self::Text(text) => format!("string {}", format::quote(text)),
            Self::Symbol(symbol) => format!("{symbol:?}"),
            Self::End => "the end of the query".to_owned(),
        }
    }
}

/// A word and where it stands, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word<'q> {
    pub(crate) token: Token<'q>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Longer ones before those that they begin with.
const SYMBOLS: [&str; 26] = [
    "==", "!=", "<=", ">=", "</", ">/", "=~", "!~", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}",
    "[", "]", ",", "@", ":",
];

/// Where reading stands.
#[derive(Clone)]
pub(crate) struct Lexer<'q> {
    query: &'q str,
    at: usize,
    in_brackets: bool,
}

impl<'q> Lexer<'q> {
    pub(crate) fn new(query: &'q str) -> Self {
        Self { query, at: 0, in_brackets: false }
    }

    /// Another reader from here on.
    pub(crate) fn ahead(&self) -> Self {
        self.clone()
    }

    fn rest(&self) -> &'q str {
        self.query.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn error(&self, at: usize, problem: impl Into<String>) -> QueryError {
        QueryError { place: Place::of(self.query, at), problem: problem.into() }
    }

    /// Takes the next characters while they are wanted.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'q str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            if !self.rest().starts_with('#') {
                return;
            }
            self.take_while(|c| !matches!(c, '\n' | '\r'));
        }
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Result<Word<'q>, QueryError> {
        self.skip_space();
        let start = self.at;
        let mut chars = self.rest().chars();
        let (first, second) = (chars.next(), chars.next());
        let token = match first {
            None => Token::End,
            Some(c) if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                self.number()?
            }
            Some('"' | '\'' | '`') => self.text()?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' || (c == ':' && !self.in_brackets) => {
                let colons = !self.in_brackets;
                let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && colons);
                Token::Identifier(self.take_while(name))
            }
            Some(c) => {
                let rest = self.rest();
                let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) else {
                    return Err(self.error(start, format!("unexpected character: {c:?}")));
                };
                self.at += symbol.len();
                match symbol {
                    "[" => self.in_brackets = true,
                    "]" => self.in_brackets = false,
                    _ => {}
                }
                Token::Symbol(symbol)
            }
        };
        Ok(Word { token, start, end: self.at })
    }

    /// A number or a duration.
    fn number(&mut self) -> Result<Token<'q>, QueryError> {
        let start = self.at;
        let mut text = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        let decimal = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
        let mantissa = text.trim_end_matches(['e', 'E']);
        if mantissa.len() + 1 == text.len() && mantissa.chars().all(decimal) && self.rest().starts_with(['+', '-']) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
            text = self.query.get(start..self.at).unwrap_or_default();
        }
        if let Some(number) = parse_number(text) {
            return Ok(Token::Number(number));
        }
        let problem = || format!("bad number or duration syntax: {text:?}; durations look like 5m or 1h30m");
        crate::duration::parse_duration(text).map(Token::Duration).ok_or_else(|| self.error(start, problem()))
    }

    fn text(&mut self) -> Result<Token<'q>, QueryError> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('"', |(_, c)| c);
        let mut text = Vec::new();
        loop {
            match chars.next() {
                None => return Err(self.error(start, "unterminated quoted string")),
                Some((at, c)) if c == quote => {
                    self.at = start + at + c.len_utf8();
                    return Ok(Token::Text(text));
                }
                Some((_, '\n')) if quote != '`' => return Err(self.error(start, "unterminated quoted string")),
                Some((at, '\\')) if quote != '`' => {
                    escape(&mut chars, quote, &mut text).map_err(|problem| self.error(start + at, problem))?;
                }
                Some((_, c)) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}

/// Reads a number as Go does: decimal, hexadecimal, octal with a leading zero.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.trim_start_matches(['+', '-']) {
        "inf" | "infinity" => return Some(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if let Some(digits) = lower.strip_prefix("0x") {
        let digits = digits.strip_prefix('_').unwrap_or(digits);
        return i64::from_str_radix(&without_underscores(digits)?, 16).ok().map(|n| n as f64);
    }
    let digits = without_underscores(&lower)?;
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..b'8').contains(&b)) {
        return i64::from_str_radix(&digits, 8).ok().map(|n| n as f64);
    }
    let numeric = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
    if numeric { digits.parse().ok() } else { None }
}

/// Underscores may stand between digits of whole numbers.
fn without_underscores(digits: &str) -> Option<String> {
    let separates = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let whole = digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
    (!digits.contains('_') || (separates && whole)).then(|| digits.replace('_', ""))
}

/// What follows a backslash.
fn escape(chars: &mut std::str::CharIndices<'_>, quote: char, text: &mut Vec<u8>) -> Result<(), String> {
    let Some((_, c)) = chars.next() else { return Err("escape sequence not terminated".to_owned()) };
    let plain = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '\'' | '"' if c == quote => c as u8,
        _ => 0,
    };
    if plain != 0 {
        text.push(plain);
        return Ok(());
    }
    let (digits, base, mut value) = match c {
        '0'..='7' => (2, 8, c.to_digit(8).unwrap_or_default()),
        'x' => (2, 16, 0),
        'u' => (4, 16, 0),
        'U' => (8, 16, 0),
        _ => return Err(format!("unknown escape sequence \\{c}")),
    };
    for _ in 0..digits {
        let digit = chars.next().and_then(|(_, c)| c.to_digit(base));
        let digit = digit.ok_or("illegal character in escape sequence")?;
        value = value.checked_mul(base).and_then(|v| v.checked_add(digit)).ok_or("escape sequence is too large")?;
    }
    if matches!(c, 'u' | 'U') {
        let c = char::from_u32(value).ok_or("escape sequence is an invalid Unicode code point")?;
        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        text.push(u8::try_from(value).map_err(|_| "escape sequence is larger than a byte")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(query: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(query);
        std::iter::from_fn(|| Some(lexer.next().unwrap().token).filter(|t| *t != Token::End)).collect()
    }

    #[test]
    fn colons_belong_to_names_outside_of_brackets() {
        use Token::{Duration, Identifier, Symbol};
        assert_eq!(
            tokens("a:b[5m:step()] # c\n"),
            [
                Identifier("a:b"),
                Symbol("["),
                Duration(300_000),
                Symbol(":"),
                Identifier("step"),
                Symbol("("),
                Symbol(")"),
                Symbol("]")
            ]
        );
    }

    #[test]
    fn numbers_are_those_of_go() {
        let numbers =
            [("1e-5", 1e-5), (".2", 0.2), ("2.", 2.0), ("0x1F", 31.0), ("010", 8.0), ("08", 8.0), ("1_000", 1000.0)];
        for (text, number) in numbers {
            assert_eq!(tokens(text), [Token::Number(number)], "{text}");
        }
        for wrong in ["1__0", "1e", "5mm", "1.2.3", "0x", "1_000.5"] {
            assert!(Lexer::new(wrong).next().is_err(), "{wrong}");
        }
    }

    #[test]
    fn escapes_make_bytes() {
        assert_eq!(tokens(r#""a\xc5\n\u00e9\101""#), [Token::Text(b"a\xc5\n\xc3\xa9A".to_vec())]);
        assert_eq!(tokens(r"`a\n` 'it\'s'"), [Token::Text(br"a\n".to_vec()), Token::Text(b"it's".to_vec())]);
        for wrong in [r#""\q""#, r#""\400""#, "\"a\nb\"", "'a", r#""\ud800""#] {
            assert!(Lexer::new(wrong).next().is_err(), "{wrong}");
        }
    }
}
