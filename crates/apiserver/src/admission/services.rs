//! Addresses and node ports of Services: handed out once, kept as long as the Service lives, the same after a restart.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::Error;
use crate::object::{self, list_at, str_at};
use crate::status::{FieldError, Status};
use crate::store::Store;
use crate::verbs::Call;

/// Kubernetes' default range of node ports.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30000..=32767;

/// What has been handed out.
pub(crate) struct Addresses {
    network: u32,
    /// Number of addresses, network and broadcast included.
    size: u32,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    addresses: BTreeSet<u32>,
    ports: BTreeSet<u64>,
}

impl Addresses {
    /// The range, less what the stored Services have.
    pub(crate) fn new((network, prefix): (Ipv4Addr, u8), store: &Store) -> Result<Self, Error> {
        if !(8..=28).contains(&prefix) {
            return Err(Error::ServiceRange(network, prefix));
        }
        let size = 1u32 << (32 - u32::from(prefix));
        let base = u32::from(network) & !(size - 1);
        let mut used = Used::default();
        // The first belongs to the API server; the tenth is where cluster DNS is expected.
        used.addresses.extend([base + 1, base + 10]);
        let (_, services) = store.list("services", None);
        for service in services {
            used.addresses.extend(address(&service.value).map(u32::from));
            used.ports.extend(ports(&service.value));
        }
        Ok(Self { network: base, size, used: Mutex::new(used) })
    }

    /// The API server's own.
    pub(crate) fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        (1..self.size - 1).contains(&u32::from(address).wrapping_sub(self.network))
    }

    fn take_any(&self) -> Option<Ipv4Addr> {
        let mut used = self.lock();
        // A random start keeps an address from being reused at once, while clients may still hold it.
        let start = rand::random_range(1..self.size - 1);
        let found = (0..self.size - 2)
            .map(|i| self.network + 1 + (start - 1 + i) % (self.size - 2))
            .find(|a| !used.addresses.contains(a))?;
        used.addresses.insert(found);
        Some(found.into())
    }

    fn take_port(&self) -> Option<u64> {
        let mut used = self.lock();
        let found = NODE_PORTS.into_iter().find(|p| !used.ports.contains(p))?;
        used.ports.insert(found);
        Some(found)
    }
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    str_at(service, &["spec", "clusterIP"]).parse().ok()
}

fn ports(service: &Value) -> impl Iterator<Item = u64> {
    list_at(service, &["spec", "ports"]).iter().filter_map(|p| p.get("nodePort")?.as_u64()).filter(|p| *p != 0)
}

/// Gives a Service what it lacks and reserves what it asks for.
pub(crate) fn allocate(call: &Call, old: Option<&Value>, new: &mut Value) -> Result<(), Status> {
    let pool = &call.server.addresses;
    let kind = str_at(new, &["spec", "type"]).to_owned();
    let before = old.map(|o| str_at(o, &["spec", "clusterIP"]).to_owned()).unwrap_or_default();
    let asked = str_at(new, &["spec", "clusterIP"]).to_owned();
    let refuse = |field: &str, value: Value, why: &str, name: &str| {
        Err(Status::invalid("", "Service", name, &[FieldError::invalid(field, value, why)]))
    };
    let name = object::name(new).to_owned();
    if kind == "ExternalName" {
        if let Some(spec) = object::map_at(new, &["spec"]) {
            spec.shift_remove("clusterIP");
            spec.shift_remove("clusterIPs");
        }
        return Ok(());
    }
    let chosen = match (asked.as_str(), before.as_str()) {
        ("None", _) => "None".to_owned(),
        ("", "") => match pool.take_any() {
            Some(address) => address.to_string(),
            None => {
                return Err(Status::new(
                    500,
                    "InternalError",
                    "no address is left in the range for Services; use a larger one",
                ));
            }
        },
        ("", before) => before.to_owned(),
        (asked, before) if asked == before => asked.to_owned(),
        (_, before) if !before.is_empty() => {
            return refuse("spec.clusterIP", json!(asked), "may not change once set", &name);
        }
        (asked, _) => {
            let Ok(address) = asked.parse::<Ipv4Addr>() else {
                return refuse("spec.clusterIP", json!(asked), "must be empty, 'None', or a valid IPv4 address", &name);
            };
            // The tenth address is reserved for whoever asks for it: cluster DNS.
            let free = pool.contains(address)
                && (pool.lock().addresses.insert(address.into()) || address == Ipv4Addr::from(pool.network + 10));
            if !free {
                return refuse(
                    "spec.clusterIP",
                    json!(asked),
                    "the address is outside the range for Services or already taken",
                    &name,
                );
            }
            asked.to_owned()
        }
    };
    if let Some(spec) = object::map_at(new, &["spec"]) {
        spec.insert("clusterIP".to_owned(), json!(chosen));
        spec.insert("clusterIPs".to_owned(), json!([chosen]));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        allocate_ports(pool, old, new, &name)?;
    }
    Ok(())
}

fn allocate_ports(pool: &Addresses, old: Option<&Value>, new: &mut Value, name: &str) -> Result<(), Status> {
    let held: Vec<u64> = old.map(|o| ports(o).collect()).unwrap_or_default();
    let by_port = |port: &Value| -> Option<u64> {
        let same = |p: &&Value| p.get("port") == port.get("port") && p.get("protocol") == port.get("protocol");
        list_at(old?, &["spec", "ports"]).iter().find(same)?.get("nodePort")?.as_u64()
    };
    let list = object::map_at(new, &["spec"]).and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut);
    for port in list.into_iter().flatten() {
        match port.get("nodePort").and_then(Value::as_u64).filter(|p| *p != 0) {
            Some(wanted) if held.contains(&wanted) => {}
            Some(wanted) => {
                if !NODE_PORTS.contains(&wanted) || !pool.lock().ports.insert(wanted) {
                    let error = FieldError::invalid(
                        "spec.ports.nodePort",
                        wanted,
                        "the port is outside 30000-32767 or already taken",
                    );
                    return Err(Status::invalid("", "Service", name, &[error]));
                }
            }
            None => {
                if let Some(free) = by_port(port).or_else(|| pool.take_port()) {
                    object::set(port, "nodePort", json!(free));
                }
            }
        }
    }
    Ok(())
}

/// Gives back what a Service had.
pub(crate) fn release(call: &Call, service: &Value) {
    let mut used = call.server.addresses.lock();
    if let Some(address) = address(service) {
        used.addresses.remove(&address.into());
    }
    for port in ports(service) {
        used.ports.remove(&port);
    }
}

/// Gives back what a Service had and no longer has.
pub(crate) fn replaced(call: &Call, old: &Value, new: &Value) {
    let mut used = call.server.addresses.lock();
    if address(old) != address(new)
        && let Some(address) = address(old)
    {
        used.addresses.remove(&address.into());
    }
    let kept: Vec<u64> = ports(new).collect();
    for port in ports(old).filter(|p| !kept.contains(p)) {
        used.ports.remove(&port);
    }
}
