//! What is decided from a request's head, and from the texts that people configure such decisions with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use varka_engine::facts::{Connection, PeerIdentity, split_query};
use varka_engine::format::{self, Operator, Segment, Values};
use varka_engine::host::{RouteIndex, without_port};
use varka_engine::ir::{
    ClientCertForwarding, Codec, HttpConnectionManager, PathNormalization, Regex, RouteConfiguration, RouteSource,
    SlashesAction, Str, VirtualHost,
};
use varka_engine::path::{Normalized, normalize};
use varka_engine::route::grpc_timeout as parse_timeout;
use varka_engine::trace::Trace;
use varka_engine::{cel, jwt as tokens, xfcc, xff};
use varka_telemetry::trace::{Context, Forms, Said};

pub(crate) fn path(data: &[u8]) {
    // As a codec lets it through.
    let Some(text) = std::str::from_utf8(data).ok().filter(|t| t.bytes().all(|b| b.is_ascii_graphic())) else { return };
    let actions = [
        SlashesAction::Keep,
        SlashesAction::Reject,
        SlashesAction::UnescapeAndRedirect,
        SlashesAction::UnescapeAndForward,
    ];
    for escaped_slashes in actions {
        for (normalize, merge_slashes) in [(false, false), (true, false), (false, true), (true, true)] {
            check_path(text, PathNormalization { normalize, merge_slashes, escaped_slashes });
        }
    }
}

fn check_path(text: &str, how: PathNormalization) {
    let result = match normalize(text, how) {
        Normalized::Rejected => return,
        Normalized::Path(path) => path.into_owned(),
        Normalized::Redirect(path) => {
            assert_eq!(how.escaped_slashes, SlashesAction::UnescapeAndRedirect);
            path
        }
    };
    assert_eq!(result.starts_with('/'), text.starts_with('/'), "{text:?}: {result:?}");
    assert!(!result.contains('#'), "{result:?}");
    let whole = text.split('#').next().unwrap_or_default();
    assert_eq!(split_query(&result).1, split_query(whole).1, "the query of {text:?} changed with {how:?}");
    let again = normalize(&result, how);
    assert_eq!(again, Normalized::Path(result.as_str().into()), "{text:?} is not in its normal form with {how:?}");
    if !result.starts_with('/') {
        return;
    }
    let path = split_query(&result).0.to_ascii_lowercase();
    assert!(!how.merge_slashes || !path.contains("//"), "{text:?}: {path:?}");
    if how.escaped_slashes != SlashesAction::Keep {
        assert!(!path.contains("%2f") && !path.contains("%5c"), "{text:?}: {path:?} with {how:?}");
    }
    if how.normalize {
        let dots = |segment: &str| {
            matches!(segment.split(';').next().unwrap_or_default().replace("%2e", ".").as_str(), "." | "..")
        };
        assert!(!path.split('/').any(dots) && !path.contains('\\'), "{text:?}: {path:?}");
    }
}

/// First line the authority, the others domains.
pub(crate) fn authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let authority = lines.next().unwrap_or_default();
    let domains: Vec<&str> = lines.collect();
    let host = without_port(authority);
    let rest = authority.strip_prefix(host).unwrap_or_default();
    assert!(rest.is_empty() || rest.starts_with(':') && !rest.contains(']'), "{authority:?}: {host:?}");
    for ignore_port in [false, true] {
        let index = RouteIndex::new(Arc::new(table(&domains, ignore_port)));
        let found = index.find(authority, &mut Trace::off()).map(|host| host.name.to_string());
        let host = if ignore_port { host } else { authority }.to_ascii_lowercase();
        let wanted = slowly(&domains, &host).map(|at| at.to_string());
        assert_eq!(found, wanted, "{host:?} among {domains:?}");
    }
}

