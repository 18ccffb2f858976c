use super::*;

#[test]
fn what_is_repeated_is_written_out() {
    assert_eq!(repeated("a {{x*3}} {{b}} {{v*0}}."), "a xxx {{b}} .");
}
