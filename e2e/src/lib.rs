//! A running Varka system for tests: the real binary, real programs, real namespaces.
//!
//! Each [`System`] has a state directory of its own and ports that the kernel chose, so that tests run side by side. A test that
//! cannot have namespaces fails, unless `SKIP_NETNS=1` says that it need not run.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod load;
pub mod scale;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A system that is up; it is taken down, with its state, when this is dropped.
#[derive(Debug)]
pub struct System {
    state: tempfile::TempDir,
    user: Option<User>,
    _turn: MutexGuard<'static, ()>,
}

/// An ordinary user, and a copy of what it runs in a place that it can read.
#[derive(Debug)]
struct User {
    name: String,
    directory: OsString,
    stage: tempfile::TempDir,
}

/// Two systems at a time would be too much for a small machine.
static TURN: Mutex<()> = Mutex::new(());

/// Whether tests that need namespaces are to be left out (`SKIP_NETNS=1`).
pub fn skipped() -> bool {
    std::env::var_os("SKIP_NETNS").is_some_and(|v| v == "1")
}

/// The repository's directory.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The binary under test: `VARKA_BIN`, or the one that cargo built beside this test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VARKA_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe()?;
    // A test lies one level deeper than a program.
    let directories = this.ancestors().skip(1).take(2);
    let path = directories.map(|d| d.join("varka")).find(|p| p.is_file());
    path.with_context(|| {
        let place = this.display();
        format!(
            "there is no varka beside {place}: build it first with `cargo build -p varka-cli`, or name it in VARKA_BIN"
        )
    })
}

impl System {
    /// Starts the blog system and returns when everything is Ready; as the user named in `VARKA_E2E_USER`, where that is set.
    ///
    /// # Errors
    /// What `varka up --detach` printed, when it failed.
    pub fn blog() -> Result<Self> {
        let user = std::env::var("VARKA_E2E_USER").ok();
        Self::up(&repository().join("examples/blog-system"), user.as_deref())
    }

