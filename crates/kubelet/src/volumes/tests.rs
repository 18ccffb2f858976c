use super::*;

fn pod(value: serde_json::Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

fn text(edits: &[Edit], wanted: &str) -> String {
    let found = edits.iter().find_map(|edit| match edit {
        Edit::File { path, content, .. } if path == Path::new(wanted) => Some(content.clone()),
        _ => None,
    });
    String::from_utf8(found.unwrap()).unwrap()
}

#[test]
fn names_resolve_from_the_pods_namespace() {
    let pod = pod(serde_json::json!({"metadata": {"name": "web-1", "namespace": "blog"}}));
    let facts = Facts { pod_address: Some(std::net::Ipv4Addr::new(10, 244, 0, 9)), ..Facts::default() };
    let files = network_files(&pod, &facts, std::net::Ipv4Addr::new(10, 96, 0, 10));
    let resolv =
        "search blog.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(text(&files, "/etc/resolv.conf"), resolv);
    assert!(text(&files, "/etc/hosts").ends_with("10.244.0.9\tweb-1\n"));
    assert_eq!(text(&files, "/etc/hostname"), "web-1\n");
}

#[test]
fn a_pods_own_dns_settings_count() {
    let pod = pod(serde_json::json!({"metadata": {"name": "p"}, "spec": {"containers": [], "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}}));
    let files = network_files(&pod, &Facts::default(), std::net::Ipv4Addr::new(10, 96, 0, 10));
    assert_eq!(text(&files, "/etc/resolv.conf"), "search a\nnameserver 1.1.1.1\noptions ndots:2 edns0\n");
}

#[test]
fn a_volume_does_not_lead_out_of_itself() {
    assert!(relative("a/b").is_ok() && relative("").is_ok());
    assert!(relative("../a").is_err() && relative("/a").is_err() && relative("a/../../b").is_err());
    let temporary = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", temporary.path().join("out")).unwrap();
    let volumes = Volumes { paths: [("v".to_owned(), temporary.path().to_path_buf())].into() };
    let mount: VolumeMount =
        serde_json::from_value(serde_json::json!({"name": "v", "mountPath": "/m", "subPath": "out"})).unwrap();
    assert!(matches!(volumes.bind(&mount, &BTreeMap::new()), Err(VolumeError::Path(_))));
}

#[test]
fn mounts_come_outermost_first_and_parts_are_made() {
    let temporary = tempfile::tempdir().unwrap();
    let volumes = Volumes { paths: [("v".to_owned(), temporary.path().to_path_buf())].into() };
    let container: Container = serde_json::from_value(serde_json::json!({"name": "c", "volumeMounts": [
        {"name": "v", "mountPath": "/a/b/c", "subPathExpr": "$(WHO)/x", "readOnly": true}, {"name": "v", "mountPath": "/a"}]}))
    .unwrap();
    let binds = volumes.binds(&container, &BTreeMap::from([("WHO".to_owned(), "me".to_owned())])).unwrap();
    assert_eq!(binds.iter().map(|b| b.target.display().to_string()).collect::<Vec<_>>(), ["/a", "/a/b/c"]);
    assert!(binds[1].read_only && binds[1].source.ends_with("me/x") && binds[1].source.is_dir());
}

#[test]
fn a_host_path_is_what_its_type_says() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).display().to_string();
    assert!(host_path(&path("no"), "").is_err());
    assert!(host_path(&path("made"), "DirectoryOrCreate").unwrap().is_dir());
    assert!(host_path(&path("file"), "FileOrCreate").unwrap().is_file());
    assert!(host_path(&path("file"), "Directory").is_err());
}
