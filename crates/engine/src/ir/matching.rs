//! Matchers on strings, headers, paths and query parameters.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::Str;

/// A regular expression that must match the whole string (Envoy's `RegexMatcher`), compiled once when it is decoded.
#[derive(Debug, Clone)]
pub struct Regex {
    source: Str,
    compiled: regex::Regex,
    /// The same without anchors, compiled at the first [`Regex::replace_all`].
    search: OnceLock<Option<regex::Regex>>,
}

/// Largest compiled form, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

impl Regex {
    /// Compiles `source` in linear-time syntax (RE2's and this one's agree on what Istio documents).
    ///
    /// # Errors
    /// The syntax error, for a person.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let compiled = regex::RegexBuilder::new(&format!("^(?:{source})$")).size_limit(SIZE_LIMIT).build()?;
        let search = OnceLock::new();
        if source.contains(')') {
            // `a)|(b` is only well-formed inside the group that anchors it.
            let alone = regex::RegexBuilder::new(source).size_limit(SIZE_LIMIT).build()?;
            search.get_or_init(|| Some(alone));
        }
        Ok(Self { source: source.into(), compiled, search })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// Replaces every match in `text`, wherever it stands. `\1` to `\9` in the substitution are groups, `\0` the whole match,
    /// `\\` a backslash, as in RE2.
    pub fn replace_all(&self, text: &str, substitution: &str) -> String {
        let search =
            self.search.get_or_init(|| regex::RegexBuilder::new(&self.source).size_limit(SIZE_LIMIT).build().ok());
        match search {
            Some(regex) => {
                regex.replace_all(text, |groups: &regex::Captures<'_>| expand(groups, substitution)).into_owned()
            }
            None => text.to_owned(),
        }
    }
}

/// Fills the groups of one match into a substitution.
fn expand(groups: &regex::Captures<'_>, substitution: &str) -> String {
    let mut out = String::with_capacity(substitution.len());
    let mut chars = substitution.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).and_then(|n| groups.get(n as usize));
                out.push_str(group.map_or("", |m| m.as_str()));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Regex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Regex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StringMatch {
    /// Equal.
    Exact {
        /// What to.
        value: Str,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// Starts with.
    Prefix {
        /// What with.
        value: Str,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// Ends with.
    Suffix {
        /// What with.
        value: Str,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// Contains.
    Contains {
        /// What.
        value: Str,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// The whole matches.
    Regex(Regex),
}

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeaderMatcher {
    /// Lower-case name; pseudo-headers as `:method`, `:authority`, `:path`, `:scheme`.
    pub name: Str,
    /// What is asked of the value.
    pub matches: HeaderMatch,
    /// Negates the answer.
    pub invert: bool,
    /// A missing header counts as empty and is compared; `false`: a missing header does not match (inverted or not).
    pub treat_missing_as_empty: bool,
}

/// What a [`HeaderMatcher`] asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HeaderMatch {
    /// Present (`true`) or absent (`false`).
    Present(bool),
    /// The value.
    Value(StringMatch),
    /// An integer in `start..end`.
    Range {
        /// Included.
        start: i64,
        /// Not included.
        end: i64,
    },
}

/// `envoy.type.matcher.v3.MetadataMatcher` on what filters have found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetadataMatch {
    /// Filter namespace.
    pub filter: Str,
    /// Keys.
    pub path: Vec<Str>,
    /// The value, or any element of a list.
    pub value: StringMatch,
    /// Negates the answer, also where there is no value.
    pub invert: bool,
}

/// Path part of a route match; the query is never part of what is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PathMatch {
    /// `prefix`, plain.
    Prefix(Str),
    /// `path_separated_prefix`: the prefix, then the end or `/`.
    SeparatedPrefix(Str),
    /// `path`.
    Exact(Str),
    /// `safe_regex`.
    Regex(Regex),
    /// `path_match_policy` with a URI template (`/a/{*}/{**}`).
    Template(Str),
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryMatcher {
    /// Key, not decoded.
    pub name: Str,
    /// What is asked of the first value.
    pub matches: QueryMatch,
}

/// What a [`QueryMatcher`] asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QueryMatch {
    /// The key is there.
    Present,
    /// The value.
    Value(StringMatch),
}
