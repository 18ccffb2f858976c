//! Processes: made in new namespaces without copying the parent's memory, forked where one thread makes that sound, and watched by descriptor.

use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{ForkResult, Pid};

/// Raises the process's limit of open files to the highest that it may have; that limit.
///
/// # Errors
/// Those of `getrlimit` and `setrlimit`.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// A program to start in namespaces of its own.
#[derive(Debug)]
pub struct Program {
    /// The file to run.
    pub path: CString,
    /// Its arguments, the first one its name.
    pub args: Vec<CString>,
    /// Its environment, `NAME=value` each.
    pub env: Vec<CString>,
    /// Descriptors it gets: the first as 0, the next as 1, and so on; every other one of ours is closed on exec.
    pub fds: Vec<OwnedFd>,
    /// The namespaces to make for it.
    pub namespaces: CloneFlags,
}

/// A started process, known by a descriptor that cannot come to mean another process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code a shell reports: 128 and the signal's number for one that was killed.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

struct Launch<'a> {
    path: *const libc::c_char,
    args: *const *const libc::c_char,
    env: *const *const libc::c_char,
    fds: &'a [RawFd],
    error: i32,
}

/// Where descriptors are parked while they are put in order; above anything a program here gets.
const PARK: RawFd = 64;

extern "C" fn launch(argument: *mut c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a pointer to its own `Launch`, and is suspended (CLONE_VFORK) until this process has executed or ended, so nobody
    // else touches it. Only async-signal-safe calls follow: no allocation, no lock.
    unsafe {
        let launch = &mut *argument.cast::<Launch<'_>>();
        libc::setsid();
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut failed = false;
        let mut parked = [-1; 16];
        for (slot, fd) in parked.iter_mut().zip(launch.fds) {
            *slot = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, PARK);
            failed |= *slot < 0;
        }
        for (target, fd) in (0..).zip(parked.iter().take(launch.fds.len())) {
            failed |= libc::dup2(*fd, target) < 0;
        }
        if !failed {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            libc::execve(launch.path, launch.args, launch.env);
        }
        launch.error = *libc::__errno_location();
        127
    }
}

/// Starts a program in new namespaces. The child shares the parent's memory until it executes, so the cost does not grow with the parent.
///
/// # Errors
/// `InvalidInput` for more than 16 descriptors; those of `clone` and `execve`.
pub fn spawn(program: &Program) -> io::Result<Process> {
    if program.fds.len() > 16 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(ptr::null())).collect()
    };
    let (args, env) = (pointers(&program.args), pointers(&program.env));
    let fds: Vec<RawFd> = program.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut launch_data =
        Launch { path: program.path.as_ptr(), args: args.as_ptr(), env: env.as_ptr(), fds: &fds, error: 0 };
    let mut stack = vec![0u128; 4096];
    let flags = program.namespaces.bits() | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: the stack is 64 KiB, aligned to 16, grows down from its end and outlives the child's use of it, because CLONE_VFORK suspends this
    // thread until the child has executed or ended. All signals are blocked meanwhile, so that no handler of ours runs in the child on our memory.
    // `launch_data` and what it points to live as long. CLONE_PIDFD stores one descriptor in `pidfd`.
    let pid = unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        let pid = libc::clone(launch, top, flags, (&raw mut launch_data).cast(), &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        pid
    };
    // SAFETY: the clone succeeded, so the kernel has put a descriptor of ours there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let process = Process { pid, pidfd };
    if launch_data.error != 0 {
        process.wait()?;
        return Err(io::Error::from_raw_os_error(launch_data.error));
    }
    Ok(process)
}

impl Process {
    /// Its number in the namespace of the caller.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; one that has ended already is no error.
    ///
    /// # Errors
    /// `PermissionDenied` when the process is another user's.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: pidfd_send_signal takes plain integers and, here, no signal information.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        let error = io::Error::last_os_error();
        if done == 0 || error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
    }

    /// Waits for the end of the process and collects it. Poll the descriptor for readability first to not block.
    ///
    /// # Errors
    /// `ECHILD` when it was collected before.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Whether the calling process has one thread only.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn is_single_threaded() -> io::Result<bool> {
    Ok(std::fs::read_dir("/proc/self/task")?.count() == 1)
}

