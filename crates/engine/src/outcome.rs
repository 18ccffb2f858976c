//! How a request ended, and the answers that the proxy makes itself.
//!
//! Flags, details and bodies are Envoy's, byte for byte: people grep for them, dashboards parse them. They are set where the
//! failure occurs and read by logs, metrics and `explain` alike.

use std::borrow::Cow;
use std::fmt;

mod configuration;
mod reply;
#[cfg(test)]
mod tests;

pub use configuration::NoConfiguration;
pub use reply::{LocalReply, Rendered, grpc_status};

/// How one request, or one connection, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Status that the client got; 0 when it got none.
    pub status: u16,
    /// Why, in Envoy's letters.
    pub flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// On whose side the reason lies.
    pub blame: Blame,
}

impl Outcome {
    /// The upstream answered.
    pub fn via_upstream(status: u16) -> Self {
        Self { status, flags: ResponseFlags::NONE, details: Cow::Borrowed("via_upstream"), blame: Blame::Nobody }
    }

    /// The client went away before the end of the response. `status` is 0 if none was sent yet.
    pub fn client_gone(status: u16) -> Self {
        Self {
            status,
            flags: ResponseFlags::of(Flag::DownstreamConnectionTermination),
            details: Cow::Borrowed("downstream_remote_disconnect"),
            blame: Blame::Downstream,
        }
    }

    /// The client took its request back, and its connection lasts. `status` is 0 if none was sent yet.
    pub fn client_reset(status: u16) -> Self {
        Self {
            status,
            flags: ResponseFlags::of(Flag::DownstreamRemoteReset),
            details: Cow::Borrowed("http2.remote_reset"),
            blame: Blame::Downstream,
        }
    }

    /// The upstream broke off inside the body: the client's response is cut too.
    pub fn upstream_broke_off(status: u16, reason: ResetReason) -> Self {
        Self {
            status,
            flags: ResponseFlags::of(reason.flag()),
            details: Cow::Owned(format!("upstream_reset_after_response_started{{{}}}", reason.details())),
            blame: Blame::Upstream,
        }
    }

    /// No filter chain took the connection: it is closed.
    pub fn no_filter_chain() -> Self {
        Self {
            status: 0,
            flags: ResponseFlags::of(Flag::NoRouteFound),
            details: Cow::Borrowed("filter_chain_not_found"),
            blame: Blame::Policy,
        }
    }
}

/// On whose side the reason of a failure lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Nothing failed.
    Nobody,
    /// The client.
    Downstream,
    /// The server.
    Upstream,
    /// Configuration: routes, policies, limits, injected faults.
    Policy,
    /// The proxy itself.
    Internal,
}

