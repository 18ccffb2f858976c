//! Rules of GRPCRoutes: a service and a method are a path.

use varka_api::Object;
use varka_api::istio::{HttpMatch, HttpRoute, StringMatch};
use varka_api::kube::{GrpcMethodMatch, GrpcRouteMatch, KubernetesGrpcRoute};

use super::backends::From;
use super::http::{destinations, exact, name, named, prefix, regex, split};
use super::routes::{Conversion, Rule};
use super::{Problem, World, filters};

/// Every rule of a route, for clients in the mesh or for a gateway.
pub(super) fn rules(world: &World<'_>, object: &Object<KubernetesGrpcRoute>, mesh: bool) -> Conversion<Rule> {
    let from = From { kind: "GRPCRoute", namespace: &object.metadata.namespace, mesh };
    Conversion::collect(object.spec.rules.iter().enumerate(), |(index, rule)| {
        let mut made = HttpRoute { name: name(rule.name.as_deref(), &object.metadata, index), ..HttpRoute::default() };
        let mirror = filters::apply(world, from, &rule.filters, &mut made)?;
        let problem = destinations(world, from, &rule.backend_refs, &mut made)?;
        let conditions = rule.matches.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        Ok((split(made, conditions, &object.label(), index), Problem::join(problem, mirror)))
    })
}

fn condition(m: &GrpcRouteMatch) -> Result<HttpMatch, Problem> {
    let uri = m.method.as_ref().map(path).transpose()?;
    Ok(HttpMatch { uri, headers: named("headers", &m.headers)?, ..HttpMatch::default() })
}

/// `/SERVICE/METHOD`, either of which may be left open.
fn path(method: &GrpcMethodMatch) -> Result<StringMatch, Problem> {
    let kind = method.r#type.as_deref().unwrap_or("Exact");
    let invalid = |message: String| Err(Problem::new("InvalidConfiguration", message));
    match (kind, method.service.as_deref(), method.method.as_deref()) {
        (_, None, None) => invalid("matches: method needs a service or a method".to_owned()),
        ("Exact", Some(service), Some(method)) => Ok(exact(&format!("/{service}/{method}"))),
        ("Exact", Some(service), None) => Ok(prefix(&format!("/{service}/"))),
        ("Exact" | "RegularExpression", None, Some(method)) => Ok(regex(&format!("/[^/]+/{method}"))),
        ("RegularExpression", Some(service), Some(method)) => Ok(regex(&format!("/{service}/{method}"))),
        ("RegularExpression", Some(service), None) => Ok(regex(&format!("/{service}/.+"))),
        (other, _, _) => invalid(format!("matches: method of type {other:?} is not supported")),
    }
}
