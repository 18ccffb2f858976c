//! From the Host of a request to a virtual host.
//!
//! Exact domains first, then the longest `*suffix`, then the longest `prefix*`, then `*`; letter case is ignored, and the port
//! of the request too where the table says so. A wildcard stands for at least one character.
//!
//! Of a table whose virtual hosts are asked for one by one only an exact domain, or the answer about this very authority,
//! decides: behind a wildcard there may be a virtual host with a longer one that nobody has asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::ir::{RouteConfiguration, Str, VirtualHost};
use crate::recency::LastUse;
use crate::trace::Trace;

#[cfg(test)]
mod tests;

/// A route configuration with its domains indexed. Built once for each configuration that arrives, shared by all requests.
#[derive(Debug, Clone)]
pub struct RouteIndex {
    config: Arc<RouteConfiguration>,
    /// What came of asking, where virtual hosts are asked for.
    answers: Answers,
    /// Virtual hosts of the answers, numbered on after those of the table.
    asked: Vec<Arc<VirtualHost>>,
    /// Authorities that were asked for; `None`: there is no virtual host, and what the table itself has applies.
    answered: HashMap<Str, (Option<usize>, LastUse)>,
    exact: HashMap<Str, usize>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<usize>,
}

/// What the control plane has said about authorities of one table, in lower case.
pub type Answers = HashMap<Str, Answer>;

/// What it has said about one.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// `None`: there is no virtual host.
    pub host: Option<Arc<VirtualHost>>,
    /// Noted whenever the answer decides.
    pub last_use: LastUse,
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
        Self::with_answers(config, Answers::new())
    }

    /// Indexes a configuration together with what was asked for.
    pub fn with_answers(config: Arc<RouteConfiguration>, answers: Answers) -> Self {
        let mut index = Self {
            asked: Vec::new(),
            answered: HashMap::with_capacity(answers.len()),
            answers: Answers::new(),
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
        for (authority, answer) in &answers {
            let at = answer.host.as_ref().map(|host| index.insert_asked(host));
            index.answered.insert(Arc::clone(authority), (at, answer.last_use.clone()));
        }
        index.answers = answers;
        index
    }

    /// Adds a virtual host that was asked for. Its wildcards speak only for the authorities that it was the answer to.
    fn insert_asked(&mut self, host: &Arc<VirtualHost>) -> usize {
        let at = self.config.virtual_hosts.len() + self.asked.len();
        for domain in host.domains.iter().filter(|domain| !domain.contains('*')) {
            self.exact.entry(domain.to_ascii_lowercase().into()).or_insert(at);
        }
        self.asked.push(Arc::clone(host));
        at
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

    /// What came of asking.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// What has to be asked for before this authority's virtual host is known: `ROUTE/AUTHORITY`.
    pub fn unasked(&self, authority: &str) -> Option<Str> {
        if !self.config.on_demand {
            return None;
        }
        let host = self.normal(authority);
        let known = self.exact.contains_key(&*host) || self.answered.contains_key(&*host);
        (!known).then(|| format!("{}/{host}", self.config.name).into())
    }

    /// The virtual host for a request's authority.
    pub fn find(&self, authority: &str, trace: &mut Trace) -> Option<&VirtualHost> {
        let found = self.position(authority);
        let virtual_host = found.and_then(|at| self.virtual_host(at));
        trace.note(|| match virtual_host {
            Some(v) => format!("Host {authority}: virtual host {} of route table {}", v.name, self.config.name),
            None => format!("Host {authority} matches no virtual host of route table {}", self.config.name),
        });
        virtual_host
    }

    fn virtual_host(&self, at: usize) -> Option<&VirtualHost> {
        let own = &self.config.virtual_hosts;
        own.get(at).or_else(|| self.asked.get(at.checked_sub(own.len())?).map(Arc::as_ref))
    }

    fn position(&self, authority: &str) -> Option<usize> {
        let on_demand = self.config.on_demand;
        if !on_demand && self.exact.is_empty() && self.suffixes.0.is_empty() && self.prefixes.0.is_empty() {
            return self.any;
        }
        let host = self.normal(authority);
        if let Some(at) = self.exact.get(&*host) {
            return Some(*at);
        }
        if on_demand {
            let (at, last_use) = self.answered.get(&*host)?;
            last_use.note();
            if at.is_some() {
                return *at;
            }
        }
        self.suffixes
            .find(&host, |h, n| h.get(h.len().checked_sub(n)?..))
            .or_else(|| self.prefixes.find(&host, |h, n| h.get(..n)))
            .or(self.any)
    }

    /// An authority as domains are compared with it.
    fn normal<'a>(&self, authority: &'a str) -> Cow<'a, str> {
        lower_case(if self.config.ignore_port_in_host { without_port(authority) } else { authority })
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
