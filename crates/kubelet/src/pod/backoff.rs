//! How long a container waits before it is started again, and whether it is. Pure.

use std::time::Duration;

use super::status::Role;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that has run for so long has not crashed in a loop.
const GOOD: Duration = Duration::from_secs(600);

/// The pauses of one container: none, then ten seconds, doubling up to five minutes.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    ends: u32,
}

impl Backoff {
    /// The pause after a run of this length.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD {
            self.ends = 0;
        }
        self.ends = self.ends.saturating_add(1);
        match self.ends {
            0 | 1 => Duration::ZERO,
            n => FIRST.saturating_mul(2u32.saturating_pow(n - 2)).min(LONGEST),
        }
    }
}

/// Whether a container is started again after it ended with `code`, by the pod's policy and its role.
pub(super) fn again(role: Role, policy: &str, code: i32) -> bool {
    match role {
        Role::Sidecar => true,
        Role::Init => code != 0 && policy != "Never",
        Role::App => match policy {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_long_run_resets_them() {
        let mut backoff = Backoff::default();
        let seconds: Vec<u64> = (0..8).map(|_| backoff.after(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.after(GOOD), Duration::ZERO);
    }

    #[test]
    fn policies() {
        assert!(again(Role::App, "Always", 0) && again(Role::App, "OnFailure", 1) && !again(Role::App, "OnFailure", 0));
        assert!(!again(Role::App, "Never", 1) && !again(Role::Init, "Always", 0) && again(Role::Init, "Always", 1));
        assert!(again(Role::Sidecar, "Never", 0) && !again(Role::Init, "Never", 1));
    }
}
