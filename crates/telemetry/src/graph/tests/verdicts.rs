//! Health: whether there is enough to say something, and what Kiali says.

use super::super::health::tolerance::{Compiled, Tolerance, parse_annotation};
use super::super::health::{Config, Interval, Rate, Requests, Status, significance};
use super::super::{Appender, Facts, GraphType, Labels, Metrics, facts::Replicas, kiali};
use super::{Who, edge, graph, map, namespaces, node, options, report, series, service, who, workload};

fn any_error() -> Vec<Compiled> {
    let tolerance = |code: &str, degraded, failure| {
        Compiled::new(Tolerance { code: code.into(), degraded, failure, ..Tolerance::default() })
    };
    vec![tolerance("5XX", 0.0, 10.0)]
}

fn judged(errors: f64, all: f64) -> (Status, bool) {
    let codes = [("200", all - errors), ("500", errors)];
    let verdict = significance::of_codes("http", "inbound", &codes, &any_error());
    (verdict.status, verdict.not_enough_data)
}

#[test]
fn chance_is_not_red() {
    for (errors, all, want) in [
        (0.0, 3.0, (Status::Healthy, false)),
        (1.0, 1.0, (Status::Healthy, true)),
        (1.0, 3.0, (Status::Healthy, true)),
        (1.0, 10.0, (Status::Healthy, true)),
        (1.0, 99.0, (Status::Healthy, true)),
        (3.0, 3.0, (Status::Failure, false)),
        (10.0, 20.0, (Status::Failure, false)),
        (2.0, 40.0, (Status::Degraded, false)),
        (1.0, 1000.0, (Status::Degraded, false)),
        (300.0, 900.0, (Status::Failure, false)),
        // Not surely above the threshold, surely above none.
        (100.0, 1000.0, (Status::Degraded, false)),
    ] {
        assert_eq!(judged(errors, all), want, "{errors} of {all}");
    }
}

#[test]
fn a_verdict_says_why() {
    let codes = [("200", 1200.0), ("500", 600.0)];
    let verdict = significance::of_codes("http", "inbound", &codes, &any_error());
    let reason = verdict.reason.unwrap();
    assert_eq!((reason.errors, reason.all), (600.0, 1800.0));
    assert_eq!((reason.tolerance.code.as_str(), reason.tolerance.failure), ("5XX", 10.0));
    assert_eq!((verdict.status, reason.if_certain), (Status::Failure, Status::Failure));
    assert_eq!(
        reason.to_string(),
        "inbound http: 600 of 1800 requests ended with 5XX (33.3 %, which may be 31.2 % to 35.5 %); degraded from 0 %, \
         failed from 10 %"
    );
    let nothing = significance::of_requests(&Requests::default(), &any_error());
    assert_eq!((nothing.status, nothing.reason), (Status::NotApplicable, None));
}

#[test]
fn intervals_are_wilsons() {
    // Values of the textbook, to a tenth of a percent.
    for (errors, all, low, high) in [(1.0, 3.0, 6.1, 79.2), (0.0, 10.0, 0.0, 27.8), (10.0, 100.0, 5.5, 17.4)] {
        let interval = Interval::of(errors, all);
        assert!((interval.low - low).abs() < 0.1 && (interval.high - high).abs() < 0.1, "{interval:?}");
    }
}

#[test]
fn an_expression_that_is_none_fits_everything() {
    let odd = Compiled::new(Tolerance { code: "(".into(), failure: 10.0, ..Tolerance::default() });
    let codes = [("200", 600.0), ("500", 600.0)];
    assert_eq!(significance::of_codes("http", "inbound", &codes, &[odd]).status, Status::Failure);
    assert!(parse_annotation("5xx,NaN,10,http,inbound").is_empty(), "a threshold is a number");
}

const CLIENT: Who = who("blog", "client", "client");
const WEB: Who = who("blog", "web", "web");

fn one_of_three() -> Metrics<'static> {
    let of = |code, rate: f64| {
        let labels = report("destination", CLIENT, WEB, "web", "web.blog.svc.cluster.local");
        series(Labels { response_code: code, ..labels }, rate / 600.0)
    };
    Metrics { requests: vec![of("200", 2.0), of("500", 1.0)], ..Metrics::default() }
}

fn facts() -> Facts {
    let mut web = workload(WEB);
    web.replicas = Some(Replicas { desired: 2, current: 2, available: 2, synced_proxies: 2 });
    Facts {
        namespaces: namespaces(&["blog"]),
        services: vec![service("blog", "web", "web", 80)],
        workloads: vec![web, workload(CLIENT)],
        ..Facts::default()
    }
}

