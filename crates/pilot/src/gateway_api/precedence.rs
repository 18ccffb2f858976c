//! Which of several rules for one host comes first: the order that the Gateway API prescribes.

use std::cmp::Reverse;

use varka_api::istio::HttpMatch;

use super::routes::Rule;

/// Exact before prefix before pattern, longer before shorter, with a method before without, more headers, more query
/// parameters; what takes everything last. Rules that are alike stay in the order of their routes.
pub(super) fn sort(rules: &mut [Rule]) {
    rules.sort_by_key(|rule| Reverse(rule.route.r#match.first().map(rank)));
}

fn rank(m: &HttpMatch) -> (u8, usize, bool, usize, usize) {
    let (kind, length) = match m.uri.as_ref().map(|u| (&u.exact, &u.prefix, &u.regex)) {
        Some((Some(exact), _, _)) => (3, exact.len()),
        Some((None, Some(prefix), _)) => (2, prefix.len()),
        Some((None, None, Some(regex))) => (1, regex.len()),
        _ => (0, 0),
    };
    (kind, length, m.method.is_some(), m.headers.len(), m.query_params.len())
}
