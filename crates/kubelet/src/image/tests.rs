use proptest::prelude::*;

use super::*;

fn container(command: &[&str], args: &[&str]) -> Container {
    let list = |words: &[&str]| (!words.is_empty()).then(|| words.iter().map(ToString::to_string).collect());
    Container { command: list(command), args: list(args), ..Container::default() }
}

fn object(directory: &Path, images: serde_json::Value) -> DynamicObject {
    let mut object =
        DynamicObject::new("images", &local_runtime()).data(serde_json::json!({"spec": {"images": images}}));
    let annotations = [(DIRECTORY_ANNOTATION.to_owned(), directory.display().to_string())];
    object.metadata.annotations = Some(annotations.into_iter().collect());
    object
}

#[test]
fn names_match_with_and_without_tag_and_registry() {
    for (pattern, reference, expected) in [
        ("nginx", "nginx", true),
        ("nginx", "nginx:1.27", true),
        ("nginx", "docker.io/library/nginx:latest", true),
        ("nginx:1.27", "nginx:1.26", false),
        ("nginx:1.*", "nginx:1.26", true),
        ("nginx", "nginxinc/nginx", false),
        ("registry:5000/a/*", "registry:5000/a/b:1", true),
        ("registry:5000/a/b", "registry:5000/a/b@sha256:12", true),
        ("*/was", "example.org/was:2", true),
        ("*/was", "example.org/was-two", false),
    ] {
        assert_eq!(matches(pattern, reference), expected, "{pattern} {reference}");
    }
}

#[test]
fn command_and_args_follow_the_rule_of_images() {
    let image = Image { entrypoint: vec!["e".into()], cmd: vec!["c".into()], ..Image::default() };
    let line = |command: &[&str], args: &[&str]| image.command_line(&container(command, args)).join(" ");
    assert_eq!(line(&[], &[]), "e c");
    assert_eq!(line(&[], &["a"]), "e a");
    assert_eq!(line(&["k"], &[]), "k");
    assert_eq!(line(&["k"], &["a"]), "k a");
}

#[test]
fn curl_takes_options_and_commands() {
    let image = resolve("curlimages/curl:8.9.1", &[]).unwrap();
    assert_eq!(image.command_line(&container(&[], &["-s", "http://x"])), ["curl", "-s", "http://x"]);
    assert_eq!(image.command_line(&container(&[], &["curl", "http://x"])), ["curl", "http://x"]);
    assert_eq!(image.command_line(&container(&[], &["sh"])), ["sh"]);
}

#[test]
fn an_unknown_image_says_what_to_add() {
    let error = resolve("example.org/team/app:3", &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("kind: LocalRuntime") && text.contains("- image: example.org/team/app\n"), "{text}");
}

#[test]
fn an_object_comes_before_the_table_and_its_paths_start_from_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("run");
    std::fs::write(&program, "").unwrap();
    let images = serde_json::json!([{"image": "nginx", "entrypoint": ["./run", "x"], "workingDir": "site", "stopSignal": "SIGINT"}]);
    let image = resolve("nginx:1", &[object(directory.path(), images)]).unwrap();
    assert_eq!(image.entrypoint, [program.display().to_string(), "x".into()]);
    assert_eq!(image.working_dir, directory.path().join("site"));
    assert_eq!(image.stop_signal.as_deref(), Some("SIGINT"));
    assert!(image.binds.iter().any(|b| b.source == directory.path() && b.read_only));
}

#[test]
fn a_missing_program_names_its_build() {
    let directory = tempfile::tempdir().unwrap();
    let images =
        serde_json::json!([{"image": "was", "entrypoint": ["bin/was"], "build": {"command": ["make", "was"]}}]);
    let text = resolve("was", &[object(directory.path(), images)]).unwrap_err().to_string();
    assert!(text.contains("bin/was, which is not there; build it: cd ") && text.ends_with("make was"), "{text}");
}

#[test]
fn a_bad_object_is_named_and_hides_no_good_one() {
    let mut bad = object(Path::new("/"), serde_json::json!([{"imag": "x"}]));
    bad.metadata.name = Some("a-bad".into());
    let good = object(Path::new("/"), serde_json::json!([{"image": "app", "entrypoint": ["true"]}]));
    assert_eq!(resolve("app", &[bad.clone(), good]).unwrap().entrypoint, ["true"]);
    assert!(matches!(resolve("app", &[bad]), Err(ImageError::BadObject { object, .. }) if object == "a-bad"));
}

proptest! {
    #[test]
    fn patterns_agree_with_the_naive_matcher(pattern in "[ab*]{0,6}", text in "[ab]{0,6}") {
        fn naive(p: &[u8], t: &[u8]) -> bool {
            match p.split_first() {
                None => t.is_empty(),
                Some((b'*', rest)) => (0..=t.len()).any(|n| naive(rest, &t[n..])),
                Some((c, rest)) => t.split_first().is_some_and(|(d, t)| c == d && naive(rest, t)),
            }
        }
        prop_assert_eq!(fits(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
    }
}
