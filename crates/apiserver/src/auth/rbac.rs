//! What roles grant: Roles and ClusterRoles, to whom RoleBindings and ClusterRoleBindings give them.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>
//!
//! Grants come on top of what an account may anyway ([`super::access`]). Nobody gives himself more than he has: the objects of RBAC are
//! changed only by who may do everything where they lie. Aggregated ClusterRoles have the rules that stand in them, and no others.

use serde_json::Value;

use super::User;
use super::access::Action;
use crate::object::{self, list_at, str_at};
use crate::store::{Key, Store};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether some role that the user has grants that.
pub(crate) fn grants(store: &Store, user: &User, action: Action<'_>) -> bool {
    let everywhere = bound(store, user, "clusterrolebindings", None);
    let here = (!action.namespace.is_empty()).then(|| bound(store, user, "rolebindings", Some(action.namespace)));
    everywhere.iter().chain(here.iter().flatten()).any(|rules| rules.iter().any(|rule| covers(rule, action)))
}

/// The rules of every binding of a kind that names the user.
fn bound(store: &Store, user: &User, kind: &str, namespace: Option<&str>) -> Vec<Vec<Value>> {
    let (_, bindings) = store.list(&format!("{kind}.{GROUP}"), namespace);
    let named = bindings.iter().filter(|binding| {
        list_at(&binding.value, &["subjects"])
            .iter()
            .any(|subject| is(user, subject, object::namespace(&binding.value)))
    });
    let rules = named.filter_map(|binding| {
        let role = str_at(&binding.value, &["roleRef", "name"]);
        let key = match str_at(&binding.value, &["roleRef", "kind"]) {
            "ClusterRole" => Key::new(&format!("clusterroles.{GROUP}"), "", role),
            "Role" => Key::new(&format!("roles.{GROUP}"), namespace?, role),
            _ => return None,
        };
        Some(list_at(&store.get(&key)?.value, &["rules"]).to_vec())
    });
    rules.collect()
}

/// Whether a subject means the user. A service account without a namespace is of the binding's own.
fn is(user: &User, subject: &Value, own: &str) -> bool {
    let name = str_at(subject, &["name"]);
    match str_at(subject, &["kind"]) {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let namespace = match str_at(subject, &["namespace"]) {
                "" => own,
                namespace => namespace,
            };
            user.account.as_ref().is_some_and(|(ns, account)| ns == namespace && account == name)
        }
        _ => false,
    }
}

fn covers(rule: &Value, action: Action<'_>) -> bool {
    let has = |list: &str, wanted: &str| list_at(rule, &[list]).iter().any(|v| v == "*" || v == wanted);
    let star = |list: &str| list_at(rule, &[list]).iter().any(|v| v == "*");
    let reads = matches!(action.verb, "get" | "list" | "watch");
    if action.group == GROUP && !reads && !(star("verbs") && star("apiGroups") && star("resources")) {
        return false;
    }
    let names = list_at(rule, &["resourceNames"]);
    has("verbs", action.verb)
        && has("apiGroups", action.group)
        && list_at(rule, &["resources"]).iter().filter_map(Value::as_str).any(|r| is_resource(r, action))
        && (names.is_empty() || names.iter().any(|name| name == action.name))
}

/// `*` is everything, `pods` is not its subresources, `*/scale` is that of every resource.
fn is_resource(named: &str, action: Action<'_>) -> bool {
    match named.split_once('/') {
        _ if named == "*" => true,
        None => action.subresource.is_empty() && named == action.resource,
        Some((resource, subresource)) => {
            (resource == "*" || resource == action.resource) && subresource == action.subresource
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Expect;

    async fn put(store: &Store, resource: &str, namespace: &str, name: &str, mut value: Value) {
        object::set(&mut value, "metadata", json!({"name": name, "namespace": namespace}));
        let key = Key::new(&format!("{resource}.{GROUP}"), namespace, name);
        store.put(key, Expect::Absent, value).await.unwrap();
    }

    fn action<'a>(verb: &'a str, group: &'a str, path: &'a str, namespace: &'a str, name: &'a str) -> Action<'a> {
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        Action { verb, group, resource, subresource, namespace, name }
    }

    #[tokio::test]
    async fn a_binding_gives_its_role_to_its_subjects_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let rules = json!({"rules": [
            {"verbs": ["get", "patch"], "apiGroups": ["networking.istio.io"], "resources": ["virtualservices"]},
            {"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["one"]},
            {"verbs": ["update"], "apiGroups": ["apps"], "resources": ["*/scale"]},
            {"verbs": ["*"], "apiGroups": [GROUP], "resources": ["*"]},
        ]});
        put(&store, "roles", "shop", "editor", rules).await;
        let subjects = json!([{"kind": "ServiceAccount", "name": "robot"}, {"kind": "User", "name": "bob"}, {"kind": "Group", "name": "staff"}]);
        put(
            &store,
            "rolebindings",
            "shop",
            "b",
            json!({"subjects": subjects, "roleRef": {"kind": "Role", "name": "editor"}}),
        )
        .await;
        let robot = User::named("system:serviceaccount:shop:robot", Vec::new());
        let other = User::named("system:serviceaccount:blog:robot", Vec::new());
        let (bob, staff) = (User::named("bob", Vec::new()), User::named("eve", vec!["staff".to_owned()]));
        let patch = action("patch", "networking.istio.io", "virtualservices", "shop", "v");
        for user in [&robot, &bob, &staff] {
            assert!(grants(&store, user, patch), "{user:?}");
        }
        assert!(!grants(&store, &other, patch));
        for (refused, why) in [
            (Action { namespace: "blog", ..patch }, "elsewhere"),
            (Action { verb: "create", ..patch }, "another verb"),
            (Action { subresource: "status", ..patch }, "a subresource"),
            (action("delete", "", "pods", "shop", "two"), "another name"),
            (action("create", GROUP, "rolebindings", "shop", "more"), "rights of one's own"),
        ] {
            assert!(!grants(&store, &robot, refused), "{why}");
        }
        assert!(grants(&store, &robot, action("delete", "", "pods", "shop", "one")));
        assert!(grants(&store, &robot, action("update", "apps", "deployments/scale", "shop", "d")));
        assert!(grants(&store, &robot, action("list", GROUP, "roles", "shop", "")));
    }

    #[tokio::test]
    async fn who_may_do_everything_gives_rights_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let all = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        put(&store, "clusterroles", "", "all", all).await;
        let of = |name: &str| json!({"subjects": [{"kind": "User", "name": name}], "roleRef": {"kind": "ClusterRole", "name": "all"}});
        put(&store, "clusterrolebindings", "", "b", of("root")).await;
        put(&store, "rolebindings", "shop", "b", of("bob")).await;
        let (root, bob) = (User::named("root", Vec::new()), User::named("bob", Vec::new()));
        let bind = |namespace| action("create", GROUP, "rolebindings", namespace, "x");
        assert!(grants(&store, &root, bind("blog")) && grants(&store, &bob, bind("shop")));
        assert!(!grants(&store, &bob, bind("blog")));
        assert!(!grants(&store, &bob, action("create", GROUP, "clusterrolebindings", "", "x")));
        assert!(grants(&store, &root, action("get", "", "namespaces", "", "")));
    }
}
