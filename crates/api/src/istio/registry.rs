//! `ServiceEntry`, `WorkloadEntry` and `Sidecar`: what is in the registry and what a proxy sees of it.

use std::collections::BTreeMap;

use super::{ConnectionPool, Destination, Labels, OutboundTrafficPolicyMode, ServerPort, ServerTls};

kinds! {
    ServiceEntry: "networking.istio.io" "ServiceEntry",
    WorkloadEntry: "networking.istio.io" "WorkloadEntry",
    WorkloadGroup: "networking.istio.io" "WorkloadGroup",
    Sidecar: "networking.istio.io" "Sidecar",
}

messages! {
    /// `networking.istio.io ServiceEntry`.
    ServiceEntry {
        /// Names.
        hosts: Vec<String>,
        /// Addresses or CIDRs that stand for it.
        addresses: Vec<String>,
        /// Ports.
        ports: Vec<ServicePort>,
        /// Inside or outside the mesh.
        location: Location,
        /// How endpoints are found.
        resolution: Resolution,
        /// Endpoints.
        endpoints: Vec<WorkloadEntry>,
        /// Or pods and WorkloadEntries by label.
        workload_selector: Option<WorkloadSelector>,
        /// Namespaces that see it.
        export_to: Vec<String>,
        /// SANs of its endpoints.
        subject_alt_names: Vec<String>,
    }
    /// A port of a ServiceEntry.
    ServicePort {
        /// Number.
        number: u32,
        /// Protocol; empty: by name, else detected.
        protocol: String,
        /// Name.
        name: String,
        /// Port of the endpoints; 0: the number.
        target_port: u32,
    }
    /// `networking.istio.io WorkloadEntry`, also inline in a ServiceEntry.
    WorkloadEntry {
        /// Address, host name or `unix://` path.
        address: String,
        /// Ports by the service port's name.
        ports: BTreeMap<String, u32>,
        /// Labels.
        labels: Labels,
        /// Network.
        network: String,
        /// `region/zone/sub-zone`.
        locality: String,
        /// Share.
        weight: u32,
        /// Service account.
        service_account: String,
    }
    /// `networking.istio.io WorkloadGroup`: what the workloads of a group have in common.
    WorkloadGroup {
        /// Labels and annotations of its workloads.
        metadata: Option<GroupMetadata>,
        /// What each WorkloadEntry starts from.
        template: Option<WorkloadEntry>,
        /// How their health is asked.
        probe: Option<ReadinessProbe>,
    }
    /// Labels and annotations.
    GroupMetadata {
        /// Labels.
        labels: Labels,
        /// Annotations.
        annotations: BTreeMap<String, String>,
    }
    /// How health is asked. One of the last four is given.
    ReadinessProbe {
        /// Before the first one.
        initial_delay_seconds: i32,
        /// Limit of one.
        timeout_seconds: i32,
        /// Between them.
        period_seconds: i32,
        /// Successes until it is ready.
        success_threshold: i32,
        /// Failures until it is not.
        failure_threshold: i32,
        /// By HTTP.
        http_get: Option<HttpProbe>,
        /// By a connection.
        tcp_socket: Option<TcpProbe>,
        /// By a command.
        exec: Option<ExecProbe>,
        /// By gRPC's health protocol.
        grpc: Option<GrpcProbe>,
    }
    /// A request.
    HttpProbe {
        /// Path.
        path: String,
        /// Port.
        port: u32,
        /// Host.
        host: String,
        /// `HTTP` or `HTTPS`.
        scheme: String,
        /// Headers.
        http_headers: Vec<ProbeHeader>,
    }
    /// A header.
    ProbeHeader {
        /// Name.
        name: String,
        /// Value.
        value: String,
    }
    /// A connection.
    TcpProbe {
        /// Host.
        host: String,
        /// Port.
        port: u32,
    }
    /// A command.
    ExecProbe {
        /// The program and its arguments.
        command: Vec<String>,
    }
    /// A call.
    GrpcProbe {
        /// Port.
        port: u32,
        /// Service that is asked about.
        service: String,
    }
    /// Labels of workloads.
    WorkloadSelector {
        /// All must be equal.
        labels: Labels,
    }
    /// `networking.istio.io Sidecar`.
    Sidecar {
        /// Workloads that it is for; absent: the namespace, or the mesh in the root namespace.
        workload_selector: Option<WorkloadSelector>,
        /// Inbound listeners instead of those of the services.
        ingress: Vec<IngressListener>,
        /// What is visible.
        egress: Vec<EgressListener>,
        /// Limits towards the application.
        inbound_connection_pool: Option<ConnectionPool>,
        /// Unknown destinations.
        outbound_traffic_policy: Option<SidecarOutboundTrafficPolicy>,
    }
    /// Unknown destinations of a Sidecar.
    SidecarOutboundTrafficPolicy {
        /// Mode.
        mode: OutboundTrafficPolicyMode,
        /// Where they all go.
        egress_proxy: Option<Destination>,
    }
    /// An inbound listener.
    IngressListener {
        /// Port.
        port: Option<ServerPort>,
        /// Address.
        bind: String,
        /// How traffic gets there.
        capture_mode: CaptureMode,
        /// `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT` or `unix://PATH`.
        default_endpoint: String,
        /// TLS of its own.
        tls: Option<ServerTls>,
        /// Limits towards the application.
        connection_pool: Option<ConnectionPool>,
    }
    /// An outbound listener.
    EgressListener {
        /// Port; absent: every port.
        port: Option<ServerPort>,
        /// Address.
        bind: String,
        /// How traffic gets there.
        capture_mode: CaptureMode,
        /// `namespace/host` that are visible.
        hosts: Vec<String>,
    }
}

enumerations! {
    /// Inside or outside the mesh.
    Location {
        /// Outside: no mutual TLS by itself.
        #[default]
        MeshExternal,
        /// Inside.
        MeshInternal,
    }
    /// How endpoints are found.
    Resolution {
        /// The address that the client dialled.
        #[default]
        None,
        /// The endpoints given.
        Static,
        /// DNS, all addresses.
        Dns,
        /// DNS, one address.
        DnsRoundRobin,
        /// DNS of the name that the client asks for.
        DynamicDns,
    }
    /// How traffic gets to a listener.
    CaptureMode {
        /// As the mesh does.
        #[default]
        Default,
        /// Redirection.
        Iptables,
        /// It is dialled.
        None,
    }
}
