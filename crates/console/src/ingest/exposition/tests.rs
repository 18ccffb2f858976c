use proptest::prelude::*;

use super::{Line, labels, lines};

fn of(series: &str) -> Option<Vec<(String, String)>> {
    Some(labels(series)?.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn samples_are_told_from_comments_and_from_what_is_none() {
    let text = "# HELP a b\n# TYPE a counter\na 1\n\nb{x=\"} 7\",y=\"\\\"\"} +Inf 1395066363000\n c{} NaN \nd\ne x\nf 1 2 3\n{\"g\"} 1";
    let mut wrong = 0;
    let found: Vec<_> = lines(text, &mut wrong).collect();
    assert_eq!(found.len(), 4);
    assert_eq!(found[0], Line { series: "a", value: 1.0, at: None });
    assert_eq!(found[1], Line { series: "b{x=\"} 7\",y=\"\\\"\"}", value: f64::INFINITY, at: Some(1_395_066_363_000) });
    assert!(found[2].series == "c{}" && found[2].value.is_nan());
    assert_eq!(of(found[3].series), None);
    assert_eq!(wrong, 3);
}

#[test]
fn labels_are_read_with_their_escapes() {
    assert_eq!(of("a"), pairs(&[("__name__", "a")]));
    assert_eq!(of("a{}"), pairs(&[("__name__", "a")]));
    assert_eq!(
        of(r#"a { b = "c,d" , e="f\\g\"h\ni\q", }"#),
        pairs(&[("__name__", "a"), ("b", "c,d"), ("e", "f\\g\"h\ni\\q")])
    );
    for wrong in ["", "1a", "a{b}", "a{b=c}", "a{b=\"c}", "a{b=\"c\"d=\"e\"}", "a{=\"c\"}", "a{b=\"c\""] {
        assert_eq!(of(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in ".{0,200}") {
        let mut wrong = 0;
        for line in lines(&text, &mut wrong) {
            labels(line.series);
        }
    }

    #[test]
    fn what_is_written_is_read(value in ".{0,20}", number in any::<f64>()) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let text = format!("m{{l=\"{escaped}\"}} {number:?}");
        // Other ends of lines are ends of lines in this format, too.
        prop_assume!(text.lines().count() == 1);
        let mut wrong = 0;
        let found: Vec<_> = lines(&text, &mut wrong).collect();
        prop_assert_eq!(found.len(), 1);
        let same = found[0].value.to_bits() == number.to_bits() || found[0].value.is_nan() && number.is_nan();
        prop_assert!(same);
        prop_assert_eq!(of(found[0].series), Some(vec![("__name__".to_owned(), "m".to_owned()), ("l".to_owned(), value)]));
    }
}
