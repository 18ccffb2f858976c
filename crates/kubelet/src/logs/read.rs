//! Reading a container's log back, and following it as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::line::Line;
use super::{FILES, aside};

/// What of a log is wanted: the parameters of `GET pods/NAME/log`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// The log of the start before this one.
    pub previous: bool,
    /// Put the time in front of each line.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// End after this many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{path}: {reason}")]
    Read { path: String, reason: String },
}

/// Collects lines into chunks of output.
struct Output<'a> {
    options: &'a LogOptions,
    left: u64,
    chunk: Vec<u8>,
    at_line_start: bool,
}

impl Output<'_> {
    /// Takes one line; false when the limit is reached.
    fn line(&mut self, line: &Line<'_>) -> bool {
        if self.options.since.is_some_and(|since| line.timestamp().is_some_and(|time| time < since)) {
            return true;
        }
        let start = self.chunk.len();
        if self.options.timestamps && self.at_line_start {
            self.chunk.extend_from_slice(line.time);
            self.chunk.push(b' ');
        }
        self.chunk.extend_from_slice(line.text);
        if line.whole {
            self.chunk.push(b'\n');
        }
        self.at_line_start = line.whole;
        let added = (self.chunk.len() - start) as u64;
        if added >= self.left {
            let keep = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.chunk.truncate(start.saturating_add(keep));
            self.left = 0;
            return false;
        }
        self.left -= added;
        true
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.display().to_string();
    move |error| LogError::Read { path: path.clone(), reason: error.to_string() }
}

/// The files of one start, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let older = (1..FILES).rev().map(|number| aside(path, number));
    older.chain([path.to_path_buf()]).filter(|p| p.exists()).collect()
}

/// Sends what is wanted of the log at `path`; with `growth`, goes on until the log is closed or the receiver is.
pub(crate) fn follow(
    path: &Path,
    options: LogOptions,
    growth: Option<watch::Receiver<(u64, bool)>>,
) -> mpsc::Receiver<Result<Bytes, LogError>> {
    let (sender, receiver) = mpsc::channel(16);
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || {
        let handle = tokio::runtime::Handle::current();
        let send = |item| handle.block_on(sender.send(item)).is_ok();
        if let Err(error) = read(&path, &options, growth, &handle, &send, &sender) {
            send(Err(failed(&path)(error)));
        }
    });
    receiver
}

fn read(
    path: &Path,
    options: &LogOptions,
    mut growth: Option<watch::Receiver<(u64, bool)>>,
    handle: &tokio::runtime::Handle,
    send: &dyn Fn(Result<Bytes, LogError>) -> bool,
    sender: &mpsc::Sender<Result<Bytes, LogError>>,
) -> io::Result<()> {
    let mut output =
        Output { options, left: options.limit_bytes.unwrap_or(u64::MAX), chunk: Vec::new(), at_line_start: true };
    // Seen before the files are read: what is written from here on wakes the wait below.
    let mut open = growth.as_mut().is_some_and(|growth| growth.borrow_and_update().1);
    let mut skip =
        options.tail_lines.map_or(Ok(0), |wanted| count_lines(path).map(|all| all.saturating_sub(wanted)))?;
    let mut current = None;
    for file in files(path) {
        let mut reader = BufReader::new(File::open(&file)?);
        if !drain(&mut reader, &mut output, &mut skip, send)? {
            return Ok(());
        }
        current = Some(reader);
    }
    let Some(growth) = growth.filter(|_| options.follow) else { return Ok(()) };
    let mut growth = growth;
    let Some(mut reader) = current else { return Ok(()) };
    loop {
        if !drain(&mut reader, &mut output, &mut 0, send)? {
            return Ok(());
        }
        if !open {
            return Ok(());
        }
        let changed = handle.block_on(async {
            tokio::select! { changed = growth.changed() => changed.is_ok(), () = sender.closed() => false }
        });
        open = changed && growth.borrow_and_update().1;
        if sender.is_closed() {
            return Ok(());
        }
        if rotated(&mut reader, path)? {
            // What was still written to the old file comes first.
            if !drain(&mut reader, &mut output, &mut 0, send)? {
                return Ok(());
            }
            reader = BufReader::new(File::open(path)?);
        }
    }
}

/// The last bytes of the text in the file, at the start of a line where one begins in them.
pub(super) fn tail(path: &Path, most: usize) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut text: Vec<u8> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').rev().filter_map(Line::parse) {
        if text.len() + line.text.len() + 1 > most {
            break;
        }
        text.splice(0..0, line.text.iter().copied().chain(line.whole.then_some(b'\n')));
    }
    text
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut count = 0u64;
    for file in files(path) {
        let mut reader = BufReader::new(File::open(file)?);
        let mut buffer = Vec::new();
        while reader.read_until(b'\n', &mut buffer)? > 0 {
            // Parts of one long line count once, at its end.
            count += u64::from(Line::parse(&buffer).is_some_and(|line| line.whole));
            buffer.clear();
        }
    }
    Ok(count)
}

/// Reads to the present end. False when no more is wanted.
fn drain(
    reader: &mut BufReader<File>,
    output: &mut Output<'_>,
    skip: &mut u64,
    send: &dyn Fn(Result<Bytes, LogError>) -> bool,
) -> io::Result<bool> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let count = reader.by_ref().read_until(b'\n', &mut buffer)?;
        let complete = buffer.last() == Some(&b'\n');
        let mut wanted = true;
        if count > 0 && !complete {
            // Half of a line that is being written: read it again later.
            reader.seek(SeekFrom::Current(-i64::try_from(count).unwrap_or(0)))?;
        } else if let Some(line) = buffer.strip_suffix(b"\n").and_then(Line::parse) {
            if *skip > 0 {
                *skip -= u64::from(line.whole);
            } else {
                wanted = output.line(&line);
            }
        }
        let pause = count == 0 || !complete;
        if (pause || !wanted || output.chunk.len() > 32 << 10) && !output.chunk.is_empty() {
            let chunk = Bytes::from(std::mem::take(&mut output.chunk));
            if !send(Ok(chunk)) {
                return Ok(false);
            }
        }
        if pause || !wanted {
            return Ok(wanted);
        }
    }
}

fn rotated(reader: &mut BufReader<File>, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(reader.get_ref().metadata()?.ino() != std::fs::metadata(path)?.ino())
}
