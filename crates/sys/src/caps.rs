//! Capabilities of the calling process: what a container keeps.

use std::io;

/// A Linux capability by its number in `linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capability(u8);

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Capability {
    /// The capability of this name, as Kubernetes writes it (`NET_ADMIN`; a leading `CAP_` is accepted).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let bare = name.strip_prefix("CAP_").unwrap_or(name);
        NAMES.iter().position(|known| *known == bare).and_then(|n| u8::try_from(n).ok()).map(Self)
    }

    const fn bit(self) -> u64 {
        1 << self.0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the capability options of prctl take plain integers and touch no memory of ours.
    let done = unsafe { libc::prctl(option, a, b, 0 as libc::c_ulong, 0 as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Removes every capability but `keep` from the bounding set, so that no later program can have them, not even as user 0.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding(keep: &[Capability]) -> io::Result<()> {
    for number in 0..64u8 {
        if keep.contains(&Capability(number)) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0) {
            // Numbers beyond the kernel's last capability.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Keeps permitted capabilities over the next change of user.
///
/// # Errors
/// Those of `prctl`.
pub fn keep_over_setuid() -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)
}

/// Limits the process to exactly `keep`; with `ambient`, a following program gets them even as a user other than 0.
///
/// # Errors
/// `EPERM` when one of them is not permitted now.
pub fn set(keep: &[Capability], ambient: bool) -> io::Result<()> {
    let bits = keep.iter().fold(0, |all, one| all | one.bit());
    let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
    let high = u32::try_from(bits >> 32).unwrap_or(0);
    let inherited = |part: u32| if ambient { part } else { 0 };
    let data = [
        Data { effective: low, permitted: low, inheritable: inherited(low) },
        Data { effective: high, permitted: high, inheritable: inherited(high) },
    ];
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: version 3 reads one header and two data records, which live until the call returns.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if ambient {
        for capability in keep {
            prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                libc::c_ulong::from(capability.0),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Capability;

    #[test]
    fn names_have_the_kernel_numbers() {
        assert_eq!(Capability::from_name("CHOWN"), Some(Capability(0)));
        assert_eq!(Capability::from_name("CAP_NET_ADMIN"), Some(Capability(12)));
        assert_eq!(Capability::from_name("NET_RAW"), Some(Capability(13)));
        assert_eq!(Capability::from_name("SYS_ADMIN"), Some(Capability(21)));
        assert_eq!(Capability::from_name("CHECKPOINT_RESTORE"), Some(Capability(40)));
        assert_eq!(Capability::from_name("NOT_ONE"), None);
    }
}
