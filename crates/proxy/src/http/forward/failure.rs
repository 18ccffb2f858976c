//! Why an attempt gave no response, and what the client is told of it. Whether there is another attempt is decided elsewhere.

use varka_engine::outcome::{LocalReply, ResetReason};

use crate::deadline::Expired;
use crate::http::exchange::Halt;
use crate::http::h1::HeadError;
use crate::pump::Broken;

/// Why an attempt gave no response.
#[derive(Debug)]
pub(super) enum Failure {
    /// No endpoint can take it.
    NoEndpoint,
    /// No connection, or the connection failed.
    Reset { reason: ResetReason, started: bool, transport: String },
    /// The attempt took too long.
    PerTry,
    /// The request took too long.
    Route,
    /// Nothing moved for too long; `complete`: of the request nothing was missing.
    Idle { complete: bool },
    /// The client took too long to send its request.
    Receiving,
    /// The body is larger than the route allows.
    TooLarge,
    /// The body is not formed as HTTP/1 wants it.
    Malformed,
    /// The client has gone away.
    ClientGone,
}

/// What a failed request is answered with.
pub(super) fn halt(failure: Failure, retried: bool) -> Halt {
    match failure {
        Failure::NoEndpoint => LocalReply::no_healthy_upstream().into(),
        Failure::Reset { reason, transport, .. } => {
            LocalReply::upstream_reset(reason, retried, Some(&transport)).into()
        }
        Failure::PerTry => LocalReply::per_try_timeout().into(),
        Failure::Route => LocalReply::route_timeout().into(),
        Failure::Idle { complete } => LocalReply::stream_idle_timeout(complete).into(),
        Failure::Receiving => LocalReply::request_timeout().into(),
        Failure::TooLarge => LocalReply::request_payload_too_large().into(),
        Failure::Malformed => LocalReply::bad_request(HeadError::Codec.details()).into(),
        Failure::ClientGone => Halt::ClientGone,
    }
}

impl From<Expired> for Failure {
    fn from(which: Expired) -> Self {
        match which {
            Expired::Route => Self::Route,
            Expired::PerTry => Self::PerTry,
            Expired::Idle { complete } => Self::Idle { complete },
            Expired::Receiving => Self::Receiving,
        }
    }
}

/// Why an attempt that was sent got no answer.
pub(super) fn reset(e: Broken, h2: bool) -> Failure {
    let reason = match e {
        Broken::Reset if h2 => ResetReason::RemoteReset,
        Broken::Closed | Broken::Reset => ResetReason::ConnectionTermination,
        Broken::Refused => ResetReason::RemoteRefusedStream,
        Broken::Protocol => ResetReason::ProtocolError,
    };
    Failure::Reset { reason, started: true, transport: String::new() }
}
