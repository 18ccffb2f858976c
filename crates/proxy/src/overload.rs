//! How many client connections are taken, so that a crowd of them cannot use up the descriptors that everything else needs.
//!
//! It decides a number at the start. What is beyond it is refused by the workers, at once: in the backlog it would wait for nothing,
//! and the proxy's own servers and its way to the control plane would find no descriptor either.

/// Descriptors that are no connections: listeners, logs, timers, the control plane, our own servers.
const RESERVED: u64 = 256;

/// Raises the limit of open files as far as we may, and says how many client connections fit below it.
pub(crate) fn most_connections() -> u64 {
    match varka_sys::process::raise_open_files() {
        Ok(files) => connections(files),
        Err(e) => {
            tracing::warn!("the limit of open files is not known ({e}): connections from clients are not limited");
            u64::MAX
        }
    }
}

/// Each may need another one to an endpoint.
fn connections(files: u64) -> u64 {
    (files.saturating_sub(RESERVED) / 2).max(RESERVED / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_left_alone() {
        assert_eq!(connections(1024), 384);
        assert_eq!(connections(1_048_576), 524_160);
        assert_eq!(connections(64), 128);
    }
}
