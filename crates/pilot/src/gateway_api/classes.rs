//! GatewayClasses: which Gateways are ours.

use varka_api::Object;
use varka_api::kube::GatewayClass;

use super::conditions::{self, Condition};
use crate::snapshot::Stores;

/// `controllerName` of the classes whose Gateways are served, and of the statuses that are written.
pub const CONTROLLER: &str = "istio.io/gateway-controller";
/// `controllerName` of the classes whose Gateways are served elsewhere.
const REMOTE: &str = "istio.io/unmanaged-gateway";

/// What is done with Gateways of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Listeners are opened.
    Served,
    /// They are another cluster's: known, and not served here.
    Remote,
}

/// `None`: the class is nobody's, or another controller's.
pub(super) fn class(stores: &Stores, name: &str) -> Option<Class> {
    let controller = match stores.gateway_classes.get("", name) {
        Some(class) => class.spec.controller_name.as_str(),
        // These two need no object.
        None if name == "istio" => CONTROLLER,
        None if name == "istio-remote" => REMOTE,
        None => return None,
    };
    match controller {
        CONTROLLER => Some(Class::Served),
        REMOTE => Some(Class::Remote),
        _ => None,
    }
}

/// Status of a class of ours.
pub(super) fn status(object: &Object<GatewayClass>) -> Option<serde_json::Value> {
    if ![CONTROLLER, REMOTE].contains(&object.spec.controller_name.as_str()) {
        return None;
    }
    let accepted = Condition::holds("Accepted", "Accepted", "Gateways of this class are served by the control plane");
    Some(
        serde_json::json!({"conditions": conditions::list(vec![accepted], object.metadata.generation, &object.status)}),
    )
}
