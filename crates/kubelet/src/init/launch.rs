//! Starting one program as the container's user, with the container's capabilities.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Pid, Uid, chdir, execve, setgroups, setresgid, setresuid, setsid};
use varka_sys::caps::{self, Capability};
use varka_sys::process::{self, Forked};
use varka_sys::{ns, pty, seccomp};

use super::protocol::{Identity, Run};

pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) terminal: Option<OwnedFd>,
}

/// Starts the program and waits until it really runs, so that a missing one is an error here and not an exit code later.
pub(super) fn start(run: &Run, identity: &Identity, fds: &[OwnedFd]) -> io::Result<Started> {
    let terminal = if run.terminal { Some(pty::open()?) } else { None };
    let (mut reader, mut writer) = io::pipe()?;
    match process::fork()? {
        Forked::Child => {
            drop(reader);
            let error = become_program(run, identity, fds, terminal.as_ref().map(|(_, side)| side));
            // Closed on exec, so only a failure is ever written.
            drop(writer.write_all(error.to_string().as_bytes()));
            std::process::exit(127)
        }
        Forked::Parent(pid) => {
            drop(writer);
            let mut reason = String::new();
            reader.read_to_string(&mut reason)?;
            if reason.is_empty() {
                Ok(Started { pid, terminal: terminal.map(|(master, _)| master) })
            } else {
                Err(io::Error::other(reason))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
struct Step {
    step: String,
    source: io::Error,
}

fn step(what: impl Into<String>) -> impl FnOnce(io::Error) -> Step {
    let step = what.into();
    move |source| Step { step, source }
}

fn become_program(run: &Run, identity: &Identity, fds: &[OwnedFd], terminal: Option<&File>) -> Step {
    match try_become(run, identity, fds, terminal) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn try_become(
    run: &Run,
    identity: &Identity,
    fds: &[OwnedFd],
    terminal: Option<&File>,
) -> Result<std::convert::Infallible, Step> {
    setsid().map_err(|e| step("starting a session")(e.into()))?;
    streams(run, fds, terminal).map_err(step("connecting the standard streams"))?;
    chdir(&run.directory).map_err(|e| step(format!("working directory {}", run.directory.display()))(e.into()))?;
    assume(identity).map_err(step("becoming the container's user"))?;
    process::reset_signals().map_err(step("resetting signals"))?;
    let strings = |list: &[String]| list.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
    let args = strings(&run.args).map_err(|e| step("arguments")(e.into()))?;
    let env = strings(&run.env).map_err(|e| step("environment")(e.into()))?;
    let name = run.args.first().map(String::as_str).unwrap_or_default();
    let mut last = Errno::ENOENT;
    for candidate in candidates(name, &run.env) {
        let Ok(path) = CString::new(candidate) else { continue };
        let Err(error) = execve(&path, &args, &env);
        // As a shell does: a file that may not be run is remembered, a missing one is not.
        if !matches!(error, Errno::ENOENT | Errno::ENOTDIR) {
            last = error;
        }
    }
    let reason = if last == Errno::ENOENT && !name.contains('/') {
        "executable file not found in $PATH"
    } else {
        "cannot be run"
    };
    Err(step(format!("exec: \"{name}\": {reason}"))(last.into()))
}

fn candidates(name: &str, env: &[String]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path.split(':').filter(|d| !d.is_empty()).map(|directory| format!("{directory}/{name}")).collect()
}

fn streams(run: &Run, fds: &[OwnedFd], terminal: Option<&File>) -> io::Result<()> {
    if let Some(terminal) = terminal {
        pty::take_control(terminal)?;
        return (0..3).try_for_each(|number| process::place_stdio(terminal, number));
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut given = fds.iter();
    for (number, wanted) in (0u8..).zip(run.streams) {
        match wanted.then(|| given.next()).flatten() {
            Some(fd) => process::place_stdio(fd, number)?,
            None => process::place_stdio(&null, number)?,
        }
    }
    Ok(())
}

/// Becomes the container's user with its capabilities and no way to more.
fn assume(identity: &Identity) -> io::Result<()> {
    let keep: Vec<Capability> = identity.capabilities.iter().filter_map(|name| Capability::from_name(name)).collect();
    caps::limit_bounding(&keep)?;
    if identity.single {
        if identity.uid != 0 && keep_nothing_special(identity) {
            ns::unshare(ns::USER)?;
            ns::map_single_identity(identity.uid, 0, identity.gid, 0)?;
            caps::set(&[], false)?;
        } else {
            caps::set(&keep, false)?;
        }
    } else if identity.uid == 0 {
        set_groups(identity)?;
        caps::set(&keep, false)?;
    } else {
        caps::keep_over_setuid()?;
        set_groups(identity)?;
        let uid = Uid::from_raw(identity.uid);
        setresuid(uid, uid, uid)?;
        // Only what was asked for by name may survive for a user other than root; the defaults are root's.
        let asked: Vec<Capability> = ["NET_ADMIN", "NET_RAW"]
            .into_iter()
            .filter(|name| identity.capabilities.iter().any(|has| has == name))
            .filter_map(Capability::from_name)
            .collect();
        caps::set(&asked, true)?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    if identity.single {
        seccomp::pretend_identity_changes()?;
    }
    Ok(())
}

/// A nested user namespace would take away the network capabilities; who asked for them stays root of the outer one.
fn keep_nothing_special(identity: &Identity) -> bool {
    !identity.capabilities.iter().any(|name| matches!(name.as_str(), "NET_ADMIN" | "NET_RAW"))
}

fn set_groups(identity: &Identity) -> io::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    let gid = Gid::from_raw(identity.gid);
    Ok(setresgid(gid, gid, gid)?)
}

/// The user's number and group by the container's `/etc/passwd`.
pub(super) fn owner_of(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn programs_are_looked_up_as_a_shell_does() {
        let env = ["A=b".to_owned(), "PATH=/one::/two".to_owned()];
        assert_eq!(candidates("x", &env), ["/one/x", "/two/x"]);
        assert_eq!(candidates("./x", &env), ["./x"]);
        assert!(candidates("x", &[]).contains(&"/usr/bin/x".to_owned()));
    }
}
