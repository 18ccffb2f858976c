//! `EnvoyFilter`, `WasmPlugin` and `TrafficExtension`: nothing executes them, but who writes one is told what is wrong with it.

use std::collections::HashSet;

use super::Validation;
use super::common::{selection, selector_labels, targets};
use crate::ObjectMeta;
use crate::istio::{
    ApplyTo, ConfigPatch, EnvoyFilter, FilterMatch, LuaScript, PatchContext, PatchMatch, PatchOperation,
    TrafficExtension, TrafficSelector, VmConfig, VmVariableSource, WasmPlugin,
};

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// A Lua script is at most so long.
const MAX_SCRIPT: usize = 65_536;

/// Rules of `EnvoyFilter`.
pub(super) fn envoy_filter(_: &ObjectMeta, spec: &EnvoyFilter, v: &mut Validation) {
    if let Some(selector) = &spec.workload_selector {
        selector_labels(v, "spec.workloadSelector.labels", &selector.labels);
        if selector.labels.is_empty() {
            v.warn("spec.workloadSelector", "the selector is empty, so it is for every workload of the namespace");
        }
        if !spec.target_refs.is_empty() {
            v.error("spec.targetRefs", "only one of targetRefs or workloadSelector can be set");
        }
    }
    targets(v, "spec.targetRefs", &spec.target_refs);
    for (i, patch) in spec.config_patches.iter().enumerate() {
        config_patch(v, &format!("spec.configPatches[{i}]"), patch);
    }
}

fn config_patch(v: &mut Validation, path: &str, patch: &ConfigPatch) {
    if let Some(m) = &patch.r#match {
        objects(v, &format!("{path}.match"), m);
        if m.context == PatchContext::Waypoint {
            return;
        }
    }
    if patch.apply_to == ApplyTo::Invalid {
        v.error(format!("{path}.applyTo"), "it must say what is patched, such as HTTP_FILTER or CLUSTER");
    }
    match &patch.patch {
        None => v.error(format!("{path}.patch"), "the patch is missing"),
        Some(p) if p.operation == PatchOperation::Invalid => {
            v.error(format!("{path}.patch.operation"), "it must say how, such as MERGE, ADD or INSERT_BEFORE");
        }
        Some(p) if p.operation != PatchOperation::Remove && p.value.is_none() => {
            v.error(format!("{path}.patch.value"), "only REMOVE goes without a value");
        }
        Some(_) => {}
    }
    if let Some(m) = &patch.r#match {
        lines_up(v, &format!("{path}.match"), patch.apply_to, m);
    }
}

/// What a match has by itself: one kind of object, a context that has it.
fn objects(v: &mut Validation, path: &str, m: &PatchMatch) {
    let given = [m.listener.is_some(), m.route_configuration.is_some(), m.cluster.is_some(), m.waypoint.is_some()];
    if given.iter().filter(|g| **g).count() > 1 {
        v.error(path, "only one of listener, routeConfiguration, cluster and waypoint can be set");
    }
    if m.waypoint.is_some() != (m.context == PatchContext::Waypoint) {
        v.error(path, "a waypoint match goes with context WAYPOINT, and with no other");
    }
    if let Some(number) = m.waypoint.as_ref().and_then(|w| w.port_number) {
        super::common::port(v, &format!("{path}.waypoint.portNumber"), number);
    }
}

/// Whether what is matched is a kind of what is patched.
fn lines_up(v: &mut Validation, path: &str, apply_to: ApplyTo, m: &PatchMatch) {
    let any = m.listener.is_some() || m.route_configuration.is_some() || m.cluster.is_some();
    match apply_to {
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter => {
            if any && m.listener.is_none() {
                v.error(path, "parts of listeners are matched by `listener` only");
            }
        }
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            if any && m.route_configuration.is_none() {
                v.error(path, "parts of route configurations are matched by `routeConfiguration` only");
            }
        }
        ApplyTo::Cluster => {
            if any && m.cluster.is_none() {
                v.error(path, "clusters are matched by `cluster` only");
            }
        }
        ApplyTo::Invalid | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::ListenerFilter => {}
    }
    let chain = m.listener.as_ref().and_then(|l| l.filter_chain.as_ref());
    if let Some(filter) = chain.and_then(|c| c.filter.as_ref()) {
        network_filter(v, &format!("{path}.listener.filterChain.filter"), apply_to, filter);
    }
}

fn network_filter(v: &mut Validation, path: &str, apply_to: ApplyTo, filter: &FilterMatch) {
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
        v.warn(path, "a filter match has no effect where listeners or filter chains are patched");
    }
    if filter.name.is_empty() {
        v.error(format!("{path}.name"), "a filter is matched by its name, which is missing");
        return;
    }
    let Some(sub) = &filter.sub_filter else { return };
    if apply_to != ApplyTo::HttpFilter {
        v.error(format!("{path}.subFilter"), "a subFilter goes with applyTo HTTP_FILTER only");
    } else if filter.name != CONNECTION_MANAGER && filter.name != "envoy.http_connection_manager" {
        v.error(format!("{path}.name"), format!("a subFilter is within {CONNECTION_MANAGER}"));
    } else if sub.name.is_empty() {
        v.error(format!("{path}.subFilter.name"), "a filter is matched by its name, which is missing");
    }
}

