//! Reviews: kinds that are created, answered and not stored. TokenReview, SubjectAccessReview and its variants, SelfSubjectReview.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::access::{self, Action};
use super::{ISSUER, User};
use crate::object::{self, list_at, str_at};
use crate::server::Inner;
use crate::status::Status;

/// A kind that can only be created.
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    /// Name in the table of types.
    pub(crate) fields: &'static str,
    pub(crate) namespaced: bool,
}

/// All of them.
pub(crate) const REVIEWS: &[Review] = &[
    Review {
        group: AUTHENTICATION,
        plural: "tokenreviews",
        kind: "TokenReview",
        fields: "authentication.v1.TokenReview",
        namespaced: false,
    },
    Review {
        group: AUTHENTICATION,
        plural: "selfsubjectreviews",
        kind: "SelfSubjectReview",
        fields: "authentication.v1.SelfSubjectReview",
        namespaced: false,
    },
    Review {
        group: AUTHORIZATION,
        plural: "subjectaccessreviews",
        kind: "SubjectAccessReview",
        fields: "authorization.v1.SubjectAccessReview",
        namespaced: false,
    },
    Review {
        group: AUTHORIZATION,
        plural: "selfsubjectaccessreviews",
        kind: "SelfSubjectAccessReview",
        fields: "authorization.v1.SelfSubjectAccessReview",
        namespaced: false,
    },
    Review {
        group: AUTHORIZATION,
        plural: "localsubjectaccessreviews",
        kind: "LocalSubjectAccessReview",
        fields: "authorization.v1.LocalSubjectAccessReview",
        namespaced: true,
    },
    Review {
        group: AUTHORIZATION,
        plural: "selfsubjectrulesreviews",
        kind: "SelfSubjectRulesReview",
        fields: "authorization.v1.SelfSubjectRulesReview",
        namespaced: false,
    },
];

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// The review served at that path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    REVIEWS.iter().find(|r| r.group == group && r.plural == plural && version == "v1")
}

/// Answers a review: the object with its status filled in.
pub(crate) fn answer(
    server: &Inner,
    user: &User,
    review: &Review,
    namespace: &str,
    mut object: Value,
) -> Result<Value, Status> {
    let status = match review.plural {
        "tokenreviews" => token(server, &object),
        "selfsubjectreviews" => json!({"userInfo": user.info()}),
        "selfsubjectaccessreviews" => access_status(server, user, &object, namespace),
        "selfsubjectrulesreviews" => rules(user),
        _ => {
            let name = str_at(&object, &["spec", "user"]);
            let groups =
                list_at(&object, &["spec", "groups"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            access_status(server, &User::named(name, groups), &object, namespace)
        }
    };
    object::set(&mut object, "status", status);
    object::set(&mut object, "apiVersion", json!(format!("{}/v1", review.group)));
    object::set(&mut object, "kind", json!(review.kind));
    object::set_metadata(&mut object, "creationTimestamp", Some(Value::Null));
    Ok(object::in_order(object))
}

fn token(server: &Inner, object: &Value) -> Value {
    let mut audiences: Vec<String> =
        list_at(object, &["spec", "audiences"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    match server.tokens.check(str_at(object, &["spec", "token"]), &audiences, &server.store, Timestamp::now()) {
        Some((user, audiences)) => json!({"authenticated": true, "user": user.info(), "audiences": audiences}),
        None => {
            json!({"authenticated": false, "error": "the token is expired, revoked, not from this server, or for other audiences"})
        }
    }
}

fn access_status(server: &Inner, user: &User, object: &Value, namespace: &str) -> Value {
    let attributes = object::at(object, &["spec", "resourceAttributes"]);
    let allowed = match attributes {
        Some(a) => {
            let asked = str_at(a, &["namespace"]);
            let action = Action {
                verb: str_at(a, &["verb"]),
                group: str_at(a, &["group"]),
                resource: str_at(a, &["resource"]),
                subresource: str_at(a, &["subresource"]),
                namespace: if asked.is_empty() { namespace } else { asked },
                name: str_at(a, &["name"]),
            };
            access::allows(&server.store, user, action)
        }
        None => user.is_master() || str_at(object, &["spec", "nonResourceAttributes", "verb"]) == "get",
    };
    json!({"allowed": allowed})
}

fn rules(user: &User) -> Value {
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let read = json!({"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]});
    let rule = if user.is_master() { all } else { read };
    json!({"resourceRules": [rule], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}], "incomplete": !user.is_master()})
}
