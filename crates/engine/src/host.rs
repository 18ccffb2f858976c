//! From the Host of a request to a virtual host.
//!
//! Exact domains first, then the longest `*suffix`, then the longest `prefix*`, then `*`; letter case is ignored, and the port
//! of the request too where the table says so. A wildcard stands for at least one character.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::ir::{RouteConfiguration, Str, VirtualHost};
use crate::trace::Trace;

#[cfg(test)]
mod tests;

/// A route configuration with its domains indexed. Built once for each configuration that arrives, shared by all requests.
#[derive(Debug, Clone)]
pub struct RouteIndex {
    config: Arc<RouteConfiguration>,
    exact: HashMap<Str, usize>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<usize>,
}

/// Wildcard domains by the length of what is fixed, longest first.
#[derive(Debug, Clone, Default)]
struct Wildcards(Vec<(usize, HashMap<Str, usize>)>);

impl Wildcards {
    fn insert(&mut self, fixed: &str, host: usize) {
        let at = self.0.partition_point(|(length, _)| *length > fixed.len());
        if self.0.get(at).is_none_or(|(length, _)| *length != fixed.len()) {
            self.0.insert(at, (fixed.len(), HashMap::new()));
        }
        if let Some((_, names)) = self.0.get_mut(at) {
            names.entry(fixed.into()).or_insert(host);
        }
    }

    fn find<'h>(&self, host: &'h str, part: impl Fn(&'h str, usize) -> Option<&'h str>) -> Option<usize> {
        self.0
            .iter()
            .filter(|(length, _)| *length < host.len())
            .find_map(|(length, names)| names.get(part(host, *length)?).copied())
    }
}

impl RouteIndex {
    /// Indexes a configuration. Of a domain that occurs twice the first virtual host has it.
    pub fn new(config: Arc<RouteConfiguration>) -> Self {
        let mut index = Self {
            exact: HashMap::new(),
            suffixes: Wildcards::default(),
            prefixes: Wildcards::default(),
            any: None,
            config: Arc::clone(&config),
        };
        for (at, virtual_host) in config.virtual_hosts.iter().enumerate() {
            for domain in &virtual_host.domains {
                index.insert(&domain.to_ascii_lowercase(), at);
            }
        }
        index
    }

    fn insert(&mut self, domain: &str, at: usize) {
        if domain == "*" {
            self.any.get_or_insert(at);
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.insert(suffix, at);
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.insert(prefix, at);
        } else {
            self.exact.entry(domain.into()).or_insert(at);
        }
    }

    /// What was indexed.
    pub fn config(&self) -> &Arc<RouteConfiguration> {
        &self.config
    }

    /// The virtual host for a request's authority.
    pub fn find(&self, authority: &str, trace: &mut Trace) -> Option<&VirtualHost> {
        let found = self.position(authority);
        let virtual_host = found.and_then(|at| self.config.virtual_hosts.get(at));
        trace.note(|| match virtual_host {
            Some(v) => format!("Host {authority}: virtual host {} of route table {}", v.name, self.config.name),
            None => format!("Host {authority} matches no virtual host of route table {}", self.config.name),
        });
        virtual_host
    }

    fn position(&self, authority: &str) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.0.is_empty() && self.prefixes.0.is_empty() {
            return self.any;
        }
        let host = if self.config.ignore_port_in_host { without_port(authority) } else { authority };
        let host = lower_case(host);
        self.exact
            .get(&*host)
            .copied()
            .or_else(|| self.suffixes.find(&host, |h, n| h.get(h.len().checked_sub(n)?..)))
            .or_else(|| self.prefixes.find(&host, |h, n| h.get(..n)))
            .or(self.any)
    }
}

/// Copies only where there is something to change.
fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// An authority without its port; the colons of an IPv6 literal in brackets are no port.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.rfind(']').is_none_or(|bracket| bracket < colon) => {
            authority.get(..colon).unwrap_or(authority)
        }
        _ => authority,
    }
}
