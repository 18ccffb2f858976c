use super::*;

#[test]
fn a_seed_says_everything() {
    let (first, again) = (subjects(7, 3, 4), subjects(7, 3, 4));
    let objects = |all: &[Subject]| all.iter().flat_map(|s| s.objects.clone()).collect::<Vec<_>>();
    assert_eq!(objects(&first), objects(&again));
    assert_ne!(objects(&first), objects(&subjects(8, 3, 4)));
    assert!(first.iter().all(|s| s.cases.len() == 4));
}

#[test]
fn one_subject_does_not_depend_on_how_many_there_are() {
    let (few, many) = (subjects(7, 1, 2), subjects(7, 5, 2));
    assert_eq!(few.first().map(|s| &s.objects), many.first().map(|s| &s.objects));
}

#[test]
fn all_kinds_of_rules_are_drawn() {
    let text = serde_json::to_string(&subjects(1, 200, 0).into_iter().flat_map(|s| s.objects).collect::<Vec<_>>());
    let text = text.unwrap_or_default();
    for kind in [
        "redirect",
        "directResponse",
        "delegate",
        "rewrite",
        "retries",
        "timeout",
        "fault",
        "corsPolicy",
        "mirror",
        "withoutHeaders",
        "queryParams",
        "ignoreUriCase",
        "consistentHash",
        "derivePort",
        "uriRegexRewrite",
    ] {
        assert!(text.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

#[test]
fn what_is_drawn_is_valid() {
    for object in subjects(3, 300, 0).into_iter().flat_map(|s| s.objects) {
        let raw = varka_api::RawObject::from_value(object.clone());
        let errors = raw.map(|raw| varka_api::validate::validate(&raw).errors).unwrap_or_default();
        assert!(errors.is_empty(), "{errors:?}: {object}");
    }
}