/// The two returns of [`fork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one: the number of the child.
    Parent(Pid),
}

/// Forks the calling process, which must have one thread: only then is every lock, the allocator's included, free in the child.
///
/// # Errors
/// `ResourceBusy` in a process with several threads; those of `fork`.
pub fn fork() -> io::Result<Forked> {
    if !is_single_threaded()? {
        return Err(io::Error::from(io::ErrorKind::ResourceBusy));
    }
    // SAFETY: the process has one thread, as has just been checked, so the child may go on as any program may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Forked::Child),
        ForkResult::Parent { child } => Ok(Forked::Parent(child)),
    }
}

/// Has the kernel kill the calling process when its parent ends. The parent must be the main thread's process to be sure of it; the caller
/// checks that the parent was still there afterwards.
///
/// # Errors
/// Those of `prctl`.
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Has the kernel kill what `command` starts when the thread that starts it ends.
pub fn end_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure runs between fork and exec and makes one system call: no allocation, no lock.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Asks a child that was not waited for yet to end (SIGTERM).
///
/// # Errors
/// Those of `kill`.
pub fn terminate(child: i32) -> io::Result<()> {
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGTERM)?)
}

/// Gives the calling process the signal state a program expects at its start: nothing blocked, a broken pipe ends it.
///
/// # Errors
/// Those of `sigprocmask`.
pub fn reset_signals() -> io::Result<()> {
    nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&nix::sys::signal::SigSet::empty()),
        None,
    )?;
    // SAFETY: the default action is no handler of ours, so no code of this process can run in its course.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }?;
    Ok(())
}

/// Puts `fd` at the given number (0 to 2) in the calling process, open over exec.
///
/// # Errors
/// Those of `dup2`.
pub fn place_stdio(fd: &impl AsFd, number: u8) -> io::Result<()> {
    match number {
        0 => nix::unistd::dup2_stdin(fd)?,
        1 => nix::unistd::dup2_stdout(fd)?,
        _ => nix::unistd::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Takes over a descriptor that this process was started with, by its number. Each number can be taken once.
///
/// # Errors
/// `EBADF` when it is not open, `AlreadyExists` when it was taken before or is one of the standard three.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TAKEN: AtomicU64 = AtomicU64::new(0b111);
    let bit = u32::try_from(number).ok().and_then(|n| 1u64.checked_shl(n)).unwrap_or(0);
    if bit == 0 || TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    // SAFETY: fcntl with these commands takes plain integers.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, was given to the process for this purpose before any of its code ran, and the set above makes sure that it
    // is handed out once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::{Exit, Program, spawn};
    use nix::sched::CloneFlags;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn program(path: &str, args: &[&str], fds: Vec<OwnedFd>) -> Program {
        let c = |s: &str| std::ffi::CString::new(s).unwrap();
        Program {
            path: c(path),
            args: args.iter().map(|a| c(a)).collect(),
            env: vec![c("A=b")],
            fds,
            namespaces: CloneFlags::empty(),
        }
    }

    #[test]
    fn a_program_gets_its_arguments_environment_and_descriptors() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let p = program("/bin/sh", &["sh", "-c", "echo $1-$A; exit 7", "x", "one"], vec![null.into(), writer.into()]);
        let process = spawn(&p).unwrap();
        drop(p);
        let mut out = String::new();
        reader.read_to_string(&mut out).unwrap();
        assert_eq!((out.as_str(), process.wait().unwrap()), ("one-b\n", Exit::Code(7)));
        assert!(process.wait().is_err(), "an end is collected once");
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_start() {
        let error = spawn(&program("/does/not/exist", &["x"], Vec::new())).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_signal_ends_it() {
        let process = spawn(&program("/bin/sleep", &["sleep", "1000"], Vec::new())).unwrap();
        process.signal(9).unwrap();
        assert_eq!(process.wait().unwrap(), Exit::Signal(9));
        assert_eq!(process.wait().map_err(|e| e.raw_os_error()), Err(Some(libc::ECHILD)));
    }
}
