//! What a request or connection needs and is not known: an outcome of our own, which Envoy has no words for.

use std::borrow::Cow;

use super::{Blame, Flag, LocalReply, Outcome, ResponseFlags};

/// So much of a name goes into logs and bodies.
const SHOWN: usize = 128;

/// Why it is not known what applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoConfiguration {
    /// The control plane has not said anything in time.
    #[error("no answer from the control plane")]
    Timeout,
    /// What the control plane has sent cannot be used; its status says why.
    #[error("the proxy has refused what the control plane says")]
    Refused,
    /// Too much is asked for at once, or too long a name.
    #[error("too many or too long names to ask the control plane")]
    Limit,
}

impl NoConfiguration {
    /// `configuration_timeout{virtual_host_80/was}`.
    fn details(self, what: &str) -> String {
        let why = match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Limit => "limit",
        };
        format!("configuration_{why}{{{}}}", shown(what).replace(char::is_whitespace, "_"))
    }

    /// The answer to a request that needs `what`: 503, `NFCF`.
    pub fn reply(self, what: &str) -> LocalReply {
        LocalReply::no_configuration(self.details(what), format!("{self} about {}", shown(what)))
    }

    /// The end of a connection that needs `what`.
    pub fn outcome(self, what: &str) -> Outcome {
        Outcome {
            status: 0,
            flags: ResponseFlags::of(Flag::NoFilterConfigFound),
            details: Cow::Owned(self.details(what)),
            blame: Blame::Internal,
        }
    }
}

fn shown(what: &str) -> &str {
    let end = (0..=what.len().min(SHOWN)).rev().find(|at| what.is_char_boundary(*at)).unwrap_or(0);
    what.get(..end).unwrap_or_default()
}
