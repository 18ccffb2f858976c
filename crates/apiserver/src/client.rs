//! A kube client whose requests are calls: no socket, no TLS, no serialising of heads.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::auth::User;
use crate::respond::Body;
use crate::server::{self, Inner};

#[derive(Clone)]
struct InProcess {
    server: Arc<Inner>,
    user: User,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (server, user) = (Arc::clone(&self.server), self.user.clone());
        Box::pin(async move { Ok(server::handle_as(server, user, request).await) })
    }
}

/// A client that acts as a master of that name.
pub(crate) fn new(server: &Arc<Inner>, user: &str) -> kube::Client {
    kube::Client::new(InProcess { server: Arc::clone(server), user: User::master(user) }, "default")
}
