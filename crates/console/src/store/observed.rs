//! What objects that change by themselves (pods and their like) were at which time, as far as views of the past need it.
//!
//! They have a table and room of their own beside revisions, so that a crash loop makes pods of long ago forgotten, and no
//! configuration. What is kept comes in segments: everything that was there at one moment, and what was different from then on, as merge
//! patches. A moment of the past is read from one segment, and what takes too much room or is too old goes a segment at a time, from the
//! oldest on. Nothing is known here of kinds and fields: objects come as somebody has reduced them.
//!
//! Of a time before the oldest segment nothing is known, nor of a kind that was not listed then, and it is not made up.

mod patch;
mod segment;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::WriteTransaction;
use serde_json::Value;

use super::disk::{Disk, OBSERVED};
use super::keeper::Count;
use super::revisions::Reference;
use super::{Error, Millis};
use segment::Segment;

/// Changes of one object that follow one another so quickly are one.
const TOGETHER: Millis = 250;
/// Changes that wait to be written; if there are more, since nothing can be written, what is known begins anew.
const MOST_WAITING: usize = 50_000;
/// A clock that goes back by more was set; what follows is told by it.
const SET_BACK: Millis = 60_000;
/// A segment goes on for as long as its changes take less than what it began with, but for so many bytes anyway,
const SHORTEST: u64 = 64 << 10;
/// and for no more than this part of all the room.
const SEGMENTS: u64 = 16;

/// An object, as text of JSON; `None`: it is not there.
type Text = Option<Arc<str>>;

/// Everything that was there at one moment.
#[derive(Debug, Default)]
pub struct Then {
    /// Kinds (`group/Kind`) whose objects are known; of others nothing is.
    pub kinds: BTreeSet<String>,
    /// The objects.
    pub objects: HashMap<Reference, Value>,
}

impl Then {
    fn change(&mut self, change: Change) {
        match change.after.and_then(|text| serde_json::from_str(&text).ok()) {
            Some(object) => drop(self.objects.insert(change.of, object)),
            None => drop(self.objects.remove(&change.of)),
        }
    }
}

/// An object is something else from a time on.
#[derive(Debug, Clone)]
struct Change {
    at: Millis,
    of: Reference,
    before: Text,
    after: Text,
}

#[derive(Debug, Default)]
struct State {
    /// Kinds of which everything that is there is known.
    kinds: BTreeSet<String>,
    newest: HashMap<Reference, Arc<str>>,
    waiting: Vec<Change>,
    /// How many of `waiting` are being written.
    in_flight: usize,
    /// Where in `waiting` an object's change is that may still be added to.
    open: HashMap<Reference, usize>,
    segments: Vec<Segment>,
    /// What [`Observed::flush`] has made, until it is in the file.
    flown: Option<Flown>,
    /// A segment has to begin,
    begin: Option<Begin>,
    /// and nothing that is in the file goes on there.
    anew: bool,
    /// How often a segment had to begin.
    wishes: u64,
    /// There is more than there is room for: nothing is kept.
    too_much: bool,
    /// Of the newest change.
    last: Millis,
    count: Count,
}

/// What a segment is to begin with.
#[derive(Debug, Clone)]
struct Begin {
    at: Millis,
    kinds: BTreeSet<String>,
    objects: HashMap<Reference, Arc<str>>,
    /// How many of the waiting changes were before it.
    place: usize,
}

/// What is being written.
#[derive(Debug)]
struct Flown {
    segments: Vec<Segment>,
    /// Segments that are thrown away.
    gone: usize,
    /// The wish that it does.
    wish: u64,
}

/// Objects that change by themselves, now and then.
#[derive(Debug)]
pub struct Observed {
    disk: Arc<Disk>,
    limit: u64,
    state: Mutex<State>,
}