macro_rules! flags {
    ($($variant:ident $short:literal $doc:literal,)*) => {
        /// One of Envoy's response flags.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Flag {
            $(#[doc = $doc] $variant,)*
        }

        impl Flag {
            /// Every flag.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Envoy's letters.
            pub const fn short(self) -> &'static str {
                match self {
                    $(Self::$variant => $short,)*
                }
            }

            /// Envoy's long name, of `%RESPONSE_FLAGS_LONG%`.
            pub const fn long(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck "LH" "Our own health check failed.",
    NoHealthyUpstream "UH" "No healthy endpoint.",
    UpstreamRequestTimeout "UT" "The upstream did not answer in time.",
    LocalReset "LR" "We reset the stream.",
    UpstreamRemoteReset "UR" "The upstream reset the stream.",
    UpstreamConnectionFailure "UF" "No connection to the upstream.",
    UpstreamConnectionTermination "UC" "The upstream closed the connection.",
    UpstreamOverflow "UO" "A circuit breaker is open.",
    NoRouteFound "NR" "No route, or no filter chain.",
    DelayInjected "DI" "A fault's delay.",
    FaultInjected "FI" "A fault's abort.",
    RateLimited "RL" "Rate limited.",
    UnauthorizedExternalService "UAEX" "The external authorization service denied it.",
    RateLimitServiceError "RLSE" "The rate limit service failed.",
    DownstreamConnectionTermination "DC" "The client closed the connection.",
    UpstreamRetryLimitExceeded "URX" "No retry was left.",
    StreamIdleTimeout "SI" "Nothing moved for too long.",
    InvalidEnvoyRequestHeaders "IH" "A header of Envoy's own has a bad value.",
    DownstreamProtocolError "DPE" "The client does not speak proper HTTP.",
    UpstreamMaxStreamDurationReached "UMSDR" "The upstream stream was too long.",
    ResponseFromCacheFilter "RFCF" "Served from a cache.",
    NoFilterConfigFound "NFCF" "A filter's configuration did not arrive in time.",
    DurationTimeout "DT" "The connection was too long.",
    UpstreamProtocolError "UPE" "The upstream does not speak proper HTTP.",
    NoClusterFound "NC" "The route's cluster does not exist.",
    OverloadManagerTerminated "OM" "The overload manager ended it.",
    DnsResolutionFailed "DF" "The upstream's name did not resolve.",
    DropOverload "DO" "Dropped by the control plane's order.",
    DownstreamRemoteReset "DR" "The client reset the stream.",
    UnconditionalDropOverload "UDO" "Dropped by the control plane's order, all of it.",
}

/// A set of response flags that remembers the order in which they were set, which is the order in which Envoy prints them.
/// Holds ten; further ones are dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u64);

/// Bits of one slot.
const SLOT: u32 = 6;
/// Slots in a set.
const SLOTS: u32 = 10;

impl ResponseFlags {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// A set of one.
    pub const fn of(flag: Flag) -> Self {
        Self(flag as u64 + 1)
    }

    /// Adds a flag, once.
    pub fn insert(&mut self, flag: Flag) {
        if self.contains(flag) {
            return;
        }
        let used = self.iter().count();
        if let Ok(used) = u32::try_from(used)
            && used < SLOTS
        {
            self.0 |= (flag as u64 + 1) << (used * SLOT);
        }
    }

    /// This set and one more.
    #[must_use]
    pub fn with(mut self, flag: Flag) -> Self {
        self.insert(flag);
        self
    }

    /// Adds all flags of another set.
    pub fn extend(&mut self, other: Self) {
        other.iter().for_each(|flag| self.insert(flag));
    }

    /// Whether a flag is set.
    pub fn contains(self, flag: Flag) -> bool {
        self.iter().any(|f| f == flag)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in the order in which they were set.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        (0..SLOTS).map_while(move |slot| {
            let code = (self.0 >> (slot * SLOT)) & ((1 << SLOT) - 1);
            Flag::ALL.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
        })
    }
}

impl ResponseFlags {
    /// Calls `write` with one piece after the other of `URX,UF`; the empty set is `-`.
    pub fn pieces(self, mut write: impl FnMut(&'static str)) {
        if self.is_empty() {
            write("-");
        }
        for (i, flag) in self.iter().enumerate() {
            if i > 0 {
                write(",");
            }
            write(flag.short());
        }
    }
}

impl fmt::Display for ResponseFlags {
    /// As [`ResponseFlags::pieces`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.pieces(|piece| text.push_str(piece));
        f.write_str(&text)
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseFlags({self})")
    }
}

/// Why an upstream stream ended before its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The connection could not be made for a reason on our side.
    LocalConnectionFailure,
    /// The connection was refused, or its handshake failed.
    RemoteConnectionFailure,
    /// The connection was not made in time.
    ConnectionTimeout,
    /// The connection was closed.
    ConnectionTermination,
    /// We reset the stream (also a per-try timeout).
    LocalReset,
    /// We refused the stream.
    LocalRefusedStream,
    /// A circuit breaker is open.
    Overflow,
    /// The upstream reset the stream.
    RemoteReset,
    /// The upstream refused the stream; it did not look at it.
    RemoteRefusedStream,
    /// The upstream broke the protocol.
    ProtocolError,
}

impl ResetReason {
    /// Words of local reply bodies.
    pub const fn text(self) -> &'static str {
        match self {
            Self::LocalConnectionFailure => "local connection failure",
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::LocalReset => "local reset",
            Self::LocalRefusedStream => "local refused stream reset",
            Self::Overflow => "overflow",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStream => "remote refused stream reset",
            Self::ProtocolError => "protocol error",
        }
    }

    /// The same with underscores, as response code details have it.
    pub const fn details(self) -> &'static str {
        match self {
            Self::LocalConnectionFailure => "local_connection_failure",
            Self::RemoteConnectionFailure => "remote_connection_failure",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionTermination => "connection_termination",
            Self::LocalReset => "local_reset",
            Self::LocalRefusedStream => "local_refused_stream_reset",
            Self::Overflow => "overflow",
            Self::RemoteReset => "remote_reset",
            Self::RemoteRefusedStream => "remote_refused_stream_reset",
            Self::ProtocolError => "protocol_error",
        }
    }

    /// The flag that goes with it.
    pub const fn flag(self) -> Flag {
        match self {
            Self::LocalConnectionFailure | Self::RemoteConnectionFailure | Self::ConnectionTimeout => {
                Flag::UpstreamConnectionFailure
            }
            Self::ConnectionTermination => Flag::UpstreamConnectionTermination,
            Self::LocalReset | Self::LocalRefusedStream => Flag::LocalReset,
            Self::Overflow => Flag::UpstreamOverflow,
            Self::RemoteReset | Self::RemoteRefusedStream => Flag::UpstreamRemoteReset,
            Self::ProtocolError => Flag::UpstreamProtocolError,
        }
    }

    /// Whether no connection came about.
    pub const fn is_connect_failure(self) -> bool {
        matches!(self, Self::LocalConnectionFailure | Self::RemoteConnectionFailure | Self::ConnectionTimeout)
    }
}
