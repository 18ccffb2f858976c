//! Container logs on disk: written line by line with time and stream as container runtimes do, rotated by size, read by `kubectl logs`.
//!
//! One file per start of a container, named after the number of starts before it, in one directory per container. A file that has grown to
//! [`LARGEST`] becomes `N.log.1`, the one before `N.log.2`, and so on; [`FILES`] are kept.

pub(crate) mod line;
mod read;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{broadcast, watch};

pub(crate) use line::Stream;
pub use read::LogOptions;
pub(crate) use read::{LogError, follow};

/// A log file is put aside when it has this many bytes.
const LARGEST: u64 = 10 << 20;
/// How many files of one start are kept, the current one included.
const FILES: u32 = 5;
/// So much of what an interactive container says before anybody is attached is kept for whoever attaches first.
const EARLY: usize = 64 << 10;
/// A line that is longer is written in parts, as container runtimes do.
const LONGEST_LINE: usize = 16 << 10;

/// The log of one start of a container.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<(File, u64)>,
    /// Counts what was written; closed when the container has ended.
    grown: watch::Sender<(u64, bool)>,
    /// What comes, as it comes, for those who are attached.
    tap: broadcast::Sender<(Stream, Bytes)>,
    /// What came before anybody was attached; `None`: nobody is owed it.
    early: Mutex<Option<Vec<(Stream, Bytes)>>>,
}

/// The output of a container for somebody who is attached.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What was said before, where nobody else has had it.
    pub(crate) early: Vec<(Stream, Bytes)>,
    /// What comes from now on, once for each stream.
    pub(crate) taps: [broadcast::Receiver<(Stream, Bytes)>; 2],
}

/// The file of one start.
pub(crate) fn path_of(directory: &Path, start: u32) -> PathBuf {
    directory.join(format!("{start}.log"))
}

impl Log {
    /// Opens the log of start number `start`, and removes what is older than the start before it. `interactive`: somebody is
    /// expected to attach (`kubectl run -i`), who must not miss what a quick program says before that.
    pub(crate) fn open(directory: &Path, start: u32, interactive: bool) -> io::Result<Arc<Self>> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)?.flatten() {
            let number = entry.file_name().to_str().and_then(|n| n.split('.').next()?.parse::<u32>().ok());
            if number.is_some_and(|number| number.saturating_add(1) < start || number > start) {
                fs::remove_file(entry.path())?;
            }
        }
        let path = path_of(directory, start);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Arc::new(Self {
            path,
            file: Mutex::new((file, size)),
            grown: watch::channel((0, true)).0,
            tap: broadcast::channel(64).0,
            early: Mutex::new(interactive.then(Vec::new)),
        }))
    }

    /// Tells when there is more to read, and when there will be no more.
    pub(crate) fn growth(&self) -> watch::Receiver<(u64, bool)> {
        self.grown.subscribe()
    }

    /// The output for somebody who attaches now.
    pub(crate) fn attach(&self) -> Attached {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        Attached { early: early.take().unwrap_or_default(), taps: [self.tap.subscribe(), self.tap.subscribe()] }
    }

    /// Gives what came to those who are attached, or keeps it for whoever will be.
    fn tell(&self, stream: Stream, came: &[u8]) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = &mut *early {
            let held: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
            if held.saturating_add(came.len()) > EARLY {
                *early = None;
            } else {
                parts.push((stream, Bytes::copy_from_slice(came)));
            }
        }
        if self.tap.receiver_count() > 0 {
            // Nobody attached any more.
            drop(self.tap.send((stream, Bytes::copy_from_slice(came))));
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, size) = &mut *guard;
        if *size >= LARGEST {
            *file = rotate(&self.path)?;
            *size = 0;
        }
        file.write_all(bytes)?;
        *size = size.saturating_add(bytes.len() as u64);
        drop(guard);
        self.grown.send_modify(|(count, _)| *count = count.wrapping_add(1));
        Ok(())
    }

    /// The last bytes of what was said.
    pub(crate) fn tail(&self, most: usize) -> Vec<u8> {
        read::tail(&self.path, most)
    }

    /// Marks the end: whoever follows is done after what is there.
    pub(crate) fn close(&self) {
        self.grown.send_modify(|(_, open)| *open = false);
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rotate(path: &Path) -> io::Result<File> {
    for number in (1..FILES - 1).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))?;
    OpenOptions::new().append(true).create(true).open(path)
}

/// A pipe for one of a container's streams: the end to give away, and the task that writes what comes to the log.
pub(crate) fn capture(log: &Arc<Log>, stream: Stream) -> io::Result<(OwnedFd, tokio::task::JoinHandle<()>)> {
    let (reader, writer) = io::pipe()?;
    let reader = Receiver::from_owned_fd(reader.into())?;
    let task = tokio::spawn(pump(Arc::clone(log), stream, reader));
    Ok((writer.into(), task))
}

pub(crate) async fn pump(log: Arc<Log>, stream: Stream, mut reader: impl AsyncRead + Unpin) {
    let mut buffer = vec![0u8; 64 << 10];
    let mut splitter = line::Splitter::new(stream, LONGEST_LINE);
    let mut out = Vec::new();
    loop {
        // A terminal reports its end as an error.
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        out.clear();
        if count == 0 {
            splitter.finish(Timestamp::now(), &mut out);
        } else {
            let came = buffer.get(..count).unwrap_or_default();
            log.tell(stream, came);
            splitter.push(came, Timestamp::now(), &mut out);
        }
        if !out.is_empty()
            && let Err(error) = log.append(&out)
        {
            tracing::warn!(path = %log.path().display(), %error, "a container's output is lost: its log cannot be written");
        }
        if count == 0 {
            return;
        }
    }
}