/// How a kind is called here.
pub fn kind_of(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

impl Observed {
    pub(super) fn open(disk: Arc<Disk>, limit: u64) -> Result<Self, Error> {
        let mut state = State { segments: disk.read(segment::all)?, ..State::default() };
        if let Some(segment) = state.segments.last() {
            let read = disk.read(|read| segment::read(read, segment.number, Millis::MAX))?;
            state.kinds = read.then.kinds;
            state.last = read.last;
            let texts = read.then.objects.into_iter().map(|(of, object)| (of, object.to_string().into()));
            state.newest = texts.collect();
        }
        Ok(Self { disk, limit, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects of a kind that are there as far as is known.
    pub fn present(&self, group: &str, kind: &str) -> Vec<Reference> {
        let state = self.lock();
        state.newest.keys().filter(|of| of.group == group && of.kind == kind).cloned().collect()
    }

    /// From when on objects of a kind are known; `None`: they are not.
    pub fn since(&self, group: &str, kind: &str) -> Option<Millis> {
        let kind = kind_of(group, kind);
        let state = self.lock();
        let written = state.segments.iter().find(|segment| segment.kinds.contains(&kind) && !state.anew);
        let begun = || state.begin.as_ref().filter(|begin| begin.kinds.contains(&kind)).map(|begin| begin.at);
        written.map(|segment| segment.start).or_else(begun)
    }

    /// Every object of a kind that is there was [told](Self::tell), and none that is not.
    pub fn listed(&self, group: &str, kind: &str, at: Millis) {
        let mut state = self.lock();
        if state.kinds.insert(kind_of(group, kind)) {
            let at = state.moment(at);
            state.begin_segment(at, false);
        }
    }

    /// Takes an object as it is from a time on, or that it is there no more; `false`: that was known.
    pub fn tell(&self, of: &Reference, object: Option<&Value>, at: Millis) -> bool {
        let after: Text = object.map(|object| object.to_string().into());
        let mut state = self.lock();
        let before = state.newest.get(of).cloned();
        if before == after || is_same(before.as_deref(), object) {
            return false;
        }
        let at = state.moment(at);
        match &after {
            Some(text) => drop(state.newest.insert(of.clone(), Arc::clone(text))),
            None => drop(state.newest.remove(of)),
        }
        state.count.taken += 1;
        state.wait(Change { at, of: of.clone(), before, after });
        true
    }

    /// Everything as it was at a time; `None`: that is not known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn at(&self, time: Millis) -> Result<Option<Then>, Error> {
        let state = self.lock();
        let is_begun = state.begin.as_ref().filter(|begin| begin.at <= time);
        let segment = state.segments.iter().rev().find(|segment| segment.start <= time && !state.anew);
        let changes = |from: usize| -> Vec<Change> {
            state.waiting.iter().skip(from).filter(|change| change.at <= time).cloned().collect()
        };
        // What is in memory already.
        let (kinds, texts, waiting) = match (is_begun, segment) {
            (None, None) => return Ok(None),
            _ if time >= state.last => (state.kinds.clone(), state.newest.clone(), Vec::new()),
            (Some(begin), _) => (begin.kinds.clone(), begin.objects.clone(), changes(begin.place)),
            (None, Some(segment)) => {
                let (number, waiting) = (segment.number, changes(0));
                drop(state);
                let mut then = self.disk.read(|read| segment::read(read, number, time))?.then;
                waiting.into_iter().for_each(|change| then.change(change));
                return Ok(Some(then));
            }
        };
        drop(state);
        let parsed = |(of, text): (Reference, Arc<str>)| Some((of, serde_json::from_str(&text).ok()?));
        let mut then = Then { kinds, objects: texts.into_iter().filter_map(parsed).collect() };
        waiting.into_iter().for_each(|change| then.change(change));
        Ok(Some(then))
    }

    /// Every object that is meant and was there at any time from `start` to `end`, both inclusive, as it was last then, as far as is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn between(
        &self,
        is_meant: &dyn Fn(&Reference) -> bool,
        start: Millis,
        end: Millis,
    ) -> Result<HashMap<Reference, Value>, Error> {
        let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
        let state = self.lock();
        let from = state.segments.iter().rposition(|segment| segment.start <= start).unwrap_or(0);
        let kept = state.segments.iter().skip(from).take_while(|segment| segment.start <= end && !state.anew);
        let segments: Vec<u64> = kept.map(|segment| segment.number).collect();
        let mut found = HashMap::new();
        if state.segments.is_empty() {
            let all = state.begin.as_ref().map_or(&state.newest, |begin| &begin.objects);
            let own = all.iter().filter(|(of, _)| is_meant(of));
            found.extend(own.filter_map(|(of, text)| Some((of.clone(), parse(text)?))));
        }
        let waiting = state.waiting.iter().filter(|change| is_meant(&change.of) && change.at <= end);
        let waiting: Vec<Change> = waiting.cloned().collect();
        drop(state);
        for number in segments {
            self.disk.read(|read| segment::gather(read, number, (start, end), is_meant, &mut found))?;
        }
        for change in waiting {
            let text = change.after.or_else(|| change.before.filter(|_| change.at >= start));
            match text.and_then(|text| parse(&text)) {
                Some(object) => drop(found.insert(change.of, object)),
                None => drop(found.remove(&change.of)),
            }
        }
        Ok(found)
    }

    /// Bytes that are kept.
    pub fn size(&self) -> u64 {
        self.lock().segments.iter().map(Segment::bytes).sum()
    }

    pub(super) fn counts(&self) -> Count {
        self.lock().count
    }

    /// Writes what waits; [`settle`](Self::settle) follows.
    pub(super) fn flush(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let mut state = self.lock();
        state.in_flight = state.waiting.len();
        state.open.clear();
        if state.too_much || (state.kinds.is_empty() && state.segments.is_empty()) {
            return Ok(());
        }
        let (mut gone, mut segments) = (Vec::new(), state.segments.clone());
        if state.anew {
            std::mem::swap(&mut gone, &mut segments);
        }
        let number = state.segments.last().map_or(0, |segment| segment.number + 1);
        let is_long = segments.last().is_some_and(|segment| self.is_long(segment));
        let begin = state.begin.clone().or_else(|| is_long.then(|| state.beginning(state.last)));
        let (waiting, wish) = (state.waiting.clone(), state.wishes);
        // Whoever tells something is not held up by what follows.
        drop(state);
        let place = begin.as_ref().map_or(waiting.len(), |begin| begin.place);
        let (before, after) = waiting.split_at(place.min(waiting.len()));
        let mut table = write.open_table(OBSERVED)?;
        if let Some(segment) = segments.last_mut() {
            segment::append(&mut table, segment, before)?;
        }
        if let Some(Begin { at, kinds, objects, .. }) = begin {
            let mut segment = segment::begin(&mut table, number, (at, kinds), &objects)?;
            segment::append(&mut table, &mut segment, after)?;
            segments.push(segment);
        }
        let surplus = self.surplus(&segments);
        gone.extend(segments.drain(..surplus));
        for segment in &gone {
            segment::remove(&mut table, segment.number)?;
        }
        self.lock().flown = Some(Flown { segments, gone: gone.len(), wish });
        Ok(())
    }

    /// How many of the oldest segments there is no room for; the newest always stays.
    fn surplus(&self, segments: &[Segment]) -> usize {
        let mut left: u64 = segments.iter().map(Segment::bytes).sum();
        let mut surplus = 0;
        while left > self.limit && surplus + 1 < segments.len() {
            left -= segments.get(surplus).map_or(0, Segment::bytes);
            surplus += 1;
        }
        surplus
    }

    fn is_long(&self, segment: &Segment) -> bool {
        segment.changes > segment.beginning.max(SHORTEST).min(self.limit / SEGMENTS)
    }

    /// What [`flush`](Self::flush) wrote is in the file, or is not.
    pub(super) fn settle(&self, written: bool) {
        let mut state = self.lock();
        let count = std::mem::take(&mut state.in_flight).min(state.waiting.len());
        let flown = state.flown.take();
        if !written {
            return;
        }
        state.waiting.drain(..count);
        for place in state.open.values_mut() {
            *place = place.saturating_sub(count);
        }
        if let Some(begin) = &mut state.begin {
            begin.place = begin.place.saturating_sub(count);
        }
        let Some(Flown { segments, gone, wish }) = flown else { return };
        state.count.expired += u64::try_from(gone).unwrap_or(0);
        state.segments = segments;
        // What was wished meanwhile is done next time.
        if wish == state.wishes {
            (state.begin, state.anew) = (None, false);
        }
        let own = state.segments.last().map_or(0, |segment| segment.beginning);
        if own > self.limit / 2 {
            tracing::warn!(
                bytes = own,
                limit = self.limit,
                "there are more pods, endpoints and the like than there is room for: what they were in the past is not kept"
            );
            state.too_much = true;
        }
    }

    /// Throws away segments that held no more at `before`.
    pub(super) fn expire(&self, write: &WriteTransaction, before: Millis) -> Result<(), redb::Error> {
        let mut state = self.lock();
        let old = if state.too_much {
            state.segments.len()
        } else {
            // The one that holds at `before` is kept.
            state.segments.iter().rposition(|segment| segment.start <= before).unwrap_or(0)
        };
        if old == 0 {
            return Ok(());
        }
        let mut table = write.open_table(OBSERVED)?;
        for segment in state.segments.iter().take(old) {
            segment::remove(&mut table, segment.number)?;
        }
        state.segments.drain(..old);
        state.count.expired += u64::try_from(old).unwrap_or(0);
        Ok(())
    }
}

impl State {
    /// The time of something that is told at `at`: times only grow, unless the clock was set back.
    fn moment(&mut self, at: Millis) -> Millis {
        if at.saturating_add(SET_BACK) < self.last {
            self.last = at;
            self.begin_segment(at, false);
        }
        self.last = self.last.max(at);
        self.last
    }

    fn beginning(&self, at: Millis) -> Begin {
        Begin { at, kinds: self.kinds.clone(), objects: self.newest.clone(), place: self.waiting.len() }
    }

    fn begin_segment(&mut self, at: Millis, anew: bool) {
        self.open.clear();
        self.begin = Some(self.beginning(at));
        self.anew |= anew;
        self.wishes += 1;
    }

    fn wait(&mut self, change: Change) {
        if self.too_much {
            return;
        }
        if let Some(earlier) = self.open.get(&change.of).and_then(|place| self.waiting.get_mut(*place))
            && change.at - earlier.at < TOGETHER
        {
            (earlier.at, earlier.after) = (change.at, change.after);
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.count.dropped += u64::try_from(self.waiting.len() - self.in_flight).unwrap_or(0);
            self.waiting.truncate(self.in_flight);
            self.begin_segment(self.last, true);
            return;
        }
        self.open.insert(change.of.clone(), self.waiting.len());
        self.waiting.push(change);
    }
}

/// Members of an object may come in another order.
fn is_same(before: Option<&str>, object: Option<&Value>) -> bool {
    let before = before.and_then(|text| serde_json::from_str::<Value>(text).ok());
    before.is_some() && before.as_ref() == object
}

#[cfg(test)]
mod tests;
