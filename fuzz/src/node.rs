//! What pods, and the authors of pods, send to the runtime of pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use hickory_proto::op::Message;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use varka_kubelet::input::{
    LONGEST_VALUE, LogLine, LogSplitter, NameTurn, NamesView, OutputStream, expand, name_query, thousandths,
};

use crate::{choice, pieces};

struct Cluster {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let service = |value| Arc::new(serde_json::from_value::<Service>(value).unwrap());
        let services = vec![
            service(json!({"metadata": {"name": "was", "namespace": "blog"}, "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 8080}]}})),
            service(json!({"metadata": {"name": "db", "namespace": "blog"}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 3306}]}})),
            service(json!({"metadata": {"name": "out", "namespace": "blog"}, "spec": {"type": "ExternalName", "externalName": "example.org"}})),
        ];
        let slice = json!({
            "metadata": {"namespace": "blog", "labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 3306, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.244.0.5"], "hostname": "db-0"}]});
        Cluster { services, slices: vec![Arc::new(serde_json::from_value(slice).unwrap())] }
    })
}

pub(crate) fn dns(data: &[u8]) {
    let cluster = cluster();
    let host = Ipv4Addr::new(10, 96, 255, 254);
    let view = NamesView { services: &cluster.services, slices: &cluster.slices, host };
    for datagram in [false, true] {
        let Some(turn) = name_query(&view, data, datagram) else { return };
        let answer = match turn {
            NameTurn::Done(answer) => Some(answer),
            NameTurn::Resolve(pending) => {
                assert!(!pending.name().is_empty(), "nothing is to be resolved");
                pending.finish(Some(vec![IpAddr::V4(host); 40]))
            }
        };
        let Some(answer) = answer else { continue };
        let (request, response) = (Message::from_vec(data).unwrap(), Message::from_vec(&answer));
        let response = response.unwrap_or_else(|e| panic!("the answer cannot be read: {e}"));
        assert_eq!(response.metadata.id, request.metadata.id);
        let taken = if request.edns.is_none() { 512 } else { usize::from(request.max_payload()).max(512) };
        assert!(!datagram || answer.len() <= taken, "{} bytes for one who takes {taken}", answer.len());
        // Nobody can have more sent to somebody else than a query of that length may.
        assert!(answer.len() <= 65_535);
    }
}

/// First byte what the text is.
pub(crate) fn pod_texts(data: &[u8]) {
    let (first, rest) = choice(data);
    match first % 3 {
        0 => log_lines(rest, first),
        1 => std::str::from_utf8(rest).ok().map_or((), quantity),
        _ => std::str::from_utf8(rest).ok().map_or((), references),
    }
}

fn log_lines(data: &[u8], first: u8) {
    let longest = 1 + usize::from(first >> 4);
    let (mut splitter, mut out) = (LogSplitter::new(OutputStream::Stdout, longest), Vec::new());
    for piece in pieces(data, [1 + usize::from(first & 3), 5, 2]) {
        splitter.push(piece, Timestamp::UNIX_EPOCH, &mut out);
    }
    splitter.finish(Timestamp::UNIX_EPOCH, &mut out);
    let mut text = Vec::new();
    for line in out.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let line = LogLine::parse(line).unwrap();
        assert!(line.text.len() <= longest && line.timestamp() == Some(Timestamp::UNIX_EPOCH));
        text.extend_from_slice(line.text);
        if line.whole {
            text.push(b'\n');
        }
    }
    assert_eq!(text, data);
    // Of a line that was cut off nothing is made up.
    if let Some(line) = LogLine::parse(data) {
        assert!(data.ends_with(line.text) && data.starts_with(line.time));
        let _ = line.timestamp();
    }
}

fn quantity(text: &str) {
    let Some(found) = thousandths(text) else { return };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().unwrap();
    let scale = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        other => format!("1{other}").parse().unwrap(),
    };
    #[expect(clippy::cast_precision_loss, reason = "compared within a part in a million")]
    let (exact, found) = (number * scale * 1000.0, found as f64);
    // Rounded up, to a whole thousandth.
    assert!(found >= exact * 0.999_999 && found <= exact * 1.000_001 + 1.0, "{text:?}: {found} is not {exact}");
}

fn references(text: &str) {
    let variables = [("A", "1".to_owned()), ("B", "$(A)".to_owned()), ("LONG", "x".repeat(60_000))];
    let variables: BTreeMap<String, String> = variables.map(|(name, value)| (name.to_owned(), value)).into();
    match expand(text, &variables) {
        Ok(value) => {
            assert!(value.len() <= LONGEST_VALUE);
            if !text.contains('$') {
                assert_eq!(value, text);
            }
        }
        Err(error) => assert!(text.matches("$(LONG)").count() > 1 || text.len() > LONGEST_VALUE, "{error}"),
    }
    // With every sign doubled nothing is a reference.
    assert_eq!(expand(&text.replace('$', "$$"), &variables).as_deref(), Ok(text));
}
