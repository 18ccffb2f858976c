//! The names under which the console answers where nobody has to sign in.
//!
//! What only this machine or the cluster reaches is reached by browsers there, too: a page of any site can lead its own name to such an address
//! (DNS rebinding), and then read as its own what the console answers. It cannot choose the name that the browser says, so that a request
//! under a foreign name is refused. An address is nobody's name, and who says no name at all is no browser. Where one signs in, nothing is
//! answered to who has not, and what shows that one has is not sent along under another name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::Refusal;

/// Services that lead to what the console answers, and where they are.
const SERVICES: [&str; 3] = ["kiali", "prometheus", "jaeger-query"];
const NAMESPACE: &str = "istio-system";
/// Of a name that is none of ours so much is told.
const TOLD: usize = 100;

/// The console's own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

/// A text that is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a host: letters, digits, hyphens and dots, without a scheme, a port or a path")]
pub struct NotAName(pub String);

impl Names {
    /// Those of this machine, those of the Services in a cluster of this domain, and others that people use.
    ///
    /// # Errors
    /// One of the others is no name.
    pub fn new(domain: &str, others: &[String]) -> Result<Self, NotAName> {
        let mut names = vec!["localhost".to_owned()];
        for service in SERVICES {
            let short = format!("{service}.{NAMESPACE}");
            let whole = plain(&format!("{short}.svc.{domain}"));
            names.extend([service.to_owned(), format!("{short}.svc"), short, whole]);
        }
        for other in others {
            let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let name = plain(other);
            if name.is_empty() || !name.chars().all(is_of_a_name) {
                return Err(NotAName(other.clone()));
            }
            names.push(name);
        }
        Ok(Self(names))
    }

    /// Whether a host, with or without a port, is the console's.
    fn has(&self, said: &str) -> bool {
        // Who is meant is all that is said in a Host, never who asks.
        let Some(said) = said.parse::<Authority>().ok().filter(|_| !said.contains('@')) else { return false };
        let host = said.host();
        let port = said.as_str().strip_prefix(host).unwrap_or_default();
        if !port.is_empty() && port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_err()) {
            return false;
        }
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match address {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || self.0.contains(&plain(host)),
        }
    }

    /// Whether a request is for the console.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let in_head = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("\u{fffd}"));
        let in_head: Vec<&str> = in_head.collect();
        // That of HTTP/2, and of a request to a proxy.
        let in_uri = request.uri().authority().map(Authority::as_str);
        if in_head.len() > 1 {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "badRequest", "The request has more than one Host.", ""));
        }
        if in_head.is_empty() && in_uri.is_none() && request.version() != Version::HTTP_10 {
            let message = "The request does not say which host is meant, as it must since HTTP/1.1.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "badRequest", message, ""));
        }
        match in_head.into_iter().chain(in_uri).find(|said| !self.has(said)) {
            None => Ok(()),
            Some(said) => {
                let said: String = said.chars().take(TOLD).collect();
                let message = format!(
                    "This console has no name {said:?}: it answers to localhost, to addresses, and to the names of its Services in {NAMESPACE} ({}), \
                     so that no page of another site can read it.",
                    SERVICES.join(", ")
                );
                let hint = "If people reach it under that name, start it with --host NAME; if they are to sign in, with --access token.";
                Err(Refusal::forbidden(StatusCode::MISDIRECTED_REQUEST, message, hint))
            }
        }
    }
}

/// As names are compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The routes, for requests that mean the console.
pub fn guard(names: &Arc<Names>, routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::clone(names), pass))
}

async fn pass(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    match names.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests;
