//! A container's file system without an image: the host's programs read-only, a copy of its public configuration, and all the rest its own.
//!
//! Mounting the volumes comes after changing the root, so that a symbolic link in the container is followed inside it and never on the host.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chown, pivot_root};
use varka_sys::mount::make_read_only;

use super::launch::owner_of;
use super::protocol::{Bind, Edit, Root};

const OLD: &str = "/.host";
/// Files of `/proc` by which root could reach past the container, as container runtimes protect them.
const PROTECTED: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];
const MASKED: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"];

fn naming(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Builds the file system and makes it the root of this process.
pub(super) fn build(root: &Root) -> io::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    layers(root).map_err(naming("the container's own layer"))?;
    DirBuilder::new().mode(0o700).create(inside(&root.target, Path::new(OLD)))?;
    pivot_root(&root.target, &inside(&root.target, Path::new(OLD)))?;
    chdir("/")?;
    for directory in &root.system {
        bind(&Bind { source: directory.clone(), target: directory.clone(), read_only: true })?;
    }
    bind(&Bind { source: root.devices.clone(), target: "/dev".into(), read_only: false })?;
    kernel_file_systems()?;
    for edit in &root.edits {
        apply(edit).map_err(naming(format!("preparing {}", edit.path().display())))?;
    }
    for volume in &root.binds {
        bind(volume)?;
    }
    umount2(OLD, MntFlags::MNT_DETACH)?;
    fs::remove_dir(OLD)?;
    if root.read_only {
        let flags =
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

/// `path`, which is absolute, below `root`.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn layers(root: &Root) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &root.scratch, Some("tmpfs"), flags, Some("mode=0755"))?;
    let (upper, work) = (root.scratch.join("upper"), root.scratch.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", root.base.display(), upper.display(), work.display());
    match mount(Some("overlay"), &root.target, Some("overlay"), flags, Some(options.as_str())) {
        Ok(()) => Ok(()),
        // A kernel without overlays, or one that keeps them from ordinary users: a copy does as well, only slower.
        Err(nix::Error::EPERM | nix::Error::ENODEV | nix::Error::EINVAL) => {
            copy_tree(&root.base, &upper)?;
            Ok(mount(Some(&upper), &root.target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Copies directories, files and symbolic links with their permissions.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            DirBuilder::new().mode(entry.metadata()?.permissions().mode() & 0o7777).create(&target)?;
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

fn kernel_file_systems() -> io::Result<()> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("proc"), "/proc", Some("proc"), safe, None::<&str>) {
        // In a container with a masked /proc the kernel refuses a new one; the one we came with is what there is.
        Err(nix::Error::EPERM) => {
            mount(
                Some(Path::new(OLD).join("proc").as_path()),
                "/proc",
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
        }
        other => other?,
    }
    for path in PROTECTED {
        let path = Path::new(path);
        if mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).is_ok() {
            make_read_only(path)?;
        }
    }
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(io::Error::from)
            .map_err(naming(path))?;
    }
    mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), safe, Some("mode=1777"))?;
    let terminals = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), terminals, Some("newinstance,ptmxmode=0666,mode=0620"))?;
    // The directory is common to all containers: nobody may make files in it.
    let shared = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(None::<&str>, "/dev", None::<&str>, shared, None::<&str>)?;
    // Programs look there for their limits; where the kernel does not let us mount it, they go without.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), safe | MsFlags::MS_RDONLY, None::<&str>);
    Ok(())
}

impl Edit {
    fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. }
            | Self::File { path, .. }
            | Self::Link { path, .. }
            | Self::Ensure { path }
            | Self::Remove { path } => path,
        }
    }
}

fn apply(edit: &Edit) -> io::Result<()> {
    match edit {
        Edit::Directory { path, mode, owner } => {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
            if let Some((uid, gid)) = owner.as_deref().and_then(owner_of) {
                // With one identity every file is that one's already.
                match chown(path, Some(uid.into()), Some(gid.into())) {
                    Ok(()) | Err(nix::Error::EINVAL) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
        Edit::Ensure { path } => fs::create_dir_all(path),
        Edit::File { path, content, mode } => {
            parents(path)?;
            // The host's file may be a link to what is not here, as /etc/resolv.conf often is.
            if path.is_symlink() {
                fs::remove_file(path)?;
            }
            fs::write(path, content)?;
            fs::set_permissions(path, Permissions::from_mode(*mode))
        }
        Edit::Link { path, to } => {
            parents(path)?;
            drop(fs::remove_file(path));
            symlink(to, path)
        }
        Edit::Remove { path } if path.is_dir() => {
            fs::read_dir(path)?.try_for_each(|entry| fs::remove_file(entry?.path()))
        }
        Edit::Remove { path } => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

fn parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Mounts one host file or directory at its place, making the place where it is missing.
fn bind(bind: &Bind) -> io::Result<()> {
    let source = inside(Path::new(OLD), &bind.source);
    let name = || format!("mounting {} at {}", bind.source.display(), bind.target.display());
    let place = || -> io::Result<()> {
        if source.is_dir() {
            fs::create_dir_all(&bind.target)?;
        } else if !bind.target.exists() {
            parents(&bind.target)?;
            fs::File::create(&bind.target)?;
        }
        mount(Some(&source), &bind.target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        if bind.read_only { make_read_only(&bind.target) } else { Ok(()) }
    };
    place().map_err(naming(name()))
}
