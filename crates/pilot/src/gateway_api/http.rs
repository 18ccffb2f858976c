//! Rules of HTTPRoutes, as rules of VirtualServices with one condition each.

use std::collections::BTreeMap;

use varka_api::istio::{DirectResponse, HttpMatch, HttpRoute, RouteDestination, StringMatch};
use varka_api::kube::{BackendReference, HttpRouteMatch, KubernetesHttpRoute, NamedMatch};
use varka_api::{Object, ObjectMeta};

use super::backends::{self, From};
use super::routes::{Conversion, Rule};
use super::{Problem, World, filters};
use crate::context::s;

/// Every rule of a route, for clients in the mesh or for a gateway.
pub(super) fn rules(world: &World<'_>, object: &Object<KubernetesHttpRoute>, mesh: bool) -> Conversion<Rule> {
    let from = From { kind: "HTTPRoute", namespace: &object.metadata.namespace, mesh };
    Conversion::collect(object.spec.rules.iter().enumerate(), |(index, rule)| {
        let mut made = HttpRoute { name: name(rule.name.as_deref(), &object.metadata, index), ..HttpRoute::default() };
        let mirror = filters::apply(world, from, &rule.filters, &mut made)?;
        filters::timing(&mut made, rule.timeouts.as_ref(), rule.retry.as_ref());
        let problem = destinations(world, from, &rule.backend_refs, &mut made)?;
        let conditions = rule.matches.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        Ok((split(made, conditions, &object.label(), index), Problem::join(problem, mirror)))
    })
}

/// As given, else by its place.
pub(super) fn name(given: Option<&str>, metadata: &ObjectMeta, index: usize) -> String {
    match given {
        Some(name) => name.to_owned(),
        None => format!("{}.{}.{index}", metadata.namespace, metadata.name),
    }
}

/// One rule for each condition, because precedence is decided between conditions and not between rules.
pub(super) fn split(made: HttpRoute, conditions: Vec<HttpMatch>, label: &str, index: usize) -> Vec<Rule> {
    let origin = s(format!("{label} rules[{index}]"));
    if conditions.is_empty() {
        return vec![Rule { route: made, origin }];
    }
    let one = |m| Rule { route: HttpRoute { r#match: vec![m], ..made.clone() }, origin: origin.clone() };
    conditions.into_iter().map(one).collect()
}

/// Where a rule leads. Without a backend that has a share, requests get 500.
pub(super) fn destinations(
    world: &World<'_>,
    from: From<'_>,
    references: &[BackendReference],
    rule: &mut HttpRoute,
) -> Result<Option<Problem>, Problem> {
    if rule.redirect.is_none() && references.iter().all(|r| backends::weight(r) == 0) {
        rule.direct_response = Some(DirectResponse { status: 500, body: None });
        return Ok(None);
    }
    let mut problem = None;
    for (reference, weight) in backends::weighted(references) {
        let (destination, found) = backends::destination(world, from, reference)?;
        problem = found.or(problem);
        let headers = filters::of_backend(&reference.filters)?;
        rule.route.push(RouteDestination { destination: Some(destination), weight, headers });
    }
    Ok(problem)
}

fn condition(m: &HttpRouteMatch) -> Result<HttpMatch, Problem> {
    let path = m.path.as_ref();
    let value = path.and_then(|p| p.value.as_deref()).unwrap_or("/");
    let uri = match path.and_then(|p| p.r#type.as_deref()).unwrap_or("PathPrefix") {
        // A slash at the end says nothing.
        "PathPrefix" if value != "/" => prefix(value.strip_suffix('/').unwrap_or(value)),
        "PathPrefix" => prefix(value),
        "Exact" => exact(value),
        "RegularExpression" => regex(value),
        other => return Err(unknown("path", other)),
    };
    Ok(HttpMatch {
        uri: Some(uri),
        headers: named("headers", &m.headers)?,
        query_params: named("queryParams", &m.query_params)?,
        method: m.method.as_deref().map(exact),
        ..HttpMatch::default()
    })
}

/// Headers or query parameters; of several with one name the last counts.
pub(super) fn named(field: &str, list: &[NamedMatch]) -> Result<BTreeMap<String, StringMatch>, Problem> {
    let one = |m: &NamedMatch| match m.r#type.as_deref().unwrap_or("Exact") {
        "Exact" => Ok((m.name.clone(), exact(&m.value))),
        "RegularExpression" => Ok((m.name.clone(), regex(&m.value))),
        other => Err(unknown(field, other)),
    };
    list.iter().map(one).collect()
}

fn unknown(field: &str, kind: &str) -> Problem {
    Problem::new("InvalidConfiguration", format!("matches: {field} of type {kind:?} is not supported"))
}

pub(super) fn exact(text: &str) -> StringMatch {
    StringMatch { exact: Some(text.to_owned()), ..StringMatch::default() }
}

pub(super) fn prefix(text: &str) -> StringMatch {
    StringMatch { prefix: Some(text.to_owned()), ..StringMatch::default() }
}

pub(super) fn regex(text: &str) -> StringMatch {
    StringMatch { regex: Some(text.to_owned()), ..StringMatch::default() }
}
