//! Spans by trace, and where to find the traces of a service.
//!
//! A span is kept as it came. The service is its resource's `service.name`. Searches are Jaeger's: a trace is found by one of
//! its spans that has everything that is asked for, newest first.

mod search;
mod shared;
pub(crate) mod told;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prost::Message as _;
use redb::{ReadableTable as _, WriteTransaction};
use varka_proto::otlp::{InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span};

use super::disk::{self, BY_SERVICE, BY_TIME, Disk, OPERATIONS, SERVICES, SPANS};
use super::{Error, Millis};
pub use search::Search;
pub(crate) use shared::tell_apart;

/// So many spans wait to be written; more are dropped.
const QUEUE: usize = 65_536;
/// A span that is longer is dropped.
const LONGEST: usize = 64 << 10;
/// A trace shows so many spans.
const TRACE_SPANS: usize = 50_000;
/// More services than these are not told apart.
const MAX_SERVICES: usize = 10_000;
const MAX_OPERATIONS: usize = 1_000;
const KIND: &str = "spans";
/// What a span takes in the other tables.
const OVERHEAD: i64 = 160;
/// Where a resource names none, as OpenTelemetry says.
const NAMELESS: &str = "unknown_service";

/// A span with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Where it comes from.
    pub resource: Resource,
    /// What made it.
    pub scope: Option<InstrumentationScope>,
    /// It.
    pub span: Span,
}

/// A name under which spans of a service go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// Name.
    pub name: String,
    /// OTLP's kind.
    pub kind: i32,
}

#[derive(Debug)]
struct Waiting {
    key: (u128, u64, u8),
    service: u32,
    start: u64,
    duration: u64,
    found: Found,
}

/// Names of services, and how many operations each has.
#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<Arc<str>, u32>,
    by_number: HashMap<u32, Arc<str>>,
    new: Vec<u32>,
}

