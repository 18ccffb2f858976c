//! Injected faults (`envoy.filters.http.fault`): first the delay, then the abort; neither is retried nor counted in the route's timeout.

use std::time::Duration;

use crate::ir::Fault;
use crate::outcome::{Flag, LocalReply, ResponseFlags};
use crate::route::chosen;

#[cfg(test)]
mod tests;

/// What happens to one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injected {
    /// Wait so long first (flag `DI`).
    pub delay: Option<Duration>,
    /// Then answer with this status instead of forwarding (flag `FI`).
    pub abort: Option<Abort>,
}

/// An injected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// HTTP status.
    pub status: u16,
    /// gRPC status for gRPC clients.
    pub grpc_status: Option<u32>,
}

impl Injected {
    /// Flags that the request carries from here on.
    pub fn flags(&self) -> ResponseFlags {
        self.delay.map_or(ResponseFlags::NONE, |_| ResponseFlags::of(Flag::DelayInjected))
    }

    /// The answer, if there is one.
    pub fn reply(&self) -> Option<LocalReply> {
        self.abort.map(|abort| LocalReply::fault_abort(abort.status, abort.grpc_status).after(self.flags()))
    }
}

/// Decides with two random numbers, one for the delay and one for the abort.
pub fn decide(fault: &Fault, random: [u64; 2]) -> Injected {
    let [for_delay, for_abort] = random;
    Injected {
        delay: fault.delay.filter(|d| chosen(d.parts_per_million, for_delay)).map(|d| d.duration),
        abort: fault.abort.filter(|a| chosen(a.parts_per_million, for_abort)).map(|a| Abort {
            status: if a.grpc_status.is_some() { 200 } else { a.status },
            grpc_status: a.grpc_status,
        }),
    }
}
