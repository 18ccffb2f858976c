//! Which namespaces an explanation tells of: whoever may not see one of them is not to be shown it.
//!
//! Pods are noted as the walk comes by them. Objects are named by steps, and in words: these are searched for names of namespaces where
//! words of an explanation have them (`Kind NAMESPACE/NAME`, `spiffe://…/ns/NAMESPACE/`, `ns[NAMESPACE]`, names of hosts). One too many
//! costs an answer, one too few would tell a secret; so that in doubt a word is taken for a namespace.

use std::collections::BTreeSet;

use super::answer::Explanation;
use super::mesh::Mesh;

/// Adds those that steps name.
pub(super) fn complete(explanation: &mut Explanation, mesh: &Mesh) {
    let named = mesh.world.of("", "Namespace");
    let known: BTreeSet<&str> = named.iter().filter_map(|n| n.pointer("/metadata/name")?.as_str()).collect();
    let mut texts: Vec<&str> = vec![&explanation.verdict, &explanation.request.host];
    let mut touched = BTreeSet::new();
    for step in explanation.hops.iter().flat_map(|hop| &hop.steps) {
        texts.extend([step.chosen.as_str(), step.because.as_str()]);
        texts.extend(step.rejected.iter().flat_map(|rejected| [rejected.what.as_str(), rejected.why.as_str()]));
        touched.extend(step.by.as_ref().map(|by| by.namespace.clone()).filter(|namespace| !namespace.is_empty()));
    }
    for text in texts {
        touched.extend(in_text(text, &known).map(str::to_owned));
    }
    explanation.touched.append(&mut touched);
}

/// Names of namespaces in a text.
fn in_text<'t>(text: &'t str, known: &BTreeSet<&str>) -> impl Iterator<Item = &'t str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(move |c: char| !is_part(c)).filter(|word| known.contains(word));
    words.filter(move |word| {
        let start = word.as_ptr().addr() - text.as_ptr().addr();
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(start + word.len()..).unwrap_or_default();
        // `…/NAME` is the name of an object, unless it is `ns/NAMESPACE`.
        let of_identity = before.ends_with("/ns/") || before.ends_with("ns[");
        let of_object = after.starts_with('/') && !before.ends_with('/');
        let of_host = before.ends_with('.');
        let of_words = [" of ", "namespace ", " in "].iter().any(|words| before.ends_with(words));
        of_identity || of_object || of_host || of_words
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        in_text(text, &["blog", "default", "istio-system", "was"].into()).collect()
    }

    #[test]
    fn namespaces_are_found_where_words_have_them() {
        assert_eq!(
            found("denied by AuthorizationPolicy blog/default: rule ns[istio-system]-policy[was]"),
            ["blog", "istio-system"]
        );
        assert_eq!(found("shown is spiffe://cluster.local/ns/blog/sa/default"), ["blog"]);
        assert_eq!(found("outbound|8080||was.blog.svc.cluster.local"), ["blog"]);
        assert_eq!(found("It reaches was-abc of blog over mutual TLS."), ["blog"]);
        assert_eq!(found("no Service is called x in namespace default, and"), ["default"]);
        assert_eq!(found("was answers 403; the default is PERMISSIVE"), Vec::<&str>::new());
    }
}
