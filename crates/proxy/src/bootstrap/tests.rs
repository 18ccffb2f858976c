use std::collections::HashMap;
use std::time::Duration;

use super::{Args, Bootstrap, Engine, Role};

fn from(vars: &[(&str, &str)]) -> Result<Bootstrap, crate::Error> {
    let map: HashMap<String, String> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let args = Args {
        role: Role::Sidecar,
        domain: None,
        config: None,
        concurrency: Some(1),
        free_ports: false,
        engine: Engine::Varka,
    };
    Bootstrap::from_vars(args, &|n| map.get(n).cloned(), map.clone().into_iter())
}

#[test]
fn reads_what_injection_sets() {
    let b = from(&[
        ("POD_NAME", "was-1"),
        ("POD_NAMESPACE", "blog-system"),
        ("INSTANCE_IP", "10.77.0.21"),
        ("SERVICE_ACCOUNT", "was"),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        ("ISTIO_META_WORKLOAD_NAME", "was"),
        ("ISTIO_METAJSON_LABELS", r#"{"app":"was"}"#),
        ("PROXY_CONFIG", r#"{"discoveryAddress":"istiod.istio-system.svc:15012","terminationDrainDuration":"7s"}"#),
        (
            "ISTIO_KUBE_APP_PROBERS",
            r#"{"/app-health/was/readyz":{"httpGet":{"path":"/h","port":8080,"scheme":"HTTP"},"timeoutSeconds":3}}"#,
        ),
    ])
    .unwrap();
    assert_eq!(b.node_id(), "sidecar~10.77.0.21~was-1.blog-system~blog-system.svc.cluster.local");
    assert_eq!(b.metadata["WORKLOAD_NAME"], "was");
    assert_eq!(b.metadata["LABELS"]["app"], "was");
    assert_eq!(b.drain, Duration::from_secs(7));
    let prober = &b.app_probers["/app-health/was/readyz"];
    assert_eq!((prober.http_get.as_ref().unwrap().port, prober.timeout_seconds), (8080, 3));
}

#[test]
fn says_what_is_wrong() {
    let message = from(&[("INSTANCE_IP", "ten")]).unwrap_err().to_string();
    assert_eq!(message, "INSTANCE_IP: \"ten\" is not an IP address; the proxy does not start");
    assert!(from(&[("PROXY_CONFIG", "{")]).unwrap_err().to_string().starts_with("PROXY_CONFIG: it is not the JSON"));
}

#[test]
fn traces_are_limited_where_somebody_says_so() {
    let limit = |vars: &[(&str, &str)]| from(vars).map(|b| b.traces_per_second);
    assert_eq!(limit(&[]).unwrap(), None);
    assert_eq!(limit(&[("TRACES_PER_SECOND", "100")]).unwrap(), Some(100));
    let message = limit(&[("TRACES_PER_SECOND", "0")]).unwrap_err().to_string();
    assert_eq!(message, "TRACES_PER_SECOND: \"0\" is not a number above 0; the proxy does not start");
}

/// What a proxy with these arguments and this environment tells the control plane.
fn asks(args: Args, vars: &[(&str, &str)]) -> Result<(bool, String), crate::Error> {
    let map: HashMap<String, String> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let b = Bootstrap::from_vars(args, &|n| map.get(n).cloned(), map.clone().into_iter())?;
    Ok((b.on_demand(), b.metadata["ON_DEMAND"].as_str().unwrap().to_owned()))
}

#[test]
fn a_sidecar_asks_unless_it_is_told_not_to() {
    let args = |role, engine, config| Args { role, domain: None, config, concurrency: None, free_ports: false, engine };
    let sidecar = || args(Role::Sidecar, Engine::Varka, None);
    let (yes, no) = ((true, "true".to_owned()), (false, "false".to_owned()));
    assert_eq!(asks(sidecar(), &[]).unwrap(), yes);
    assert_eq!(asks(sidecar(), &[("ON_DEMAND", "true")]).unwrap(), yes);
    assert_eq!(asks(sidecar(), &[("ON_DEMAND", "false")]).unwrap(), no);
    assert_eq!(asks(sidecar(), &[("ISTIO_META_ON_DEMAND", "false")]).unwrap(), no);
    assert_eq!(asks(args(Role::Router, Engine::Varka, None), &[]).unwrap(), no);
    assert_eq!(asks(args(Role::Sidecar, Engine::Envoy("envoy".into()), None), &[]).unwrap(), no);
    assert_eq!(asks(args(Role::Sidecar, Engine::Varka, Some("c.json".into())), &[]).unwrap(), no);
    let message = asks(sidecar(), &[("ON_DEMAND", "no")]).unwrap_err().to_string();
    assert_eq!(message, "ON_DEMAND: \"no\" is not true or false; the proxy does not start");
}
