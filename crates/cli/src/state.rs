//! The state directory of a running system: where things lie in it, that only one process uses it, and how others find it.
//!
//! The directory is private (0700). A lock on `lock` is held as long as the system runs, so that a crash needs no clean-up:
//! what is not locked does not run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

/// A state directory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    root: PathBuf,
}

impl State {
    /// The directory given, or `$XDG_STATE_HOME/varka/NAME` for the manifests' directory.
    pub(crate) fn for_manifests(given: Option<&Path>, manifests: &Path) -> anyhow::Result<Self> {
        if let Some(root) = given {
            return Ok(Self { root: std::path::absolute(root)? });
        }
        let name = manifests
            .file_name()
            .context("the directory of manifests has no name to call the state by: use --state")?;
        Ok(Self { root: base()?.join(name) })
    }

    /// The running system that a command means: the one given, or the only one.
    pub(crate) fn running(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(root) = given {
            let state = Self { root: std::path::absolute(root)? };
            if !state.is_locked()? {
                bail!(
                    "nothing runs with the state directory {}: start it with `varka up --state {0} DIR`",
                    state.root.display()
                );
            }
            return Ok(state);
        }
        let mut running = Self::all()?.into_iter().filter(|s| s.is_locked().unwrap_or(false));
        match (running.next(), running.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => bail!("nothing runs: start a system with `varka up DIR`"),
            (Some(a), Some(b)) => {
                bail!(
                    "more than one system runs: say which with --state {} or --state {}",
                    a.root.display(),
                    b.root.display()
                )
            }
        }
    }

    /// Every state directory under the default place.
    pub(crate) fn all() -> anyhow::Result<Vec<Self>> {
        match std::fs::read_dir(base()?) {
            Ok(entries) => Ok(entries.filter_map(Result::ok).map(|e| Self { root: e.path() }).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// What a command needs to be told to find it: nothing where it looks by itself.
    pub(crate) fn option(&self) -> String {
        match base() {
            Ok(base) if self.root.parent() == Some(&base) => String::new(),
            _ => format!(" --state {}", self.root.display()),
        }
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Objects, certificates and keys of the API server.
    pub(crate) fn api(&self) -> PathBuf {
        self.root.join("api")
    }

    /// Pods' volumes and logs.
    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("kubelet")
    }

    /// Socket that `varka status`, `shell` and `down` speak to.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// For kubectl on this host.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// For kubectl inside `varka shell`.
    pub(crate) fn shell_kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig.shell")
    }

    /// Log of a detached system.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("varka.log")
    }

    /// Makes the directory and takes its lock.
    pub(crate) fn lock(&self) -> anyhow::Result<Flock<File>> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .with_context(|| format!("cannot make the state directory {}", self.root.display()))?;
        std::fs::set_permissions(&self.root, std::fs::Permissions::from_mode(0o700))?;
        match Flock::lock(self.open_lock()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "a system already runs with the state directory {0}: stop it with `varka down --state {0}`, or choose another with --state",
                self.root.display()
            ),
            Err((_, e)) => Err(e).with_context(|| format!("cannot lock {}", self.root.display())),
        }
    }

    /// Whether a system runs with it.
    pub(crate) fn is_locked(&self) -> anyhow::Result<bool> {
        if !self.root.join("lock").exists() {
            return Ok(false);
        }
        Ok(Flock::lock(self.open_lock()?, FlockArg::LockSharedNonblock).is_err())
    }

    /// Waits until nothing runs with it any more.
    pub(crate) fn wait_unlocked(&self) -> anyhow::Result<()> {
        if !self.root.join("lock").exists() {
            return Ok(());
        }
        Flock::lock(self.open_lock()?, FlockArg::LockExclusive)
            .map(drop)
            .map_err(|(_, e)| e)
            .with_context(|| format!("cannot wait for {}", self.root.display()))
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
        use std::io::Write;
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn open_lock(&self) -> anyhow::Result<File> {
        let path = self.root.join("lock");
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))
    }
}

/// `$XDG_STATE_HOME/varka`.
fn base() -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_STATE_HOME").filter(|d| !d.is_empty()) {
        return Ok(PathBuf::from(dir).join("varka"));
    }
    let home = std::env::var_os("HOME")
        .filter(|d| !d.is_empty())
        .context("neither XDG_STATE_HOME nor HOME is set: use --state DIR")?;
    Ok(PathBuf::from(home).join(".local/state/varka"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let state = State { root: dir.path().join("s") };
        assert!(!state.is_locked().unwrap());
        let lock = state.lock().unwrap();
        assert!(state.is_locked().unwrap());
        assert!(state.lock().unwrap_err().to_string().contains("already runs"));
        drop(lock);
        assert!(!state.is_locked().unwrap());
        state.wait_unlocked().unwrap();
    }

    #[test]
    fn what_lies_where_nobody_looks_is_named_by_an_option() {
        let elsewhere = State { root: PathBuf::from("/tmp/of-mine") };
        assert_eq!(elsewhere.option(), " --state /tmp/of-mine");
        let found = State { root: base().unwrap().join("blog-system") };
        assert_eq!(found.option(), "");
    }

    #[test]
    fn private_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        State::write_private(&path, "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
    }
}
