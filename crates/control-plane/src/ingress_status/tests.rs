use super::*;

fn ingress(name: &str, class: Option<&str>, status: Value) -> Arc<Ingress> {
    let value = json!({
        "metadata": {"name": name, "namespace": "blog-system"}, "spec": {"ingressClassName": class},
        "status": {"loadBalancer": {"ingress": status}},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn class(name: &str, controller: &str, default: bool) -> Arc<IngressClass> {
    let annotations = json!({DEFAULT_CLASS: default.to_string()});
    let value = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": controller}});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn only_ours_and_only_what_differs() {
    let classes = [class("nginx", "k8s.io/ingress-nginx", true), class("other", "example.com/other", false)];
    let here = json!([{"ip": "10.96.0.9"}]);
    let ingresses = [
        ingress("named", Some("nginx"), Value::Null),
        ingress("default", None, json!([{"ip": "10.96.0.1"}])),
        ingress("right", Some("nginx"), here.clone()),
        ingress("others", Some("other"), Value::Null),
        ingress("unknown", Some("nobody"), Value::Null),
    ];
    let writes = plan("k8s.io/ingress-nginx", &here, &ingresses, &classes);
    let names: Vec<_> = writes.iter().map(|write| write.name.as_str()).collect();
    assert_eq!(names, ["named", "default"]);
    assert!(writes.iter().all(|write| write.addresses == here));
}

#[test]
fn without_a_default_class_an_unnamed_one_is_nobodys() {
    let classes = [class("nginx", "k8s.io/ingress-nginx", false)];
    assert!(plan("k8s.io/ingress-nginx", &json!([]), &[ingress("a", None, Value::Null)], &classes).is_empty());
}

#[test]
fn where_a_service_is_reached() {
    let service = |spec: Value, status: Value| -> Service {
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
    };
    let balanced = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}, {"ip": "192.0.2.1"}]}});
    let spec = json!({"clusterIP": "10.96.0.9"});
    let got = addresses(&service(spec.clone(), balanced));
    assert_eq!(got, Some(json!([{"hostname": "lb.example.com"}, {"ip": "192.0.2.1"}])));
    assert_eq!(addresses(&service(spec, Value::Null)), Some(json!([{"ip": "10.96.0.9"}])));
    let external = json!({"clusterIP": "10.96.0.9", "externalIPs": ["192.0.2.7"]});
    assert_eq!(addresses(&service(external, Value::Null)), Some(json!([{"ip": "192.0.2.7"}])));
    assert_eq!(addresses(&service(json!({"clusterIP": "None"}), Value::Null)), None);
}
