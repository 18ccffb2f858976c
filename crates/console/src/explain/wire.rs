//! What happened to a request on its way, which no configuration decides alone, by the response flags that the proxy recorded.

use varka_engine::outcome::Flag;

/// The one that says most first, and what it means.
const EVENTS: [(Flag, &str); 17] = [
    (
        Flag::UpstreamOverflow,
        "the connection pool was full: as many connections or requests were under way as its limits (connectionPool) allow",
    ),
    (
        Flag::NoHealthyUpstream,
        "no endpoint took requests: none was ready then, or outlierDetection had put them all aside",
    ),
    (Flag::UpstreamConnectionFailure, "no connection to the endpoint came about"),
    (Flag::UpstreamConnectionTermination, "the endpoint closed the connection before it had answered"),
    (Flag::UpstreamRemoteReset, "the endpoint reset the stream"),
    (Flag::UpstreamRequestTimeout, "the endpoint did not answer within the time limit"),
    (Flag::UpstreamMaxStreamDurationReached, "it took longer than a stream to the endpoint may last"),
    (Flag::StreamIdleTimeout, "nothing moved for longer than the idle time limit"),
    (Flag::DurationTimeout, "it took longer than the connection may last"),
    (Flag::UpstreamProtocolError, "the endpoint did not speak proper HTTP"),
    (Flag::DnsResolutionFailed, "the endpoint's name did not resolve"),
    (Flag::LocalReset, "the proxy reset the stream"),
    (Flag::OverloadManagerTerminated, "the proxy was overloaded"),
    (Flag::DownstreamProtocolError, "the client did not speak proper HTTP"),
    (Flag::DownstreamConnectionTermination, "the client went away before all of the answer was there"),
    (Flag::DownstreamRemoteReset, "the client took the request back before all of the answer was there"),
    (Flag::UpstreamRetryLimitExceeded, "no retry was left"),
];

/// What the flags of one request (`UF,URX`) say of its way; `None`: nothing but what configuration decides.
pub(super) fn happened(flags: &str) -> Option<&'static str> {
    let is_set = |known: &Flag| flags.split(',').any(|flag| flag == known.short());
    EVENTS.iter().find(|(known, _)| is_set(known)).map(|(_, what)| *what)
}