    /// Starts the manifests of a directory, as another user where one is named (root only).
    ///
    /// # Errors
    /// What `varka up --detach` printed, when it failed.
    pub fn up(directory: &Path, user: Option<&str>) -> Result<Self> {
        let state = tempfile::Builder::new().prefix("varka-e2e-").tempdir()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = user.map(|name| User::stage(name, directory)).transpose()?;
        let system = Self { state, user: staged, _turn: turn };
        if let Some(user) = user {
            let output = Command::new("chown").arg("-R").arg(user).arg(system.state.path()).output()?;
            anyhow::ensure!(
                output.status.success(),
                "no such user {user}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        system.start(directory)?;
        Ok(system)
    }

    /// `varka up --detach` with this system's state: the first start, or one after it was stopped or killed.
    ///
    /// # Errors
    /// What the command printed, when it failed.
    pub fn start(&self, directory: &Path) -> Result<()> {
        let ports =
            ["--api", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-timeout", "120"];
        let mut command = self.varka(&["up", "--detach"])?;
        let staged = self.user.as_ref().map(User::manifests);
        command.args(ports).arg("--state").arg(self.state_dir()).arg(staged.as_deref().unwrap_or(directory));
        succeed("varka up", command.stdin(Stdio::null()).output()?).map(drop)
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// Runs a line of shell inside, with the examples as working directory.
    ///
    /// # Errors
    /// Only when it could not be started.
    pub fn shell(&self, line: &str) -> Result<Output> {
        let mut command = self.varka(&["shell"])?;
        command.arg("--state").arg(self.state_dir()).args(["--", "bash", "-c", line]).current_dir(
            self.user.as_ref().map_or_else(|| repository().join("examples"), |u| u.stage.path().join("examples")),
        );
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// Like [`System::shell`], and the line must succeed; its standard output.
    ///
    /// # Errors
    /// With what it printed, when it failed.
    pub fn sh(&self, line: &str) -> Result<String> {
        succeed(line, self.shell(line)?)
    }

    /// Repeats a line until its output satisfies a condition.
    ///
    /// # Errors
    /// With the last output, when that takes longer than the limit.
    pub fn until(&self, line: &str, limit: Duration, mut condition: impl FnMut(&str) -> bool) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let output = self.shell(line)?;
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if condition(&text) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > limit {
                bail!("{line}\nstill answers after {} s:\n{text}", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `varka status --output json`.
    ///
    /// # Errors
    /// When nothing answers, or with something else than JSON.
    pub fn status(&self) -> Result<Value> {
        let mut command = self.varka(&["status", "--output", "json"])?;
        let output = command.arg("--state").arg(self.state_dir()).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until the status says ready.
    ///
    /// # Errors
    /// With the last status, when that takes longer than the limit.
    pub fn until_ready(&self, limit: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let status = self.status();
            if status.as_ref().is_ok_and(|s| s["ready"] == true) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > limit {
                bail!("not ready after {} s: {status:?}", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Process id of the system's outer process, whose end is the end of everything.
    ///
    /// # Errors
    /// When there is none.
    pub fn pid(&self) -> Result<u32> {
        let state = self.state_dir().display().to_string();
        let is_outer = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|b| *b == 0).collect();
            words.get(1) == Some(&&b"up"[..]) && words.contains(&state.as_bytes())
        };
        let processes = std::fs::read_dir("/proc")?.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        processes.filter(is_outer).min().with_context(|| format!("nothing runs with {state}"))
    }

    /// Process ids of the processes of a pod's container, by the environment that they were started with.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self, variable: &str) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            if environment.split(|b| *b == 0).any(|v| v == variable.as_bytes()) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Stops it and keeps its state.
    ///
    /// # Errors
    /// With what was printed, when it failed.
    pub fn down(&self) -> Result<()> {
        let mut command = self.varka(&["down"])?;
        succeed("varka down", command.arg("--state").arg(self.state_dir()).output()?).map(drop)
    }

    fn varka(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = match &self.user {
            None => Command::new(binary()?),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &user.name, "--regid", &user.name, "--clear-groups", "--reset-env", "--"]);
                command.arg(user.stage.path().join("varka"));
                command
            }
        };
        command.args(arguments);
        Ok(command)
    }
}

impl User {
    /// Copies the binary, the manifests and the application under test to where any user can read them. Times are kept, so that
    /// nothing is taken for newer than what was built from it.
    fn stage(name: &str, manifests: &Path) -> Result<Self> {
        let stage = tempfile::Builder::new().prefix("varka-e2e-stage-").tempdir()?;
        let application = repository().join("target/release/blog-was");
        if !application.is_file() {
            let build = ["build", "--release", "--package", "blog-was", "--target-dir", "target"];
            succeed("cargo build", Command::new("cargo").args(build).current_dir(repository()).output()?)?;
        }
        let (examples, release) = (stage.path().join("examples"), stage.path().join("target/release"));
        std::fs::create_dir_all(&examples)?;
        std::fs::create_dir_all(&release)?;
        let copy = |from: &Path, to: &Path| {
            succeed("cp", Command::new("cp").args(["-aL", "--"]).arg(from).arg(to).output()?).map(drop)
        };
        copy(manifests, &examples)?;
        copy(&application, &release)?;
        copy(&binary()?, &stage.path().join("varka"))?;
        succeed("chmod", Command::new("chmod").args(["-R", "a+rX"]).arg(stage.path()).output()?)?;
        let directory = manifests.file_name().context("the manifests lie in no directory")?.to_owned();
        Ok(Self { name: name.to_owned(), directory, stage })
    }

    fn manifests(&self) -> PathBuf {
        self.stage.path().join("examples").join(&self.directory)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Ok(mut command) = self.varka(&["down", "--purge"]) {
            // A system that a test has already taken down or killed cannot be stopped again.
            let _ = command.arg("--state").arg(self.state_dir()).output();
        }
    }
}

/// Standard output of a command that must have succeeded.
///
/// # Errors
/// With everything it printed, when it did not.
pub fn succeed(what: &str, output: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{what}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
