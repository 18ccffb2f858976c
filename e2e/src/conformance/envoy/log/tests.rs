use super::*;

#[test]
fn every_field_of_a_line_is_found() {
    let line = Line::parse(
        r#"[2026-11-22T17:35:17.123Z] "GET /a b HTTP/1.1" 503 URX,UF details - "TLS error" 0 19 7 - "-" "curl/8" "id-1" "was-service" "10.77.0.21:8080" outbound|8080||was 10.77.0.11:36154 10.96.0.10:8080 127.0.0.6:0 - default"#,
    );
    assert_eq!(line.get("path"), Some("/a b"));
    assert_eq!(line.get("local"), Some("10.77.0.11:36154"));
    let compared = line.compared();
    for (name, value) in [
        ("code", "503"),
        ("flags", "URX,UF"),
        ("tfail", "TLS error"),
        ("cluster", "outbound|8080||was"),
        ("route", "default"),
    ] {
        assert_eq!(compared[name], value, "{name}");
    }
}

#[test]
fn a_line_of_a_connection_has_no_request() {
    let line = Line::parse(
        r#"[x] "- - -" 0 NR filter_chain_not_found - "-" 0 0 15 - "-" "-" "-" "-" "-" - - 10.77.0.11:80 10.77.0.50:39216 - -"#,
    );
    assert_eq!((line.get("flags"), line.get("id")), (Some("NR"), Some("-")));
}
