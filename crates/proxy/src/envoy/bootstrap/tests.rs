use std::path::Path;

use crate::bootstrap::{Args, Bootstrap, Engine, Role};

#[test]
fn envoy_is_told_who_it_is_and_where_to_ask() {
    let vars = [
        ("POD_NAME", "was-1"),
        ("POD_NAMESPACE", "blog-system"),
        ("DISCOVERY_ADDRESS", "istiod.istio-system.svc:15012"),
        ("ISTIO_METAJSON_LABELS", r#"{"app":"was"}"#),
    ];
    let args = Args {
        role: Role::Sidecar,
        domain: None,
        config: None,
        concurrency: Some(1),
        free_ports: false,
        engine: Engine::Envoy("envoy".into()),
    };
    let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let all = vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let b = Bootstrap::from_vars(args, &var, all).unwrap();
    let json = super::bootstrap(&b, Path::new("/run/x/sds"));
    assert_eq!(json["node"]["id"], b.node_id());
    assert_eq!(json["node"]["metadata"]["ENGINE"], "envoy");
    assert_eq!(json["node"]["metadata"]["LABELS"]["app"], "was");
    let clusters = &json["static_resources"]["clusters"];
    let address = |n: usize| &clusters[n]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
    assert_eq!(address(0)["socket_address"]["address"], "istiod.istio-system.svc");
    assert_eq!(address(0)["socket_address"]["port_value"], 15012);
    assert_eq!(address(1)["pipe"]["path"], "/run/x/sds");
    let tls = &clusters[0]["transport_socket"]["typed_config"]["common_tls_context"];
    assert_eq!(
        tls["validation_context"]["match_typed_subject_alt_names"][0]["matcher"]["exact"],
        "istiod.istio-system.svc"
    );
}