#[test]
fn nodes_and_edges_have_both_answers() {
    let options = options(GraphType::Workload, &["blog"], &[Appender::Health]);
    let graph = graph(&one_of_three(), &facts(), &options);
    let web = node(&graph, "wl_Kubernetes_blog_web").health.as_ref().unwrap();
    assert_eq!((web.status, web.verdict.not_enough_data), (Status::Healthy, true));
    let kiali = web.kiali.unwrap();
    assert_eq!((kiali.status, kiali.error_ratio.round()), (Status::Failure, 33.0));
    let edge = edge(&graph, "client", "web").health.as_ref().unwrap();
    assert_eq!((edge.verdict.status, edge.kiali), (Status::Healthy, Status::Failure));
    let answer = serde_json::to_value(kiali::render(&graph)).unwrap();
    assert_eq!(answer["elements"]["edges"][0]["data"]["healthStatus"], "Failure");
    let nodes = answer["elements"]["nodes"].as_array().unwrap();
    let web = nodes.iter().find(|n| n["data"]["workload"] == "web").unwrap();
    let data = &web["data"]["healthData"];
    assert_eq!(data["status"]["status"], "Failure");
    assert_eq!(data["workloadStatus"]["availableReplicas"], 2);
    assert!(data["requests"]["inbound"]["http"]["500"].is_number() && data.get("workloadStatuses").is_none());
}

#[test]
fn a_young_namespace_has_a_short_window() {
    let mut options = options(GraphType::Workload, &["blog"], &[Appender::Health]);
    options.namespaces[0].duration = 60;
    let graph = graph(&one_of_three(), &facts(), &options);
    // Three requests in ten minutes, of which it existed one.
    let rate = edge(&graph, "client", "web").rates.total;
    assert!((rate - 3.0 / 60.0).abs() < 1e-9, "{rate}");
    let web = node(&graph, "wl_Kubernetes_blog_web").health.as_ref().unwrap();
    let all = web.verdict.reason.as_ref().unwrap().all;
    assert!((all - 3.0).abs() < 1e-9, "{all}");
}

#[test]
fn pods_and_annotations_count() {
    let mut facts = facts();
    facts.workloads[0].replicas = Some(Replicas { desired: 2, current: 2, available: 1, synced_proxies: -1 });
    facts.workloads[0].annotations = map(&[("health.kiali.io/rate", "5XX,40,50,http,inbound"), ("other", "x")]);
    let options = options(GraphType::Workload, &["blog"], &[Appender::Health]);
    let graph = graph(&one_of_three(), &facts, &options);
    let web = node(&graph, "wl_Kubernetes_blog_web").health.as_ref().unwrap();
    assert_eq!((web.replicas, web.status, web.verdict.status), (Status::Degraded, Status::Degraded, Status::Healthy));
    assert_eq!((web.kiali.unwrap().status, web.annotations.len()), (Status::Degraded, 1));
    assert!(!web.verdict.not_enough_data, "a third is tolerated");
}

#[test]
fn rules_go_by_namespace_kind_and_name() {
    let rate = |namespace: &str, failure| Rate {
        namespace: namespace.into(),
        tolerances: vec![Tolerance { code: "500".into(), degraded: failure, failure, ..Tolerance::default() }],
        ..Rate::default()
    };
    let mut options = options(GraphType::Workload, &["blog"], &[Appender::Health]);
    for (rules, want) in [
        (vec![rate("blog", 90.0), rate("", 1.0)], Status::Healthy),
        (vec![rate("shop", 90.0), rate("", 1.0)], Status::Failure),
    ] {
        options.health = Config::new(rules);
        let graph = graph(&one_of_three(), &facts(), &options);
        assert_eq!(node(&graph, "wl_Kubernetes_blog_web").health.as_ref().unwrap().kiali.unwrap().status, want);
    }
}

#[test]
fn a_version_has_its_apps_health_beside_its_own() {
    let mut metrics = one_of_three();
    let v2 = Who { name: "web-v2", version: "v2", ..WEB };
    let labels = report("destination", CLIENT, v2, "web", "web.blog.svc.cluster.local");
    metrics.requests.push(series(labels, 1.0));
    let mut facts = facts();
    facts.workloads.push(workload(v2));
    facts.workloads[0].replicas = Some(Replicas { desired: 2, current: 2, available: 0, synced_proxies: 2 });
    let graph = graph(&metrics, &facts, &options(GraphType::VersionedApp, &["blog"], &[Appender::Health]));
    let v2 = node(&graph, "vapp_Kubernetes_blog_web-v2").health.as_ref().unwrap();
    assert_eq!((v2.kiali.unwrap().status, v2.kiali_app.unwrap().status), (Status::Healthy, Status::Failure));
    let answer = serde_json::to_value(kiali::render(&graph)).unwrap();
    let boxed = &answer["elements"]["nodes"][0]["data"];
    assert_eq!((&boxed["nodeType"], &boxed["isBox"]), (&"box".into(), &"app".into()));
    assert_eq!(boxed["healthData"]["status"]["status"], "Failure");
    assert_eq!(boxed["healthData"]["workloadStatuses"].as_array().unwrap().len(), 1);
}
