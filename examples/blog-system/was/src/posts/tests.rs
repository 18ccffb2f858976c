use super::{PostInput, TITLE_MAX};

fn input(json: &str) -> PostInput {
    serde_json::from_str(json).unwrap()
}

#[test]
fn white_space_around_values_is_removed() {
    let post = input(r#"{"title":" A ","content":"two\nlines\n","author":"me"}"#).validate().unwrap();
    assert_eq!((post.title.as_str(), post.content.as_str()), ("A", "two\nlines"));
}

#[test]
fn every_wrong_member_is_reported_at_once() {
    let errors = input(r#"{"title":"   ","content":"a\u0000b"}"#).validate().unwrap_err();
    assert_eq!(errors.iter().map(|error| error.field).collect::<Vec<_>>(), ["title", "content", "author"]);
}

#[test]
fn length_counts_characters_not_bytes() {
    let of = |length: usize| {
        input(&format!(r#"{{"title":"{}","content":"c","author":"a"}}"#, "돛".repeat(length))).validate()
    };
    assert!(of(TITLE_MAX).is_ok());
    assert_eq!(of(TITLE_MAX + 1).unwrap_err()[0].message, "must have at most 200 characters");
}

#[test]
fn an_unknown_member_is_an_error() {
    let error = serde_json::from_str::<PostInput>(r#"{"titel":"x"}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `titel`"), "{error}");
}
