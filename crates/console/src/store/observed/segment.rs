//! A segment as it is in the file: rows of lines, deflated. The first row is everything that was there, each other one what was different.
//!
//! A line is `TIME TAB GROUP TAB KIND TAB NAMESPACE TAB NAME TAB TEXT`; TEXT is the object in the first row, a merge patch in others, and
//! empty where it is gone. The first line of the first row is `TIME TAB KINDS`. What cannot be read is left out.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use redb::{ReadTransaction, ReadableTable as _, Table};
use serde_json::Value;

use super::{Change, Then, patch};
use crate::store::Millis;
use crate::store::disk::OBSERVED;
use crate::store::revisions::Reference;

/// What a row takes beside its bytes.
const OVERHEAD: u64 = 24;

/// What is known of a segment without reading it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// It says how everything was from this time on.
    pub(super) start: Millis,
    pub(super) kinds: BTreeSet<String>,
    pub(super) rows: u64,
    /// Bytes of the first row,
    pub(super) beginning: u64,
    /// and of the others.
    pub(super) changes: u64,
}

impl Segment {
    fn new(number: u64, start: Millis, kinds: BTreeSet<String>, bytes: usize) -> Self {
        Self { number, start, kinds, rows: 1, beginning: taken(bytes), changes: 0 }
    }

    fn grow(&mut self, bytes: usize) {
        self.rows += 1;
        self.changes += taken(bytes);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.beginning + self.changes
    }
}

fn taken(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX / 2) + OVERHEAD
}

/// The table in the file.
pub(super) type Rows<'t> = Table<'t, (u64, u64), &'static [u8]>;

/// A segment up to a time.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) then: Then,
    /// The time of the last line.
    pub(super) last: Millis,
}

/// Every segment, the oldest first.
pub(super) fn all(read: &ReadTransaction) -> Result<Vec<Segment>, redb::Error> {
    let mut found: Vec<Segment> = Vec::new();
    for row in read.open_table(OBSERVED)?.iter()? {
        let (key, bytes) = row?;
        let ((number, place), bytes) = (key.value(), bytes.value());
        match found.last_mut() {
            Some(segment) if segment.number == number => {
                segment.rows = place;
                segment.grow(bytes.len());
            }
            _ => {
                let text = inflate(bytes);
                let (start, kinds) = heading(text.lines().next().unwrap_or_default());
                found.push(Segment::new(number, start, kinds, bytes.len()));
            }
        }
    }
    // Whose beginning cannot be read tells nothing.
    found.retain(|segment| segment.start < Millis::MAX);
    Ok(found)
}

/// Everything as it was at a time that is in the segment.
pub(super) fn read(read: &ReadTransaction, number: u64, until: Millis) -> Result<Read, redb::Error> {
    let mut found = Read::default();
    let table = read.open_table(OBSERVED)?;
    for row in table.range((number, 0)..=(number, u64::MAX))? {
        let (key, bytes) = row?;
        let text = inflate(bytes.value());
        let mut lines = text.lines();
        if key.value().1 == 0 {
            (found.last, found.then.kinds) = heading(lines.next().unwrap_or_default());
        }
        for line in lines.filter_map(Line::read) {
            if line.at > until {
                return Ok(found);
            }
            found.last = line.at;
            line.change(&mut found.then.objects);
        }
    }
    Ok(found)
}

/// Objects of a segment that were there in a time, added to others.
pub(super) fn gather(
    read: &ReadTransaction,
    number: u64,
    (start, end): (Millis, Millis),
    is_meant: &dyn Fn(&Reference) -> bool,
    found: &mut HashMap<Reference, Value>,
) -> Result<(), redb::Error> {
    let mut now: HashMap<Reference, Value> = HashMap::new();
    let table = read.open_table(OBSERVED)?;
    'rows: for row in table.range((number, 0)..=(number, u64::MAX))? {
        let (key, bytes) = row?;
        let text = inflate(bytes.value());
        let skipped = usize::from(key.value().1 == 0);
        for line in text.lines().skip(skipped).filter_map(Line::read) {
            if line.at > end {
                break 'rows;
            }
            if !is_meant(&line.of) {
                continue;
            }
            if line.text.is_empty()
                && line.at >= start
                && let Some((of, object)) = now.remove_entry(&line.of)
            {
                found.insert(of, object);
            }
            line.change(&mut now);
        }
    }
    found.extend(now);
    Ok(())
}

/// Begins a segment with everything that is there.
pub(super) fn begin(
    table: &mut Rows<'_>,
    number: u64,
    (at, kinds): (Millis, BTreeSet<String>),
    objects: &HashMap<Reference, Arc<str>>,
) -> Result<Segment, redb::Error> {
    let named: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let mut text = format!("{at}\t{}\n", named.join(" "));
    for (of, object) in objects {
        line(&mut text, at, of, object);
    }
    let row = deflate(&text);
    // A segment of this number that could not be read is none.
    remove(table, number)?;
    table.insert((number, 0), row.as_slice())?;
    Ok(Segment::new(number, at, kinds, row.len()))
}

/// Adds a row of changes, if there are any.
pub(super) fn append(table: &mut Rows<'_>, segment: &mut Segment, all: &[Change]) -> Result<(), redb::Error> {
    if all.is_empty() {
        return Ok(());
    }
    let row = changes(all);
    table.insert((segment.number, segment.rows), row.as_slice())?;
    segment.grow(row.len());
    Ok(())
}

fn changes(all: &[Change]) -> Vec<u8> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut text = String::new();
    for Change { at, of, before, after } in all {
        match (before, after) {
            (Some(before), Some(after)) => {
                let patch = patch::difference(&parse(before), &parse(after));
                line(&mut text, *at, of, &patch.to_string());
            }
            (None, Some(after)) => line(&mut text, *at, of, after),
            (_, None) => line(&mut text, *at, of, ""),
        }
    }
    deflate(&text)
}

/// Takes every row of a segment away.
pub(super) fn remove(table: &mut Rows<'_>, number: u64) -> Result<(), redb::Error> {
    table.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?;
    Ok(())
}

fn line(text: &mut String, at: Millis, of: &Reference, object: &str) {
    let Reference { group, kind, namespace, name } = of;
    text.push_str(&format!("{at}\t{group}\t{kind}\t{namespace}\t{name}\t{object}\n"));
}

fn heading(line: &str) -> (Millis, BTreeSet<String>) {
    let (at, kinds) = line.split_once('\t').unwrap_or_default();
    (at.parse().unwrap_or(Millis::MAX), kinds.split(' ').filter(|kind| !kind.is_empty()).map(str::to_owned).collect())
}

struct Line<'t> {
    at: Millis,
    of: Reference,
    text: &'t str,
}

impl<'t> Line<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let mut parts = line.splitn(6, '\t');
        let at = parts.next()?.parse().ok()?;
        let mut name = || parts.next().map(str::to_owned);
        let of = Reference { group: name()?, kind: name()?, namespace: name()?, name: name()? };
        Some(Self { at, of, text: parts.next()? })
    }

    fn change(self, objects: &mut HashMap<Reference, Value>) {
        match serde_json::from_str(self.text) {
            Ok(change) => patch::apply(objects.entry(self.of).or_default(), change),
            Err(_) => drop(objects.remove(&self.of)),
        }
    }
}

/// Writing into memory does not fail.
fn deflate(text: &str) -> Vec<u8> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
    let _ = deflated.write_all(text.as_bytes());
    deflated.finish().unwrap_or_default()
}

fn inflate(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    // What is damaged ends where it is.
    let _ = DeflateDecoder::new(bytes).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