/// Every span.
#[derive(Debug)]
pub struct Spans {
    disk: Arc<Disk>,
    names: RwLock<Names>,
    waiting: Mutex<Vec<Arc<Waiting>>>,
    /// Being written, and still looked at.
    in_flight: Mutex<Vec<Arc<Waiting>>>,
    taken: AtomicU64,
    dropped: AtomicU64,
    expired: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spans {
    pub(super) fn open(disk: Arc<Disk>) -> Result<Self, Error> {
        let names = disk.read(|read| {
            let mut names = Names::default();
            for row in read.open_table(SERVICES)?.iter()? {
                let (number, name) = row?;
                names.insert(number.value(), name.value().into());
            }
            Ok(names)
        })?;
        Ok(Self {
            disk,
            names: RwLock::new(names),
            waiting: Mutex::default(),
            in_flight: Mutex::default(),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    /// Takes spans; says how many it could not take.
    pub fn append(&self, from: ResourceSpans) -> usize {
        let resource = from.resource.unwrap_or_default();
        let name = service_name(&resource);
        let mut dropped = 0;
        for ScopeSpans { scope, spans } in from.scope_spans {
            for span in spans {
                let found = Found { resource: resource.clone(), scope: scope.clone(), span };
                if !self.take(found, &name) {
                    dropped += 1;
                }
            }
        }
        self.dropped.fetch_add(u64::try_from(dropped).unwrap_or(u64::MAX), Relaxed);
        dropped
    }

    fn take(&self, found: Found, service: &str) -> bool {
        let span = &found.span;
        let (Some(trace), Some(id)) = (trace_id(&span.trace_id), span_id(&span.span_id)) else { return false };
        if found.resource.encoded_len() + span.encoded_len() > LONGEST {
            return false;
        }
        let Some(service) = self.number(service) else { return false };
        let start = span.start_time_unix_nano / 1000;
        let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1000;
        let kind = u8::try_from(span.kind).unwrap_or(0);
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= QUEUE {
            return false;
        }
        waiting.push(Arc::new(Waiting { key: (trace, id, kind), service, start, duration, found }));
        self.taken.fetch_add(1, Relaxed);
        true
    }

    /// Names of every service, sorted.
    pub fn services(&self) -> Vec<Arc<str>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = names.by_name.keys().cloned().collect();
        all.sort();
        all
    }

    /// Operations of a service, sorted.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn operations(&self, service: &str) -> Result<Vec<Operation>, Error> {
        let Some(number) = self.known(service) else { return Ok(Vec::new()) };
        let mut all: Vec<Operation> = self.disk.read(|read| {
            let table = read.open_table(OPERATIONS)?;
            let mut all = Vec::new();
            for row in table.range((number, "", 0)..(number + 1, "", 0))? {
                let key = row?.0;
                let (_, name, kind) = key.value();
                all.push(Operation { name: name.to_owned(), kind: kind.into() });
            }
            Ok(all)
        })?;
        for waiting in self.unwritten().iter().filter(|waiting| waiting.service == number) {
            all.push(Operation { name: waiting.found.span.name.clone(), kind: waiting.found.span.kind });
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// The spans of a trace by their start; empty: there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn trace(&self, trace: u128) -> Result<Vec<Found>, Error> {
        let mut found: HashMap<(u128, u64, u8), Found> = HashMap::new();
        // What is being written is looked at before the file: it is in one of them at any time.
        for waiting in self.unwritten().iter().filter(|waiting| waiting.key.0 == trace) {
            found.insert(waiting.key, waiting.found.clone());
        }
        let records = self.disk.read(|read| {
            let table = read.open_table(SPANS)?;
            let mut records = Vec::new();
            for row in table.range((trace, 0, 0)..=(trace, u64::MAX, u8::MAX))?.take(TRACE_SPANS) {
                let (key, bytes) = row?;
                records.push((key.value(), bytes.value().to_vec()));
            }
            Ok(records)
        })?;
        for (key, bytes) in records {
            found.insert(key, decode(&bytes)?);
        }
        let mut all: Vec<_> = found.into_values().collect();
        tell_apart(&mut all);
        sort(&mut all);
        Ok(all)
    }

    /// The newest `limit` spans that began from `start` to `end` (microseconds, both inclusive), the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn recent(&self, start: u64, end: u64, limit: usize) -> Result<Vec<Found>, Error> {
        let mut found: HashMap<(u128, u64, u8), (u64, Found)> = HashMap::new();
        for waiting in self.unwritten().iter().filter(|waiting| (start..=end).contains(&waiting.start)) {
            found.insert(waiting.key, (waiting.start, waiting.found.clone()));
        }
        let records = self.disk.read(|read| {
            let (by_time, spans) = (read.open_table(BY_TIME)?, read.open_table(SPANS)?);
            let mut records = Vec::new();
            let range = (start, 0, 0, 0)..=(end, u128::MAX, u64::MAX, u8::MAX);
            for row in by_time.range(range)?.rev().take(limit) {
                let (at, trace, id, kind) = row?.0.value();
                if let Some(bytes) = spans.get((trace, id, kind))? {
                    records.push(((trace, id, kind), at, bytes.value().to_vec()));
                }
            }
            Ok(records)
        })?;
        for (key, at, bytes) in records {
            found.insert(key, (at, decode(&bytes)?));
        }
        let mut all: Vec<_> = found.into_iter().collect();
        all.sort_by_key(|(key, (at, _))| (std::cmp::Reverse(*at), *key));
        all.truncate(limit);
        Ok(all.into_iter().map(|(_, (_, found))| found).collect())
    }

    /// The traces that have a span with everything that is asked for, the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn search(&self, search: &Search) -> Result<Vec<u128>, Error> {
        search::run(self, search)
    }

    fn unwritten(&self) -> Vec<Arc<Waiting>> {
        // In this order: what moves from one to the other meanwhile is seen twice rather than never.
        let mut all = lock(&self.waiting).clone();
        all.extend(lock(&self.in_flight).iter().cloned());
        all
    }

    fn known(&self, service: &str) -> Option<u32> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_name.get(service).copied()
    }

