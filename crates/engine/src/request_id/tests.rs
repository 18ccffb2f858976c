//! Form and life of request identifiers.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn is_a_version_4_uuid(random: u128) {
        let text = String::from_utf8(uuid(random).to_vec()).unwrap();
        let form = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").unwrap();
        prop_assert!(form.is_match(&text), "{}", text);
        prop_assert_eq!(stable_number(text.as_bytes()), Some((random >> 96) as u64));
    }
}

#[test]
fn a_foreign_identifier_gives_no_number() {
    assert_eq!(stable_number(b"abc"), None);
    assert_eq!(stable_number(b"0123456789"), None);
}