/// Virtual hosts that are named after their place.
fn table(domains: &[&str], ignore_port_in_host: bool) -> RouteConfiguration {
    let host = |(at, domain): (usize, &&str)| VirtualHost {
        name: at.to_string().into(),
        domains: vec![Str::from(*domain)],
        routes: vec![],
        require_tls: false,
        include_attempt_count: true,
        request_headers: vec![],
        response_headers: vec![],
    };
    RouteConfiguration {
        name: "80".into(),
        virtual_hosts: domains.iter().enumerate().map(host).collect(),
        ignore_port_in_host,
        on_demand: false,
        request_headers: vec![],
        response_headers: vec![],
    }
}

/// The place of the best of all domains: exact, then the longest suffix, then the longest prefix, then any.
fn slowly(domains: &[&str], host: &str) -> Option<usize> {
    let rank = |domain: &str| -> Option<(u8, usize)> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return Some((0, 0));
        }
        if let Some(suffix) = domain.strip_prefix('*') {
            return (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()));
        }
        if let Some(prefix) = domain.strip_suffix('*') {
            return (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()));
        }
        (domain == host).then_some((3, 0))
    };
    let ranked = domains.iter().enumerate().filter_map(|(at, domain)| Some((rank(domain)?, std::cmp::Reverse(at))));
    ranked.max().map(|(_, std::cmp::Reverse(at))| at)
}

