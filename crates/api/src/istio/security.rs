//! `PeerAuthentication`, `AuthorizationPolicy`, `RequestAuthentication`.

use std::collections::BTreeMap;

use super::Labels;
use crate::Duration;

kinds! {
    PeerAuthentication: "security.istio.io" "PeerAuthentication",
    AuthorizationPolicy: "security.istio.io" "AuthorizationPolicy",
    RequestAuthentication: "security.istio.io" "RequestAuthentication",
}

messages! {
    /// `type.istio.io WorkloadSelector` of policies.
    PolicySelector {
        /// All must be equal.
        match_labels: Labels,
    }
    /// What a policy is attached to.
    TargetRef {
        /// API group.
        group: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace; empty: the policy's.
        namespace: String,
    }
    /// `security.istio.io PeerAuthentication`.
    PeerAuthentication {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// Mode of all ports.
        mtls: Option<MutualTls>,
        /// Mode by the workload's port; needs a selector.
        port_level_mtls: BTreeMap<String, MutualTls>,
    }
    /// A mode.
    MutualTls {
        /// Mode.
        mode: MutualTlsMode,
    }
    /// `security.istio.io AuthorizationPolicy`.
    AuthorizationPolicy {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// What it is attached to (one, older form).
        target_ref: Option<TargetRef>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Rules, one of which must match; empty: none matches.
        rules: Vec<Rule>,
        /// What a match means.
        action: AuthorizationAction,
        /// Provider of `CUSTOM`.
        provider: Option<ProviderRef>,
    }
    /// An extension provider of the mesh configuration.
    ProviderRef {
        /// Name.
        name: String,
    }
    /// A rule: one source, one operation, every condition. Empty: matches all.
    Rule {
        /// Sources, one of which must match; empty: any.
        from: Vec<From>,
        /// Operations, one of which must match; empty: any.
        to: Vec<To>,
        /// Conditions, all of which must hold.
        when: Vec<Condition>,
    }
    /// Envelope of a source.
    From {
        /// The source.
        source: Option<Source>,
    }
    /// Envelope of an operation.
    To {
        /// The operation.
        operation: Option<Operation>,
    }
    /// Who calls; every field given must match.
    Source {
        /// Peer identities without `spiffe://`.
        principals: Vec<String>,
        /// None of these.
        not_principals: Vec<String>,
        /// `issuer/subject` of the token.
        request_principals: Vec<String>,
        /// None of these.
        not_request_principals: Vec<String>,
        /// Namespaces of the peer identity.
        namespaces: Vec<String>,
        /// None of these.
        not_namespaces: Vec<String>,
        /// Service accounts, `namespace/name` or `name`.
        service_accounts: Vec<String>,
        /// None of these.
        not_service_accounts: Vec<String>,
        /// Addresses of the peer.
        ip_blocks: Vec<String>,
        /// None of these.
        not_ip_blocks: Vec<String>,
        /// Addresses of the client by X-Forwarded-For or PROXY.
        remote_ip_blocks: Vec<String>,
        /// None of these.
        not_remote_ip_blocks: Vec<String>,
        /// Trust domains of the peer identity.
        trust_domains: Vec<String>,
        /// None of these.
        not_trust_domains: Vec<String>,
    }
    /// What is asked for; every field given must match.
    Operation {
        /// Host header, regardless of case, port included.
        hosts: Vec<String>,
        /// None of these.
        not_hosts: Vec<String>,
        /// Ports of the workload.
        ports: Vec<String>,
        /// None of these.
        not_ports: Vec<String>,
        /// Methods.
        methods: Vec<String>,
        /// None of these.
        not_methods: Vec<String>,
        /// Paths: exact, `prefix*`, `*suffix`, or with `{*}` and `{**}`.
        paths: Vec<String>,
        /// None of these.
        not_paths: Vec<String>,
    }
    /// A condition on an attribute.
    Condition {
        /// Attribute.
        key: String,
        /// One of these.
        values: Vec<String>,
        /// None of these.
        not_values: Vec<String>,
    }
    /// `security.istio.io RequestAuthentication`.
    RequestAuthentication {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// What it is attached to (one, older form).
        target_ref: Option<TargetRef>,
        /// What it is attached to.
        target_refs: Vec<TargetRef>,
        /// Accepted tokens.
        jwt_rules: Vec<JwtRule>,
    }
    /// An issuer and where its tokens are found.
    JwtRule {
        /// `iss`.
        issuer: String,
        /// `aud`, one of these; empty: any.
        audiences: Vec<String>,
        /// Where the keys are fetched.
        #[serde(alias = "jwks_uri")]
        jwks_uri: String,
        /// Or the keys themselves.
        jwks: String,
        /// Headers that hold a token.
        from_headers: Vec<JwtHeader>,
        /// Query parameters that hold a token.
        from_params: Vec<String>,
        /// Cookies that hold a token.
        from_cookies: Vec<String>,
        /// Header that gets the payload.
        output_payload_to_header: String,
        /// Keep the token for the application.
        forward_original_token: bool,
        /// Headers that get claims.
        output_claim_to_headers: Vec<ClaimToHeader>,
        /// Of fetching the keys, default 5 s.
        timeout: Option<Duration>,
        /// Claims that are lists separated by spaces.
        space_delimited_claims: Vec<String>,
        /// Whether a request may come without a token.
        presence: JwtPresence,
    }
    /// A header that holds a token.
    JwtHeader {
        /// Name.
        name: String,
        /// What stands in front of the token (`Bearer `).
        prefix: String,
    }
    /// A header that gets a claim.
    ClaimToHeader {
        /// Name.
        header: String,
        /// Claim, dots for nesting.
        claim: String,
    }
}

enumerations! {
    /// Whether peers must show a mesh certificate.
    MutualTlsMode {
        /// Inherited.
        #[default]
        Unset,
        /// Plain text only.
        Disable,
        /// Both.
        Permissive,
        /// Mutual TLS only.
        Strict,
    }
    /// Whether a request may come without a token.
    JwtPresence {
        /// It may.
        #[default]
        Optional,
        /// It must have one.
        Required,
    }
    /// What a match of an AuthorizationPolicy means.
    AuthorizationAction {
        /// Pass.
        #[default]
        Allow,
        /// Refuse.
        Deny,
        /// Note.
        Audit,
        /// Ask the provider.
        Custom,
    }
}
