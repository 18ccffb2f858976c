//! One seccomp filter: changes of user, group and ownership succeed without doing anything.
//!
//! A user namespace of an ordinary user holds one identity. Programs that start as root and change to `www-data` or `mysql` would fail there,
//! although nothing is lost when they go on as the only user there is. It is a convenience, not a sandbox.

use std::io;

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with the error 0: the call is not made and reports success.
const PRETEND: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCH: u32 = 0xC000_00F3;

#[cfg(target_arch = "x86_64")]
const LEGACY: [libc::c_long; 2] = [libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: [libc::c_long; 0] = [];

const COMMON: [libc::c_long; 11] = [
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_fchown,
    libc::SYS_fchownat,
];

fn program() -> Vec<libc::sock_filter> {
    let calls: Vec<u32> = COMMON.iter().chain(LEGACY.iter()).filter_map(|n| u32::try_from(*n).ok()).collect();
    let count = u8::try_from(calls.len()).unwrap_or(u8::MAX);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // seccomp_data: the call's number at offset 0, the architecture at offset 4.
    let mut steps =
        vec![step(LOAD_WORD, 0, 0, 4), step(JUMP_EQUAL, 0, count.saturating_add(1), ARCH), step(LOAD_WORD, 0, 0, 0)];
    for (index, call) in (0u8..).zip(calls) {
        steps.push(step(JUMP_EQUAL, count.saturating_sub(index), 0, call));
    }
    steps.push(step(RETURN, 0, 0, ALLOW));
    steps.push(step(RETURN, 0, 0, PRETEND));
    steps
}

/// Installs the filter in the calling process and in all that it starts. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// # Errors
/// `EACCES` without either, `EINVAL` on a kernel without seccomp filters.
pub fn pretend_identity_changes() -> io::Result<()> {
    let mut steps = program();
    let program = libc::sock_fprog { len: u16::try_from(steps.len()).unwrap_or(0), filter: steps.as_mut_ptr() };
    // SAFETY: the kernel copies the program during the call; `steps` outlives it and `len` is its length.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as libc::c_ulong, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::{JUMP_EQUAL, PRETEND, program};

    #[test]
    fn every_call_jumps_to_the_pretending_return() {
        let steps = program();
        let last = steps.len() - 1;
        assert_eq!(steps[last].k, PRETEND);
        for (at, step) in steps.iter().enumerate().skip(3).filter(|(_, s)| s.code == JUMP_EQUAL) {
            assert_eq!(at + 1 + usize::from(step.jt), last, "step {at}");
        }
        // Another architecture goes to the allowing return.
        assert_eq!(1 + 1 + usize::from(steps[1].jf), last - 1);
    }
}
