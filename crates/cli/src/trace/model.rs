//! A trace of Jaeger's JSON: who called whom, and what had to be waited for.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// A trace.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) spans: Vec<Span>,
    start: i64,
    end: i64,
}

/// One span. Times are in microseconds, moments since 1970.
#[derive(Debug, Clone)]
pub(super) struct Span {
    id: String,
    parent: Option<String>,
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) start: i64,
    pub(super) duration: i64,
    pub(super) tags: Vec<(String, String)>,
    pub(super) process_tags: Vec<(String, String)>,
}

/// A span at its place.
#[derive(Debug, Clone)]
pub(super) struct Row<'t> {
    pub(super) span: &'t Span,
    pub(super) depth: usize,
    /// From and to, of what had to be waited for.
    pub(super) critical: Vec<(i64, i64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "traceID")]
    id: String,
    spans: Vec<ReadSpan>,
    processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadSpan {
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<Reference>,
    start_time: i64,
    duration: i64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    span: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

fn pairs(tags: &[Tag]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tags.iter().map(|tag| (tag.key.clone(), text(&tag.value))).collect()
}

impl Trace {
    /// Reads Jaeger's JSON.
    pub(super) fn read(value: &Value) -> anyhow::Result<Self> {
        let read =
            Read::deserialize(value).context("a trace of the console cannot be read: is it of another version?")?;
        let span = |span: ReadSpan| {
            let process = read.processes.get(&span.process);
            let parent = span.references.iter().find(|r| r.kind == "CHILD_OF" && r.trace == read.id);
            Span {
                parent: parent.map(|reference| reference.span.clone()),
                service: process.map(|process| process.service_name.clone()).unwrap_or_default(),
                process_tags: process.map(|process| pairs(&process.tags)).unwrap_or_default(),
                id: span.id,
                operation: span.operation_name,
                start: span.start_time,
                duration: span.duration.max(0),
                tags: pairs(&span.tags),
            }
        };
        let spans: Vec<Span> = read.spans.into_iter().map(span).collect();
        let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
        let end = spans.iter().map(Span::end).max().unwrap_or_default();
        Ok(Self { id: read.id, spans, start, end })
    }

    /// When it began.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// From its beginning to its end.
    pub(super) fn duration(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    /// So many spans failed.
    pub(super) fn errors(&self) -> usize {
        self.spans.iter().filter(|span| span.failed()).count()
    }

    /// Spans below whoever called them, by time.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let tree = Tree::of(&self.spans);
        let mut critical = tree.critical();
        let mut rows = Vec::with_capacity(self.spans.len());
        for (place, depth) in tree.order() {
            if let Some(span) = self.spans.get(place) {
                rows.push(Row { span, depth, critical: critical.remove(&place).unwrap_or_default() });
            }
        }
        rows
    }
}

impl Span {
    pub(super) fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }

    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn failed(&self) -> bool {
        self.tag("error").is_some_and(|said| said != "false")
    }
}

/// Spans by their places in the list.
struct Tree<'t> {
    spans: &'t [Span],
    /// By time, as all lists here.
    roots: Vec<usize>,
    children: Vec<Vec<usize>>,
}

impl<'t> Tree<'t> {
    fn of(spans: &'t [Span]) -> Self {
        let by_id: HashMap<&str, usize> =
            spans.iter().enumerate().map(|(place, span)| (span.id.as_str(), place)).collect();
        let mut by_time: Vec<usize> = (0..spans.len()).collect();
        by_time.sort_by_key(|place| spans.get(*place).map(|span| (span.start, std::cmp::Reverse(span.duration))));
        let mut tree = Self { spans, roots: Vec::new(), children: vec![Vec::new(); spans.len()] };
        for place in by_time {
            let parent = spans.get(place).and_then(|span| by_id.get(span.parent.as_deref()?)).copied();
            match parent.filter(|parent| *parent != place).and_then(|parent| tree.children.get_mut(parent)) {
                Some(children) => children.push(place),
                None => tree.roots.push(place),
            }
        }
        tree
    }

    fn below(&self, place: usize) -> &[usize] {
        self.children.get(place).map_or(&[], Vec::as_slice)
    }

    /// Every span once, parents first, with its depth. No recursion: whoever sends spans says how deep they go.
    fn order(&self) -> Vec<(usize, usize)> {
        let mut seen = vec![false; self.spans.len()];
        let mut order = Vec::with_capacity(self.spans.len());
        // Spans that are each other's parents are below no root.
        for start in self.roots.iter().copied().chain(0..self.spans.len()) {
            let mut left = vec![(start, 0)];
            while let Some((place, depth)) = left.pop() {
                match seen.get_mut(place) {
                    Some(seen) if !*seen => *seen = true,
                    _ => continue,
                }
                order.push((place, depth));
                left.extend(self.below(place).iter().rev().map(|child| (*child, depth + 1)));
            }
        }
        order
    }

    /// What had to be waited for of each span: backwards from the end of the first root, the child that ended last, then
    /// what that waited for, and so on.
    fn critical(&self) -> HashMap<usize, Vec<(i64, i64)>> {
        let mut pieces: HashMap<usize, Vec<(i64, i64)>> = HashMap::new();
        let mut left = Vec::new();
        if let Some((root, span)) = self.roots.first().and_then(|root| Some((*root, self.spans.get(*root)?))) {
            left.push((root, span.start, span.end()));
        }
        while let Some((place, from, to)) = left.pop() {
            let mut until = to;
            let mut piece = |from: i64, to: i64| {
                if to > from {
                    pieces.entry(place).or_default().push((from, to));
                }
            };
            let mut children: Vec<(usize, &Span)> =
                self.below(place).iter().filter_map(|child| Some((*child, self.spans.get(*child)?))).collect();
            children.sort_by_key(|(_, span)| std::cmp::Reverse(span.end()));
            for (child, span) in children {
                let (start, end) = (span.start.max(from), span.end().min(until));
                if start < until && end > start {
                    piece(end, until);
                    left.push((child, start, end));
                    until = start;
                }
            }
            piece(from, until);
        }
        pieces
    }
}
