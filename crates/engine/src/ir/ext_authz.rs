//! Authorization by a service that is asked (`envoy.filters.http.ext_authz`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MetadataMatch, Str, StringMatch};

/// `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtAuthz {
    /// Who is asked.
    pub service: AuthzService,
    /// Request headers that are sent along, beside those that always are. Empty: over gRPC all, over HTTP no others.
    pub allowed_headers: Vec<StringMatch>,
    /// `failure_mode_allow`: when nobody answers the request passes.
    pub failure_mode_allow: bool,
    /// Status when nobody answers, 403 by default.
    pub status_on_error: u16,
    /// The request's body is sent along.
    pub with_request_body: Option<AuthzBody>,
    /// Only requests about which an earlier filter noted this are asked about; `None`: all.
    pub enabled_metadata: Option<MetadataMatch>,
}

/// How the service is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AuthzService {
    /// By an HTTP request like the client's.
    Http(AuthzHttp),
    /// By `envoy.service.auth.v3.Authorization/Check`.
    Grpc(AuthzGrpc),
}

/// `HttpService`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthzHttp {
    /// `http://HOST`: required, and never used.
    pub uri: Str,
    /// Where to.
    pub cluster: Str,
    /// Limit of one check.
    pub timeout: Duration,
    /// Put in front of the path.
    pub path_prefix: Str,
    /// Headers that are added to the check, by lower-case name.
    pub headers_to_add: Vec<(Str, Str)>,
    /// Headers of an answer that allows, for the application.
    pub upstream_headers: Vec<StringMatch>,
    /// Headers of an answer that denies, for the client; empty: all.
    pub client_headers: Vec<StringMatch>,
    /// Headers of an answer that allows, for the client.
    pub client_headers_on_success: Vec<StringMatch>,
}

/// `EnvoyGrpc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthzGrpc {
    /// Where to.
    pub cluster: Str,
    /// `:authority`; empty: the cluster's name.
    pub authority: Str,
    /// Limit of one check.
    pub timeout: Duration,
}

/// `BufferSettings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthzBody {
    /// Most of it that is sent along.
    pub max_request_bytes: u32,
    /// A longer one is cut; else it is answered with 413.
    pub allow_partial: bool,
    /// As bytes, and not as text (gRPC).
    pub as_bytes: bool,
}
