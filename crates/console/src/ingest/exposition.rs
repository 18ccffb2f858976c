//! Prometheus' text format (0.0.4), a line at a time.
//!
//! A line is told apart into the part that names the series, which a scraper knows from the time before, and the value; only
//! the name of a new series is read further.

use std::sync::Arc;

/// More labels than these has nobody.
const MAX_LABELS: usize = 64;

/// A sample's line: `name{label="value"} 1.5 [milliseconds]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'t> {
    /// Name and labels as they stand there.
    pub series: &'t str,
    /// Value.
    pub value: f64,
    /// When it was taken; mostly nobody says.
    pub at: Option<i64>,
}

/// The samples of a text. What is no sample and no comment is counted and left out.
pub fn lines<'t>(text: &'t str, wrong: &'t mut usize) -> impl Iterator<Item = Line<'t>> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(move |line| {
        let read = read(line);
        *wrong += usize::from(read.is_none());
        read
    })
}

fn read(line: &str) -> Option<Line<'_>> {
    let ends = series_ends(line)?;
    let (series, rest) = line.split_at_checked(ends)?;
    let mut fields = rest.split_ascii_whitespace();
    let value = fields.next()?.parse().ok()?;
    let at = fields.next().map(str::parse).transpose().ok()?;
    fields.next().is_none().then_some(Line { series: series.trim_end(), value, at })
}

/// Where the name and the labels end. Braces within values are none.
fn series_ends(line: &str) -> Option<usize> {
    let brace = line.find(['{', ' ', '\t'])?;
    if line.as_bytes().get(brace) != Some(&b'{') {
        return Some(brace);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate().skip(brace) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Name and labels of a series; `None`: these are none.
pub fn labels(series: &str) -> Option<Vec<(Arc<str>, Arc<str>)>> {
    let (name, rest) = match series.split_once('{') {
        Some((name, rest)) => (name.trim_end(), rest.trim_end().strip_suffix('}')?),
        None => (series, ""),
    };
    if !is_name(name) {
        return None;
    }
    let mut found = vec![(Arc::from("__name__"), Arc::from(name))];
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (label, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        if !is_name(label.trim()) || found.len() > MAX_LABELS {
            return None;
        }
        found.push((label.trim().into(), value.into()));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').or_else(|| rest.is_empty().then_some(rest))?.trim_start();
    }
    Some(found)
}

/// What is in quotes, and what stands behind.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other @ ('\\' | '"') => value.push(other),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b':'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.'))
}

#[cfg(test)]
mod tests;