/// Header lines, as many of them as can be header lines.
fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n') {
        let (name, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn manager(
    use_remote_address: bool,
    xff_trusted_hops: u32,
    client_cert: ClientCertForwarding,
) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "fuzz".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds("80".into()),
        filters: vec![],
        server_name: "envoy".into(),
        use_remote_address,
        xff_trusted_hops,
        skip_xff_append: false,
        client_cert,
        generate_request_id: true,
        preserve_external_request_id: false,
        path: PathNormalization { normalize: true, merge_slashes: false, escaped_slashes: SlashesAction::Keep },
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: vec![],
        strip_trailing_host_dot: false,
        local_replies: vec![],
        tracing: None,
        access_log: vec![],
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const CLIENT_CERT: &str = "x-forwarded-client-cert";

/// What a client says of where it comes from.
pub(crate) fn forwarded(data: &[u8]) {
    let sent = headers(data);
    let (peer, local) = (SocketAddr::from(([10, 0, 0, 9], 4)), SocketAddr::from(([10, 0, 0, 1], 80)));
    let identity = PeerIdentity { sha256: "ab".into(), ..PeerIdentity::of_uri("spiffe://cluster.local/ns/a/sa/b") };
    for (edge, hops) in [(false, 0), (true, 0), (true, 1), (true, 3)] {
        let manager = manager(edge, hops, ClientCertForwarding::Sanitize);
        let connection = Connection { peer, ..Connection::plain(local, peer) };
        let client = xff::client(&manager, &connection, &sent);
        assert!(matches!(client.scheme, "http" | "https"));
        let all = sent.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(','));
        let said: Vec<IpAddr> = all.filter_map(|entry| entry.trim().parse().ok()).collect();
        assert!(client.address == peer || said.contains(&client.address.ip()), "{client:?}");
        assert!(!edge || hops > 0 || client.address == peer, "an edge that trusts nobody believed {client:?}");
        let mut passed = sent.clone();
        xff::apply(&client, &mut passed);
        let after = passed.get_all(FORWARDED_FOR).iter().next_back().and_then(|line| line.to_str().ok());
        if edge {
            assert_eq!(after.and_then(|l| l.rsplit(',').next()).map(str::trim), Some("10.0.0.9"));
        }
    }
    use ClientCertForwarding::{AppendForward, ForwardOnly, Sanitize, SanitizeSet};
    for how in [Sanitize, SanitizeSet, AppendForward, ForwardOnly] {
        for peer_identity in [None, Some(&identity)] {
            let connection = Connection { peer_identity, ..Connection::plain(local, peer) };
            let mut passed = sent.clone();
            xfcc::apply(how, &connection, &mut passed);
            let lines: Vec<&HeaderValue> = passed.get_all(CLIENT_CERT).iter().collect();
            match (how, peer_identity) {
                (Sanitize, _) | (_, None) => assert!(lines.is_empty(), "{how:?}: {lines:?}"),
                (SanitizeSet, Some(_)) => {
                    assert!(lines.len() == 1 && lines.iter().all(|l| l.as_bytes().starts_with(b"Hash=ab;")))
                }
                (AppendForward, Some(_)) => {
                    let last = lines.last().and_then(|l| l.to_str().ok()).unwrap_or_default();
                    assert!(last.ends_with("Hash=ab;Subject=\"\";URI=spiffe://cluster.local/ns/a/sa/b"), "{last:?}");
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn trace_context(data: &[u8]) {
    let mut headers = headers(data);
    let decision = Said::of(&headers).decision();
    let Some(context) = Context::extract(&headers) else { return };
    assert!(context.trace.0 != 0 && context.span.0 != 0 && context.parent.is_none_or(|p| p.0 != 0));
    let _ = decision;
    let state = headers.get("tracestate").cloned();
    let child = context.child(7, context.sampled == Some(true));
    assert_eq!((child.trace, child.parent), (context.trace, Some(context.span)));
    let child = child.also_in(Forms { w3c: true, b3_single: true, b3_multi: true });
    child.inject(&mut headers);
    let next = Context::extract(&headers).unwrap_or_else(|| panic!("what was sent on is no context: {headers:?}"));
    assert_eq!((next.trace, next.span, next.sampled), (child.trace, child.span, child.sampled));
    assert_eq!(next.forms, child.forms, "one of the forms cannot be read");
    assert_eq!(headers.get("tracestate").cloned(), state);
}

pub(crate) fn grpc_timeout(data: &[u8]) {
    let found = parse_timeout(data);
    let slowly = || {
        let text = std::str::from_utf8(data).ok()?;
        let digits = text.get(..text.len().checked_sub(1)?)?;
        let valid = (1..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit());
        let nanos: u128 = match text.chars().next_back()? {
            'H' => 3_600_000_000_000,
            'M' => 60_000_000_000,
            'S' => 1_000_000_000,
            'm' => 1_000_000,
            'u' => 1000,
            'n' => 1,
            _ => return None,
        };
        valid.then(|| digits.parse::<u128>().ok()).flatten().map(|n| n * nanos)
    };
    assert_eq!(found.map(|d: Duration| d.as_nanos()), slowly());
}

pub(crate) fn jwt(data: &[u8]) {
    let Ok(token) = tokens::parse_token(data) else { return };
    let parts: Vec<&[u8]> = data.split(|b| *b == b'.').filter(|part| !part.is_empty()).collect();
    let [header, payload, _] = parts.as_slice() else { panic!("a token of {} parts", parts.len()) };
    assert_eq!(token.signed(), [*header, b".", *payload].concat());
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let payload: serde_json::Value = serde_json::from_slice(&engine.decode(payload).unwrap()).unwrap();
    assert_eq!(payload, serde_json::Value::Object(token.payload.clone()));
    // Without an end it never ends, and it never both ends and has not begun.
    assert!(token.expires.is_some() || token.check_time(u64::MAX - 1, 0).is_ok() || token.not_before == Some(u64::MAX));
    let never = token.not_before.zip(token.expires).is_some_and(|(from, to)| from > to);
    for now in [0, 1_700_000_000, u64::MAX] {
        assert!(!(never && token.check_time(now, 0).is_ok()));
    }
}

pub(crate) fn jwks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(keys) = tokens::parse_keys(text) {
        let set: serde_json::Value = serde_json::from_str(text).unwrap();
        let all = set.get("keys").and_then(|keys| keys.as_array()).unwrap();
        assert!(!keys.is_empty() && keys.len() <= all.len());
        // Nothing of a secret is printed.
        let text =
            |key: &serde_json::Value, name: &str| key.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let names: String = all.iter().map(|key| text(key, "kid") + &text(key, "alg")).collect();
        // What somebody made the name of a key is no secret.
        let secrets = all.iter().map(|key| text(key, "k")).filter(|k| k.len() > 16 && !names.contains(k));
        let printed = format!("{keys:?}");
        assert!(!secrets.into_iter().any(|secret| printed.contains(&secret)));
    }
}

/// A request of which a few things are known.
struct Known;

impl cel::Attributes for Known {
    fn attribute(&self, path: &[&str]) -> Option<cel::Value<'_>> {
        Some(match path {
            ["request", "method"] => cel::Value::Text("GET".into()),
            ["request", "path" | "url_path"] => cel::Value::Text("/orders/7".into()),
            ["request", "headers", "x-user"] => cel::Value::Text("ann".into()),
            ["response", "code"] => cel::Value::Int(503),
            ["connection", "mtls"] => cel::Value::Bool(true),
            _ => return None,
        })
    }
}

pub(crate) fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match cel::Expression::parse(text) {
        Ok(expression) => {
            let value = expression.evaluate(&Known);
            assert_eq!(expression.evaluate(&Known), value, "it has two values");
            let holds = expression.holds(&Known);
            assert_eq!(holds, value == Ok(cel::Value::Bool(true)));
            // Parentheses and space around an expression say nothing.
            if let Ok(around) = cel::Expression::parse(&format!(" ( {text} ) ")) {
                assert_eq!(around.evaluate(&Known), value);
            }
            // One that is negated twice is a truth value, or has none.
            if let Ok(twice) = cel::Expression::parse(&format!("!(!({text}))")) {
                let is_truth = matches!(value, Ok(cel::Value::Bool(_)));
                assert_eq!(twice.evaluate(&Known), if is_truth { value } else { Err(cel::NoValue) });
            }
        }
        Err(error) => assert!(error.at <= text.len() && !error.to_string().is_empty(), "{error}"),
    }
}

struct Everything;

impl Values for Everything {
    fn write(&self, operator: &Operator<'_>, out: &mut String) -> bool {
        out.push_str("v\u{e9}lue");
        !operator.name.is_empty()
    }
}

pub(crate) fn log_format(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut printed = String::new();
    let mut whole = true;
    for segment in format::segments(text) {
        match segment {
            Ok(Segment::Literal("%")) => printed.push_str("%%"),
            Ok(Segment::Literal(literal)) => printed.push_str(literal),
            Ok(Segment::Operator(operator)) => {
                printed.push('%');
                printed.push_str(operator.name);
                if let Some(argument) = operator.argument {
                    printed.push_str(&format!("({argument})"));
                }
                // The number may have been written with zeros in front.
                if let Some(length) = operator.max_length {
                    printed.push_str(&format!(":{length}"));
                }
                printed.push('%');
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                whole = false;
            }
        }
    }
    if whole {
        let parts = |text: &str| format::segments(text).map(|s| format!("{s:?}")).collect::<Vec<_>>();
        assert_eq!(parts(&printed), parts(text));
    }
    let mut value = String::new();
    format::header_value(text, &Everything, &mut value);
    assert!(whole || value == text, "{value:?}");
    assert!(value.len() <= 6 * text.len().max(1));
    if let Ok(compiled) = varka_telemetry::accesslog::Format::text(text) {
        assert!(whole, "{compiled:?}");
    }
}

/// First line the expression, second a substitution, then a text.
pub(crate) fn regex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let (source, substitution, sample) = (lines.next(), lines.next(), lines.next());
    let (source, substitution, sample) =
        (source.unwrap_or_default(), substitution.unwrap_or_default(), sample.unwrap_or_default());
    let Ok(compiled) = Regex::new(source) else { return };
    let alone = regex::Regex::new(source).unwrap_or_else(|e| panic!("{source:?} is one only between anchors: {e}"));
    if compiled.is_match(sample) {
        assert!(alone.is_match(sample), "{source:?} matches the whole of {sample:?} and no part of it");
    } else {
        let covers = alone.find_iter(sample).any(|m| m.range() == (0..sample.len()));
        assert!(!covers, "{source:?} does not match {sample:?}, all of which it finds");
    }
    let replaced = compiled.replace_all(sample, substitution);
    if !alone.is_match(sample) {
        assert_eq!(replaced, sample);
    }
}
