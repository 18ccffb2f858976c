//! `EnvoyFilter`, `WasmPlugin` and `TrafficExtension`: what is put into a proxy from outside.
//!
//! The types serve validation, so that whoever writes such an object is told what is wrong with it. Nothing here is executed.

use std::collections::BTreeMap;

use super::{PolicySelector, TargetRef, WorkloadMode, WorkloadSelector};

kinds! {
    EnvoyFilter: "networking.istio.io" "EnvoyFilter",
    WasmPlugin: "extensions.istio.io" "WasmPlugin",
    TrafficExtension: "extensions.istio.io" "TrafficExtension",
}

messages! {
    /// `networking.istio.io EnvoyFilter`.
    EnvoyFilter {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        workload_selector: Option<WorkloadSelector>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Patches, applied in order.
        config_patches: Vec<ConfigPatch>,
        /// Order among filters.
        priority: i32,
    }
    /// A patch and where it applies.
    ConfigPatch {
        /// What is patched.
        apply_to: ApplyTo,
        /// Which of them; absent: all.
        r#match: Option<PatchMatch>,
        /// The patch.
        patch: Option<Patch>,
    }
    /// Which objects are patched. At most one of the last four is given.
    PatchMatch {
        /// Side of the proxy.
        context: PatchContext,
        /// Which proxies.
        proxy: Option<ProxyMatch>,
        /// Which listeners.
        listener: Option<ListenerMatch>,
        /// Which route configurations.
        route_configuration: Option<RouteConfigurationMatch>,
        /// Which clusters.
        cluster: Option<ClusterMatch>,
        /// Which parts of a waypoint.
        waypoint: Option<WaypointMatch>,
    }
    /// Which proxies.
    ProxyMatch {
        /// Regular expression of the version.
        proxy_version: String,
        /// Node metadata, all equal.
        metadata: BTreeMap<String, String>,
    }
    /// Which listeners.
    ListenerMatch {
        /// Name.
        name: String,
        /// Port.
        port_number: u32,
        /// Name of the port.
        port_name: String,
        /// Which filter chain.
        filter_chain: Option<FilterChainMatch>,
        /// Name of a listener filter.
        listener_filter: String,
    }
    /// Which filter chains.
    FilterChainMatch {
        /// Name.
        name: String,
        /// Server name.
        sni: String,
        /// Transport protocol.
        transport_protocol: String,
        /// Application protocols, with commas between.
        application_protocols: String,
        /// Port.
        destination_port: u32,
        /// Which network filter.
        filter: Option<FilterMatch>,
    }
    /// Which network filter.
    FilterMatch {
        /// Name.
        name: String,
        /// Which HTTP filter in it.
        sub_filter: Option<NameMatch>,
    }
    /// By name alone.
    NameMatch {
        /// Name.
        name: String,
    }
    /// Which route configurations.
    RouteConfigurationMatch {
        /// Name.
        name: String,
        /// Port.
        port_number: u32,
        /// Name of the port.
        port_name: String,
        /// `namespace/name` of a Gateway.
        gateway: String,
        /// Which virtual hosts.
        vhost: Option<VirtualHostMatch>,
    }
    /// Which virtual hosts.
    VirtualHostMatch {
        /// Name.
        name: String,
        /// Domain.
        domain_name: String,
        /// Which routes.
        route: Option<PatchedRouteMatch>,
    }
    /// Which routes.
    PatchedRouteMatch {
        /// Name.
        name: String,
        /// What they do.
        action: RouteActionMatch,
    }
    /// Which clusters.
    ClusterMatch {
        /// Name.
        name: String,
        /// Host of the service.
        service: String,
        /// Subset.
        subset: String,
        /// Port.
        port_number: u32,
    }
    /// Which parts of a waypoint.
    WaypointMatch {
        /// Which filter.
        filter: Option<FilterMatch>,
        /// Port.
        port_number: Option<u32>,
        /// Which route.
        route: Option<NameMatch>,
    }
    /// What is done.
    Patch {
        /// How.
        operation: PatchOperation,
        /// With what, in Envoy's own terms.
        value: Option<serde_json::Value>,
        /// Where among Istio's filters.
        filter_class: FilterClass,
    }
    /// `extensions.istio.io WasmPlugin`.
    WasmPlugin {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// What it is attached to (one, older form).
        target_ref: Option<TargetRef>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Where in the chain.
        phase: PluginPhase,
        /// Order within a phase.
        priority: Option<i32>,
        /// Traffic that it sees.
        r#match: Vec<TrafficSelector>,
        /// Where it is fetched: `http`, `https`, `oci`, `file`, or no scheme for `oci`.
        url: String,
        /// Checksum, 64 hexadecimal digits.
        sha256: String,
        /// When it is fetched.
        image_pull_policy: ImagePullPolicy,
        /// Secret of the registry.
        image_pull_secret: Option<String>,
        /// Key that signed it.
        verification_key: String,
        /// Settings of its own.
        plugin_config: Option<serde_json::Value>,
        /// Name.
        plugin_name: Option<String>,
        /// When it fails.
        fail_strategy: FailStrategy,
        /// Environment.
        vm_config: Option<VmConfig>,
        /// Kind of filter.
        r#type: PluginType,
    }
    /// `extensions.istio.io TrafficExtension`.
    TrafficExtension {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Where in the chain.
        phase: ExtensionPhase,
        /// Order within a phase.
        priority: Option<i32>,
        /// Traffic that it sees.
        r#match: Vec<TrafficSelector>,
        /// A WebAssembly module.
        wasm: Option<WasmModule>,
        /// Or a Lua script.
        lua: Option<LuaScript>,
    }
    /// A Lua script.
    LuaScript {
        /// The script.
        inline_code: String,
    }
    /// A WebAssembly module and its settings.
    WasmModule {
        /// Where it is fetched: `http`, `https`, `oci`, `file`, or no scheme for `oci`.
        url: String,
        /// Checksum, 64 hexadecimal digits.
        sha256: String,
        /// When it is fetched.
        image_pull_policy: ImagePullPolicy,
        /// Secret of the registry.
        image_pull_secret: Option<String>,
        /// Key that signed it.
        verification_key: String,
        /// Settings of its own.
        plugin_config: Option<serde_json::Value>,
        /// Name.
        plugin_name: Option<String>,
        /// When it fails.
        fail_strategy: FailStrategy,
        /// Environment.
        vm_config: Option<VmConfig>,
        /// Kind of filter.
        r#type: PluginType,
    }
    /// Environment of a module.
    VmConfig {
        /// Variables.
        env: Vec<VmVariable>,
    }
    /// A variable.
    VmVariable {
        /// Name.
        name: String,
        /// Where its value is from.
        value_from: VmVariableSource,
        /// Value.
        value: Option<String>,
    }
    /// Traffic that an extension sees.
    TrafficSelector {
        /// Side.
        mode: WorkloadMode,
        /// Ports; empty: all.
        ports: Vec<TrafficPort>,
    }
    /// A port.
    TrafficPort {
        /// Number.
        number: Option<u32>,
    }
}

