//! What the runtime and a container's process 1 say to each other: JSON over a sequenced-packet socket, descriptors beside it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The command that is the container's own program.
pub(crate) const MAIN: u64 = 0;
/// The largest message; the kernel's limit for one packet is about 200 KiB.
pub(crate) const MESSAGE: usize = 160 * 1024;

/// Everything that does not change over a container's life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) root: Root,
    pub(crate) identity: Identity,
}

/// The container's file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Root {
    /// The common lower layer, read-only.
    pub(crate) base: PathBuf,
    /// The common device directory.
    pub(crate) devices: PathBuf,
    /// An empty directory to mount the container's own layer on.
    pub(crate) scratch: PathBuf,
    /// An empty directory to mount the result on.
    pub(crate) target: PathBuf,
    /// Host directories that are there in every container, read-only.
    pub(crate) system: Vec<PathBuf>,
    /// Changes to the image, in order.
    pub(crate) edits: Vec<Edit>,
    /// Volumes, in order.
    pub(crate) binds: Vec<Bind>,
    /// Whether the root itself may not be written to.
    pub(crate) read_only: bool,
}

/// One change to the file system before the container starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Edit {
    /// A directory with its parents.
    Directory { path: PathBuf, mode: u32, owner: Option<String> },
    /// A directory that must be there, as it is if it is.
    Ensure { path: PathBuf },
    /// A file with its content; parents are made.
    File { path: PathBuf, content: Vec<u8>, mode: u32 },
    /// A symbolic link.
    Link { path: PathBuf, to: PathBuf },
    /// Takes a file away, or all files in a directory.
    Remove { path: PathBuf },
}

/// One volume, or a part of it, at its place in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Where it is on the host, without symbolic links.
    pub(crate) source: PathBuf,
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

/// Who the container's processes are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Capabilities that they keep, by name.
    pub(crate) capabilities: Vec<String>,
    /// Whether there is one identity only: changes of user succeed without doing anything, and another user than 0 is a nested user namespace.
    pub(crate) single: bool,
}

/// One program to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) args: Vec<String>,
    /// `NAME=value` each.
    pub(crate) env: Vec<String>,
    pub(crate) directory: PathBuf,
    /// Whether it gets a terminal; else the descriptors beside the message are its standard three, as `streams` says.
    pub(crate) terminal: bool,
    /// Which of the standard three come as descriptors, in order; the others are `/dev/null`.
    pub(crate) streams: [bool; 3],
}

/// From the runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    Run { id: u64, run: Run },
    Signal { id: u64, signal: i32 },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    /// The code that Kubernetes reports: 128 and the number of the signal for a program that was killed.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// To the runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The file system stands; programs can be run.
    Ready,
    /// The container could not be set up.
    Failed(String),
    /// The program runs; its terminal comes beside the message.
    Started {
        id: u64,
    },
    NotStarted {
        id: u64,
        reason: String,
    },
    Exited {
        id: u64,
        ended: Ended,
    },
}