    fn number(&self, service: &str) -> Option<u32> {
        if let Some(number) = self.known(service) {
            return Some(number);
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = names.by_name.get(service) {
            return Some(*number);
        }
        if names.by_name.len() >= MAX_SERVICES {
            return None;
        }
        let number = names.by_number.keys().max().map_or(0, |last| last + 1);
        names.insert(number, service.into());
        names.new.push(number);
        Some(number)
    }

    /// Writes what waits; [`settle`](Self::settle) follows.
    pub(super) fn flush(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let batch = {
            let mut in_flight = lock(&self.in_flight);
            let mut waiting = lock(&self.waiting);
            in_flight.append(&mut waiting);
            in_flight.clone()
        };
        let mut services = write.open_table(SERVICES)?;
        for (number, name) in self.names.read().unwrap_or_else(PoisonError::into_inner).unwritten() {
            services.insert(number, &**name)?;
        }
        drop(services);
        let mut spans = write.open_table(SPANS)?;
        let mut by_service = write.open_table(BY_SERVICE)?;
        let mut by_time = write.open_table(BY_TIME)?;
        let mut operations = write.open_table(OPERATIONS)?;
        let mut change = 0;
        for waiting in &batch {
            let (trace, id, kind) = waiting.key;
            let bytes = encode(&waiting.found);
            change += length(&bytes);
            if let Some(before) = spans.insert(waiting.key, bytes.as_slice())? {
                change -= length(before.value());
            }
            by_service.insert((waiting.service, waiting.start, trace, id), waiting.duration)?;
            by_time.insert((waiting.start, trace, id, kind), waiting.service)?;
            let name = waiting.found.span.name.as_str();
            let known = operations.get((waiting.service, name, kind))?.map(|newest| newest.value());
            let room = || -> Result<bool, redb::Error> {
                Ok(operations.range((waiting.service, "", 0)..(waiting.service + 1, "", 0))?.count() < MAX_OPERATIONS)
            };
            if known.is_some_and(|newest| newest < waiting.start) || known.is_none() && room()? {
                operations.insert((waiting.service, name, kind), waiting.start)?;
            }
        }
        drop((spans, by_service, by_time, operations));
        disk::resize(write, KIND, change)
    }

    /// What [`flush`](Self::flush) wrote is in the file, or is not and is lost when the queue is full.
    pub(super) fn settle(&self, written: bool) {
        let mut in_flight = lock(&self.in_flight);
        if written {
            in_flight.clear();
            self.names.write().unwrap_or_else(PoisonError::into_inner).new.clear();
        } else if in_flight.len() > QUEUE {
            self.dropped.fetch_add(u64::try_from(in_flight.len()).unwrap_or(u64::MAX), Relaxed);
            in_flight.clear();
        }
    }

    /// Throws away spans that began before `before`, and names that nobody has used since.
    pub(super) fn expire(&self, write: &WriteTransaction, before: Millis) -> Result<(), redb::Error> {
        let before = before.max(0).cast_unsigned().saturating_mul(1000);
        let mut spans = write.open_table(SPANS)?;
        let mut by_service = write.open_table(BY_SERVICE)?;
        let mut by_time = write.open_table(BY_TIME)?;
        let (mut change, mut count) = (0, 0);
        for row in by_time.extract_from_if(..(before, 0, 0, 0), |_, _| true)? {
            let (key, service) = row?;
            let (start, trace, id, kind) = key.value();
            by_service.remove((service.value(), start, trace, id))?;
            if let Some(bytes) = spans.remove((trace, id, kind))? {
                change -= length(bytes.value());
                count += 1;
            }
        }
        drop((spans, by_service, by_time));
        write.open_table(OPERATIONS)?.retain(|_, newest| newest >= before)?;
        self.expired.fetch_add(count, Relaxed);
        disk::resize(write, KIND, change)
    }

    /// Bytes in the file, and when the oldest span began.
    pub(super) fn extent(&self) -> Result<(u64, Option<Millis>), Error> {
        self.disk.read(|read| {
            let by_time = read.open_table(BY_TIME)?;
            let oldest = by_time.first()?.map(|(key, _)| (key.value().0 / 1000).cast_signed());
            Ok((disk::size(read, KIND)?, oldest))
        })
    }

    pub(super) fn counts(&self) -> super::keeper::Count {
        super::keeper::Count {
            taken: self.taken.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            expired: self.expired.load(Relaxed),
        }
    }
}

impl Names {
    fn insert(&mut self, number: u32, name: Arc<str>) {
        self.by_name.insert(Arc::clone(&name), number);
        self.by_number.insert(number, name);
    }

    fn unwritten(&self) -> impl Iterator<Item = (u32, &Arc<str>)> {
        self.new.iter().filter_map(|number| Some((*number, self.by_number.get(number)?)))
    }
}

impl Found {
    /// The name of the service that it comes from.
    pub fn service(&self) -> String {
        service_name(&self.resource)
    }
}

/// By their start.
pub(crate) fn sort(all: &mut [Found]) {
    all.sort_by(|a, b| {
        let key = |f: &Found| (f.span.start_time_unix_nano, f.span.kind, f.span.span_id.clone());
        key(a).cmp(&key(b))
    });
}

fn service_name(resource: &Resource) -> String {
    let named = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
    let name = named.and_then(|attribute| attribute.value.as_ref()?.as_text()).filter(|name| !name.is_empty());
    name.unwrap_or(NAMELESS).to_owned()
}

/// `None`: no trace has it.
fn trace_id(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?)).filter(|id| *id != 0)
}

fn span_id(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?)).filter(|id| *id != 0)
}

fn encode(found: &Found) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: found.scope.clone(), spans: vec![found.span.clone()] }];
    ResourceSpans { resource: Some(found.resource.clone()), scope_spans }.encode_to_vec()
}

fn decode(bytes: &[u8]) -> Result<Found, Error> {
    let read = ResourceSpans::decode(bytes).map_err(|e| Error::Record(format!("a span: {e}")))?;
    let scoped = read.scope_spans.into_iter().next();
    let (scope, spans) = scoped.map_or((None, Vec::new()), |scoped| (scoped.scope, scoped.spans));
    let span = spans.into_iter().next().ok_or_else(|| Error::Record("a span: it is missing".to_owned()))?;
    Ok(Found { resource: read.resource.unwrap_or_default(), scope, span })
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX / 2) + OVERHEAD
}

#[cfg(test)]
mod tests;