/// Rules of `WasmPlugin`.
pub(super) fn wasm_plugin(_: &ObjectMeta, spec: &WasmPlugin, v: &mut Validation) {
    selection(v, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    let module = Module {
        url: &spec.url,
        sha256: &spec.sha256,
        secret: spec.image_pull_secret.as_deref(),
        name: spec.plugin_name.as_deref(),
        vm: spec.vm_config.as_ref(),
    };
    module.check(v, "spec");
    traffic(v, &spec.r#match);
}

/// Rules of `TrafficExtension`.
pub(super) fn traffic_extension(_: &ObjectMeta, spec: &TrafficExtension, v: &mut Validation) {
    selection(v, spec.selector.as_ref(), None, &spec.target_refs);
    if spec.wasm.is_some() == spec.lua.is_some() {
        v.error("spec", "exactly one of wasm or lua must be set");
    }
    if let Some(LuaScript { inline_code }) = &spec.lua {
        if inline_code.is_empty() {
            v.error("spec.lua.inlineCode", "the script is empty");
        } else if inline_code.len() > MAX_SCRIPT {
            v.error("spec.lua.inlineCode", format!("a script has at most {MAX_SCRIPT} bytes"));
        }
    }
    if let Some(wasm) = &spec.wasm {
        let module = Module {
            url: &wasm.url,
            sha256: &wasm.sha256,
            secret: wasm.image_pull_secret.as_deref(),
            name: wasm.plugin_name.as_deref(),
            vm: wasm.vm_config.as_ref(),
        };
        module.check(v, "spec.wasm");
    }
    traffic(v, &spec.r#match);
}

/// What both kinds say of a WebAssembly module.
struct Module<'a> {
    url: &'a str,
    sha256: &'a str,
    secret: Option<&'a str>,
    name: Option<&'a str>,
    vm: Option<&'a VmConfig>,
}

impl Module<'_> {
    fn check(&self, v: &mut Validation, path: &str) {
        if self.url.is_empty() {
            v.error(format!("{path}.url"), "the module's URL is missing");
        } else if let Err(reason) = location(self.url) {
            v.error_with_fix(
                format!("{path}.url"),
                format!("`{}` {reason}", self.url),
                "Write http://, https://, oci:// or file:// with a path, or an image's name alone",
            );
        }
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if !self.sha256.is_empty() && (self.sha256.len() != 64 || !self.sha256.chars().all(is_digit)) {
            v.error(format!("{path}.sha256"), "a checksum is 64 hexadecimal digits in lower case");
        }
        for (field, text, most) in [("imagePullSecret", self.secret, 253), ("pluginName", self.name, 256)] {
            if text.is_some_and(|t| t.is_empty() || t.len() > most) {
                v.error(format!("{path}.{field}"), format!("a name has 1 to {most} bytes"));
            }
        }
        let mut names = HashSet::new();
        for (i, variable) in self.vm.iter().flat_map(|vm| &vm.env).enumerate() {
            let path = format!("{path}.vmConfig.env[{i}]");
            if variable.name.is_empty() || variable.name.len() > 256 {
                v.error(format!("{path}.name"), "a name has 1 to 256 bytes");
            } else if !names.insert(&variable.name) {
                v.error(format!("{path}.name"), format!("`{}` is there twice", variable.name));
            }
            if variable.value_from == VmVariableSource::Host && variable.value.is_some() {
                v.error(format!("{path}.value"), "a value goes with valueFrom INLINE only");
            }
        }
    }
}

/// Whether a module can be fetched from there.
fn location(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    if scheme.is_some_and(|s| !["http", "https", "oci", "file"].contains(&s)) {
        return Err("has a scheme that modules are not fetched by".to_owned());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:@[]".contains(c);
    if (scheme != Some("file") && authority.is_empty()) || !authority.chars().all(plain) {
        return Err("names no host".to_owned());
    }
    if rest.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return Err("is not a URL".to_owned());
    }
    Ok(())
}

fn traffic(v: &mut Validation, selectors: &[TrafficSelector]) {
    for (i, selector) in selectors.iter().enumerate() {
        let mut numbers = HashSet::new();
        for (j, port) in selector.ports.iter().enumerate() {
            let path = format!("spec.match[{i}].ports[{j}].number");
            match port.number {
                None => v.error(path, "the port's number is missing"),
                Some(number) if !numbers.insert(number) => v.error(path, format!("port {number} is there twice")),
                Some(number) => super::common::port(v, &path, number),
            }
        }
    }
}
