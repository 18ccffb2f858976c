use super::*;

const TABLE: &str = "text
<!-- differences: begin -->
| Case | Where | Reason |
|---|---|---|
| `http1/fold`, `http1/fold@inbound` | `status`, `out.details` | it is refused |
<!-- differences: end -->";

fn outcome(case: &str, differences: &[&str]) -> Outcome {
    Outcome {
        case: case.to_owned(),
        differences: differences.iter().map(|d| (*d).to_owned()).collect(),
        broken: None,
        smallest: None,
    }
}

#[test]
fn what_is_listed_must_differ_and_nothing_else() -> Result<()> {
    let known = Known::parse(TABLE)?;
    let both = [".status: wanted 200, got 400", ".out[0].details: wanted a, got b"];
    assert!(known.faults(&[outcome("http1/fold", &both)]).is_empty());
    assert_eq!(known.faults(&[outcome("http1/fold", &both[..1])]).len(), 1, "a listed one is gone");
    assert_eq!(known.faults(&[outcome("http1/other", &both)]).len(), 2, "nothing is listed of it");
    let more = [both[0], both[1], ".out[0].detailsx: wanted 1, got 2"];
    assert_eq!(known.faults(&[outcome("http1/fold@inbound", &more)]).len(), 1, "one is not listed");
    Ok(())
}

#[test]
fn what_may_differ_need_not() -> Result<()> {
    let known = Known::parse(&TABLE.replace("`status`", "`status?`"))?;
    assert!(known.faults(&[outcome("http1/fold", &[".out[0].details: wanted a, got b"])]).is_empty());
    let both = [".status: wanted 200, got 400", ".out[0].details: wanted a, got b"];
    assert!(known.faults(&[outcome("http1/fold", &both)]).is_empty());
    Ok(())
}

#[test]
fn a_case_that_could_not_be_asked_is_a_fault() -> Result<()> {
    let broken = Outcome {
        case: "a/b".to_owned(),
        differences: Vec::new(),
        broken: Some("no answer".to_owned()),
        smallest: None,
    };
    assert_eq!(Known::parse(TABLE)?.faults(&[broken]), ["a/b: no answer"]);
    Ok(())
}

#[test]
fn a_row_without_a_reason_is_refused() {
    assert!(Known::parse(&TABLE.replace(" it is refused ", " ")).is_err());
    assert!(Known::parse("nothing").is_err());
}
