//! Making the namespaces and furnishing them, and saying what to do where the system refuses.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Uid};
use varka_sys::process::{Forked, fork};
use varka_sys::{link, ns};

/// The interface that all pods are behind.
pub const BRIDGE: &str = "varka0";
/// The node's address towards pods: their gateway, and where processes of the base are reached.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// A locally administered hardware address; fixed, so that pods need not ask for it again as others come and go.
const HARDWARE: [u8; 6] = [0x02, 0x76, 0x61, 0xf4, 0x00, 0x01];

/// Why namespaces cannot be had here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pods need Linux namespaces, and {step} failed: {reason}\n{remedy}")]
pub struct Unavailable {
    step: String,
    reason: String,
    remedy: String,
}

impl Unavailable {
    pub(super) fn new(step: &str, error: &dyn std::error::Error) -> Self {
        Self { step: step.to_owned(), reason: error.to_string(), remedy: remedy() }
    }

    pub(super) fn parts(&self) -> [&str; 3] {
        [&self.step, &self.reason, &self.remedy]
    }

    pub(super) fn from_parts(step: &str, reason: &str, remedy: &str) -> Self {
        Self { step: step.to_owned(), reason: reason.to_owned(), remedy: remedy.to_owned() }
    }
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// What to do, from what the system says about itself.
fn remedy() -> String {
    let as_root = "Or run it as root.";
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1")
        && !Uid::effective().is_root()
    {
        let program = std::env::current_exe().map_or_else(|_| "/usr/bin/varka".to_owned(), |p| p.display().to_string());
        return format!(
            "AppArmor restricts unprivileged user namespaces here (kernel.apparmor_restrict_unprivileged_userns=1). Allow this program once:\n\
             \x20 printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile varka {program} flags=(unconfined) {{\\n  userns,\\n}}\\n' \
             | sudo tee /etc/apparmor.d/varka && sudo apparmor_parser -r /etc/apparmor.d/varka\n{as_root}"
        );
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return format!(
            "User namespaces are switched off here. Switch them on: sudo sysctl user.max_user_namespaces=15000\n{as_root}"
        );
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return format!(
            "Unprivileged user namespaces are switched off. Switch them on: sudo sysctl kernel.unprivileged_userns_clone=1\n{as_root}"
        );
    }
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return "This is a container, whose seccomp profile forbids namespaces. Start it with --privileged, or with \
                --security-opt seccomp=unconfined --security-opt systempaths=unconfined and, as root inside, --cap-add SYS_ADMIN --cap-add NET_ADMIN."
            .to_owned();
    }
    if Uid::effective().is_root() {
        return "Root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN here, or the kernel lacks what is named above (Linux 5.12 or newer with bridge, veth and \
                nf_tables)."
            .to_owned();
    }
    format!(
        "The kernel must be Linux 5.12 or newer and allow user namespaces (user.max_user_namespaces above 0).\n{as_root}"
    )
}

/// Moves the calling process into new namespaces; its next child is process 1 of them.
pub(super) fn unshare(rootless: bool, identity: (Uid, Gid)) -> Result<(), Unavailable> {
    if rootless {
        ns::unshare(ns::USER).map_err(|e| Unavailable::new("making a user namespace", &e))?;
        ns::map_single_identity(0, identity.0.as_raw(), 0, identity.1.as_raw())
            .map_err(|e| Unavailable::new("mapping the user into its namespace", &e))?;
    }
    ns::unshare(ns::NET | ns::MOUNT | ns::PID | ns::IPC)
        .map_err(|e| Unavailable::new("making network, mount and process namespaces", &e))
}

/// Makes the inside usable: mounts that do not leak, an own `/proc`, loopback, and the bridge.
pub(super) fn furnish() -> Result<(), Unavailable> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| Unavailable::new("making the mounts private", &e))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Inside a container with a masked /proc the kernel refuses a new one; the old one shows more than needed, but works.
    match mount(Some("proc"), "/proc", Some("proc"), safe, None::<&str>) {
        Err(error) if error != nix::Error::EPERM => return Err(Unavailable::new("mounting /proc", &error)),
        _ => {}
    }
    network()
}

fn network() -> Result<(), Unavailable> {
    let refused = |step: &'static str| move |e: varka_sys::NetlinkError| Unavailable::new(step, &e);
    let links = link::Links::open().map_err(refused("opening a netlink socket"))?;
    let lo = link::index_of("lo").map_err(refused("finding the loopback interface"))?;
    links.up(lo).map_err(refused("taking loopback up"))?;
    links.add_bridge(BRIDGE, HARDWARE).map_err(refused("making a bridge"))?;
    let bridge = link::index_of(BRIDGE).map_err(refused("finding the bridge"))?;
    links.add_address(bridge, GATEWAY, 16).map_err(refused("giving the bridge an address"))?;
    let set = |path: &str, value: &str| {
        let path = format!("/proc/sys/net/ipv4/{path}");
        fs::write(&path, value).map_err(|e: io::Error| Unavailable::new(&format!("writing {path}"), &e))
    };
    set("ip_forward", "1")?;
    // All traffic between pods goes through the node, although they share a link: a hint to speak directly would bypass Services.
    set("conf/all/send_redirects", "0")?;
    // Where bridges hand their frames to the address rules, a pod could not reach itself through its Service. Not every kernel can.
    let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
    set(&format!("conf/{BRIDGE}/send_redirects"), "0")
}

/// Tries all of it in a child, so that nothing of the trial stays.
pub(super) fn probe() -> Result<(), Unavailable> {
    let (mut reader, mut writer) = io::pipe().map_err(|e| Unavailable::new("making a pipe", &e))?;
    let identity = (Uid::effective(), Gid::effective());
    match fork().map_err(|e| Unavailable::new("starting a process", &e))? {
        Forked::Child => {
            drop(reader);
            let result = unshare(!identity.0.is_root(), identity).and_then(|()| in_child(furnish));
            if let Err(unavailable) = result {
                drop(io::Write::write_all(&mut writer, unavailable.parts().join("\u{0}").as_bytes()));
            }
            std::process::exit(0)
        }
        Forked::Parent(child) => {
            drop(writer);
            let mut text = String::new();
            let read = io::Read::read_to_string(&mut reader, &mut text);
            let _ = waitpid(child, None);
            read.map_err(|e| Unavailable::new("reading the trial's result", &e))?;
            if text.is_empty() { Ok(()) } else { Err(parse(&text)) }
        }
    }
}

pub(super) fn parse(text: &str) -> Unavailable {
    let mut parts = text.splitn(3, '\u{0}');
    let mut next = || parts.next().unwrap_or_default();
    let (step, reason, remedy) = (next(), next(), next());
    Unavailable::from_parts(step, reason, remedy)
}

/// Runs a trial in one more child, which alone is inside the new process namespace.
fn in_child(trial: fn() -> Result<(), Unavailable>) -> Result<(), Unavailable> {
    let (mut reader, mut writer) = io::pipe().map_err(|e| Unavailable::new("making a pipe", &e))?;
    match fork().map_err(|e| Unavailable::new("starting a process in the new namespaces", &e))? {
        Forked::Child => {
            drop(reader);
            if let Err(unavailable) = trial() {
                drop(io::Write::write_all(&mut writer, unavailable.parts().join("\u{0}").as_bytes()));
            }
            std::process::exit(0)
        }
        Forked::Parent(child) => {
            drop(writer);
            let mut text = String::new();
            drop(io::Read::read_to_string(&mut reader, &mut text));
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) if text.is_empty() => Ok(()),
                _ => Err(parse(&text)),
            }
        }
    }
}
