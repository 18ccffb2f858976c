//! One stream of a proxy, in either variant of the protocol.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use varka_engine::ir::{ResourceType, Str};
use varka_proto::envoy::core;
use varka_proto::envoy::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use varka_proto::protobuf::Any;

use super::watches::{Push, Variant, Watches};
use super::{Peer, Session, Source, Versioned};
use crate::{Node, codec};

/// A variant of the protocol.
pub(super) trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const VARIANT: Variant;

    fn node(request: &mut Self::Request) -> Option<core::Node>;
    fn request<S: Session>(watches: &mut Watches, request: Self::Request, session: &mut S) -> Result<(), Status>;
    fn response(push: Push) -> Self::Response;
}

/// Changes only.
pub(super) struct Delta;

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const VARIANT: Variant = Variant::Delta;

    fn node(request: &mut DeltaDiscoveryRequest) -> Option<core::Node> {
        request.node.take()
    }

    fn request<S: Session>(
        watches: &mut Watches,
        request: DeltaDiscoveryRequest,
        session: &mut S,
    ) -> Result<(), Status> {
        watches.delta(request, session)
    }

    fn response(push: Push) -> DeltaDiscoveryResponse {
        let url = codec::type_url(push.kind);
        let is_virtual_host = push.kind == ResourceType::VirtualHost;
        // These are known by aliases: what was asked for.
        let has_aliases = matches!(push.kind, ResourceType::VirtualHost | ResourceType::Workload);
        let aliases = |name: &Str| if has_aliases { vec![name.to_string()] } else { Vec::new() };
        let resource = |Versioned { name, version, body }: Versioned| Resource {
            aliases: aliases(&name),
            name: name.to_string(),
            version: version.to_string(),
            resource: Some(Any { type_url: url.to_owned(), value: body.into() }),
            ..Default::default()
        };
        let mut resources: Vec<Resource> = push.resources.into_iter().map(resource).collect();
        let mut removed: Vec<String> = push.removed.iter().map(ToString::to_string).collect();
        if is_virtual_host {
            // That there is none is said by a resource without content.
            let nothing =
                |name: &Str| Resource { name: name.to_string(), aliases: aliases(name), ..Default::default() };
            resources.extend(push.absent.iter().map(nothing));
        } else {
            removed.extend(push.absent.iter().map(ToString::to_string));
        }
        DeltaDiscoveryResponse {
            system_version_info: push.version.to_string(),
            resources,
            type_url: url.to_owned(),
            removed_resources: removed,
            nonce: push.nonce,
            ..Default::default()
        }
    }
}

/// Everything of a type each time, where it is subscribed to as a whole.
pub(super) struct StateOfTheWorld;

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const VARIANT: Variant = Variant::StateOfTheWorld;

    fn node(request: &mut DiscoveryRequest) -> Option<core::Node> {
        request.node.take()
    }

    fn request<S: Session>(watches: &mut Watches, request: DiscoveryRequest, session: &mut S) -> Result<(), Status> {
        watches.state_of_the_world(request, session)
    }

    fn response(push: Push) -> DiscoveryResponse {
        let url = codec::type_url(push.kind);
        let resource = |resource: Versioned| Any { type_url: url.to_owned(), value: resource.body.into() };
        DiscoveryResponse {
            version_info: push.version.to_string(),
            resources: push.resources.into_iter().map(resource).collect(),
            type_url: url.to_owned(),
            nonce: push.nonce,
            ..Default::default()
        }
    }
}

/// Serves a stream to its end; says why where the end is ours.
pub(super) async fn serve<P: Protocol, S: Source>(
    source: Arc<S>,
    peer: Peer,
    requests: Streaming<P::Request>,
    responses: mpsc::Sender<Result<P::Response, Status>>,
) {
    if let Err(status) = converse::<P, S>(&source, peer, requests, &responses).await {
        // The proxy may be gone already.
        let _ = responses.send(Err(status)).await;
    }
}

async fn converse<P: Protocol, S: Source>(
    source: &S,
    peer: Peer,
    mut requests: Streaming<P::Request>,
    responses: &mpsc::Sender<Result<P::Response, Status>>,
) -> Result<(), Status> {
    let Some(mut first) = requests.next().await.transpose()? else { return Ok(()) };
    let node = P::node(&mut first)
        .ok_or_else(|| Status::invalid_argument("the first request of a stream must say which node sends it"))?;
    let mut session = source.connect(Node::decode(node), peer).await?;
    let mut watches = Watches::new(P::VARIANT);
    P::request(&mut watches, first, &mut session)?;
    loop {
        while let Some(push) = watches.next(&mut session) {
            if responses.send(Ok(P::response(push))).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            request = requests.next() => match request {
                Some(request) => P::request(&mut watches, request?, &mut session)?,
                None => return Ok(()),
            },
            changed = session.changed() => {
                changed?;
                watches.changed();
            }
            () = responses.closed() => return Ok(()),
        }
    }
}