enumerations! {
    /// What a patch is for.
    ApplyTo {
        /// Nothing.
        #[default]
        Invalid,
        /// Listeners.
        Listener,
        /// Filter chains.
        FilterChain,
        /// Network filters.
        NetworkFilter,
        /// HTTP filters.
        HttpFilter,
        /// Route configurations.
        RouteConfiguration,
        /// Virtual hosts.
        VirtualHost,
        /// Routes.
        HttpRoute,
        /// Clusters.
        Cluster,
        /// Extensions.
        ExtensionConfig,
        /// The bootstrap.
        Bootstrap,
        /// Listener filters.
        ListenerFilter,
    }
    /// Side of a proxy.
    PatchContext {
        /// Every one.
        #[default]
        Any,
        /// Inbound of sidecars.
        SidecarInbound,
        /// Outbound of sidecars.
        SidecarOutbound,
        /// Gateways.
        Gateway,
        /// Waypoints.
        Waypoint,
    }
    /// What a route does.
    RouteActionMatch {
        /// Anything.
        #[default]
        Any,
        /// It forwards.
        Route,
        /// It redirects.
        Redirect,
        /// It answers.
        DirectResponse,
    }
    /// How something is patched.
    PatchOperation {
        /// Not at all.
        #[default]
        Invalid,
        /// Merged.
        Merge,
        /// Added.
        Add,
        /// Removed.
        Remove,
        /// Put in front of the one that matches.
        InsertBefore,
        /// Put behind it.
        InsertAfter,
        /// Put first.
        InsertFirst,
        /// Put in its place.
        Replace,
        /// Merged, lists replaced.
        MergeAndReplaceList,
    }
    /// Where among Istio's filters.
    FilterClass {
        /// By the operation.
        #[default]
        Unspecified,
        /// Behind authentication.
        Authn,
        /// Behind authorization.
        Authz,
        /// Before statistics.
        Stats,
    }
    /// Where in the chain a WasmPlugin is.
    PluginPhase {
        /// At its end.
        #[default]
        UnspecifiedPhase,
        /// Before authentication.
        Authn,
        /// Before authorization.
        Authz,
        /// Before statistics.
        Stats,
    }
    /// Where in the chain a TrafficExtension is.
    ExtensionPhase {
        /// At its end.
        #[default]
        Unspecified,
        /// Before authentication.
        Authn,
        /// Before authorization.
        Authz,
        /// Before statistics.
        Stats,
    }
    /// When a module is fetched.
    ImagePullPolicy {
        /// By its tag.
        #[default]
        UnspecifiedPolicy,
        /// Once.
        #[serde(rename = "IfNotPresent")]
        IfNotPresent,
        /// Each time.
        #[serde(rename = "Always")]
        Always,
    }
    /// What happens to traffic when a module fails.
    FailStrategy {
        /// It is refused.
        #[default]
        FailClose,
        /// It passes.
        FailOpen,
        /// It is refused while the module is loaded anew.
        FailReload,
    }
    /// Kind of filter.
    PluginType {
        /// As `HTTP`.
        #[default]
        UnspecifiedPluginType,
        /// HTTP filter.
        Http,
        /// Network filter.
        Network,
    }
    /// Where a variable's value is from.
    VmVariableSource {
        /// It is given.
        #[default]
        Inline,
        /// The proxy's environment.
        Host,
    }
}
