//! Which services and VirtualServices can have a say in what one authority means: so few that a virtual host that is asked for
//! costs a glance at the others, and not their domains and routes.
//!
//! It is more than those whose domains the authority matches. Services compete for domains, so whoever competes with one of
//! those for any domain is among them, lest the answer speak for a name that is another's. What is chosen here is only left
//! out: what is kept decides as it does among all.

use std::collections::HashSet;

use varka_engine::host::without_port;
use varka_engine::ir::Str;

use crate::hosts;
use crate::registry::Service;
use crate::snapshot::Prepared;

/// What an authority can mean, by the labels of names and by addresses.
pub(super) struct Asked {
    labels: HashSet<Str>,
    addresses: HashSet<Str>,
}

impl Asked {
    /// Of `services`, those of a port.
    pub(super) fn of<'a>(authority: &str, services: impl Iterator<Item = &'a Service> + Clone) -> Self {
        let authority = without_port(authority).to_ascii_lowercase();
        let address = authority.trim_start_matches('[').trim_end_matches(']');
        let labels = authority.split('.').map(Str::from).collect();
        let mut asked = Self { labels, addresses: HashSet::from([address.into()]) };
        // First those that it can mean, then those that compete with them.
        for _ in 0..2 {
            let found: Vec<&Service> = services.clone().filter(|service| asked.concerns(service)).collect();
            for service in found {
                let names = std::iter::once(&service.host).chain(&service.aliases);
                asked.labels.extend(names.flat_map(|name| name.split('.').map(Str::from)));
                asked.addresses.extend(service.addresses.iter().cloned());
            }
        }
        asked
    }

    /// Every form of a name begins with the name's first label, or with `*.` and that.
    pub(super) fn concerns(&self, service: &Service) -> bool {
        self.names(&service.host)
            || service.aliases.iter().any(|alias| self.names(alias))
            || service.addresses.iter().any(|address| self.addresses.contains(address))
    }

    /// Whether any of its hosts does.
    pub(super) fn concerns_virtual_service(&self, vs: &Prepared) -> bool {
        vs.spec.hosts.iter().any(|host| self.names(host) || self.addresses.contains(host.as_str()))
    }

    fn names(&self, host: &str) -> bool {
        hosts::is_wildcard(host) || host.split('.').next().is_some_and(|first| self.labels.contains(first))
    }
}
