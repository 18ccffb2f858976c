use super::{Config, ConfigError};

fn read(values: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_lookup(|name| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn defaults_fill_what_is_not_secret() {
    let config = read(&[("DATABASE_USER", "u"), ("DATABASE_PASSWORD", "p")]).ok().unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(
        (config.database_host.as_str(), config.database_port, config.database_name.as_str()),
        ("mysql", 3306, "blog")
    );
}

#[test]
fn missing_and_malformed_variables_are_named() {
    assert_eq!(read(&[("DATABASE_USER", "u")]).err(), Some(ConfigError::Missing("DATABASE_PASSWORD")));
    assert_eq!(
        read(&[("DATABASE_USER", ""), ("DATABASE_PASSWORD", "p")]).err(),
        Some(ConfigError::Missing("DATABASE_USER"))
    );
    for (name, value, expected) in
        [("DATABASE_PORT", "many", "a port number"), ("SQLCOMMENTER", "yes", "true or false")]
    {
        let error = read(&[("DATABASE_USER", "u"), ("DATABASE_PASSWORD", "p"), (name, value)]).err().unwrap();
        assert_eq!(error.to_string(), format!("environment variable {name} must be {expected}"));
    }
}
