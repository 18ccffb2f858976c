//! What all containers have in common of their file systems: made once, mounted by each.
//!
//! The lower layer holds a copy of those files of the host's `/etc` that everybody may read (keys and shadow files are not among them), the usual
//! empty directories, and links to the host's programs. Everything is on memory file systems of this process's mount namespace, so nothing of it
//! outlives the process.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::init::protocol::Root;

/// Host directories that hold programs; those that exist are shown in every container.
const PROGRAMS: [&str; 3] = ["/usr", "/opt", "/nix"];
/// Where programs are found besides; links on most systems, directories on others.
const MERGED: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Larger files of `/etc` are caches that no container needs.
const LARGEST: u64 = 4 << 20;
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The common parts and the places to mount on.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    lower: PathBuf,
    devices: PathBuf,
    scratch: PathBuf,
    target: PathBuf,
    system: Vec<PathBuf>,
}

impl Base {
    /// Makes the common parts below `directory`.
    pub(crate) fn prepare(directory: &Path) -> io::Result<Self> {
        let place = |name: &str| -> io::Result<PathBuf> {
            let path = directory.join(name);
            fs::create_dir_all(&path)?;
            path.canonicalize()
        };
        let base = Self {
            lower: place("base")?,
            devices: place("dev")?,
            scratch: place("scratch")?,
            target: place("root")?,
            system: Vec::new(),
        };
        mount(Some("tmpfs"), &base.lower, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
        mount(Some("tmpfs"), &base.devices, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))?;
        let system = lower(&base.lower)?;
        devices(&base.devices)?;
        Ok(Self { system, ..base })
    }

    /// A container's file system before its image's and its volumes' parts.
    pub(crate) fn root(&self) -> Root {
        Root {
            base: self.lower.clone(),
            devices: self.devices.clone(),
            scratch: self.scratch.clone(),
            target: self.target.clone(),
            system: self.system.clone(),
            edits: Vec::new(),
            binds: Vec::new(),
            read_only: false,
        }
    }
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Fills the lower layer; returns the host directories to show.
fn lower(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut system = Vec::new();
    for name in PROGRAMS.into_iter().chain(MERGED) {
        let host = Path::new(name);
        let Ok(found) = fs::symlink_metadata(host) else { continue };
        let target = root.join(name.trim_start_matches('/'));
        if found.is_symlink() {
            symlink(fs::read_link(host)?, &target)?;
        } else {
            directory(&target, 0o755)?;
            system.push(host.to_path_buf());
        }
    }
    for (name, mode) in [
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("run", 0o755),
        ("run/lock", 0o1777),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("home", 0o755),
        ("srv", 0o755),
        ("mnt", 0o755),
        ("var/cache", 0o755),
        ("var/lib", 0o755),
        ("var/log", 0o755),
        ("var/spool", 0o755),
        ("var/tmp", 0o1777),
        ("var/www", 0o755),
    ] {
        directory(&root.join(name), mode)?;
    }
    symlink("../run", root.join("var/run"))?;
    symlink("../run/lock", root.join("var/lock"))?;
    public_copy(Path::new("/etc"), &root.join("etc"))?;
    Ok(system)
}

/// Copies what everybody may read.
fn public_copy(from: &Path, to: &Path) -> io::Result<()> {
    directory(to, 0o755)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let found = entry.metadata()?;
        let mode = found.permissions().mode();
        if found.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if found.is_dir() && mode & 0o005 == 0o005 {
            public_copy(&source, &target)?;
        } else if found.is_file() && mode & 0o004 != 0 && found.len() <= LARGEST {
            // A file that is being replaced right now is as good as absent.
            match fs::copy(&source, &target) {
                Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn devices(root: &Path) -> io::Result<()> {
    for name in DEVICES {
        let target = root.join(name);
        File::create(&target)?;
        mount(Some(&Path::new("/dev").join(name)), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    // Where containers find a place to leave their last words; each has a file of its own mounted there.
    File::create(root.join("termination-log"))?;
    for name in ["shm", "pts"] {
        fs::create_dir(root.join(name))?;
    }
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(to, root.join(name))?;
    }
    Ok(())
}
