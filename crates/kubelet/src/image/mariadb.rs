//! The entry point of the built-in `mariadb` and `mysql` images: makes the data directory on the first start, as the official image does, and then
//! becomes the server.
//!
//! It runs inside the container as its program. The first start loads the system tables and the wanted accounts in one run of the server that reads
//! statements from its input and has no network, so nobody can connect before the passwords are set. A start that was interrupted is noticed by a
//! marker file and begun again.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The hidden argument that runs this.
pub(crate) const ARGUMENT: &str = "__mariadb";

const DATA: &str = "/var/lib/mysql";
const MARKER: &str = ".varka-first-start";
/// The server's own scripts, in their order.
const SCRIPTS: [&str; 5] = [
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
];

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(
        "the database is not initialised and no root password is given: set MARIADB_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD), or \
         MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1"
    )]
    NoPassword,
    #[error("no {0} on this machine: install the package mariadb-server-core")]
    NoServer(&'static str),
    #[error("MARIADB_USER is given without MARIADB_PASSWORD")]
    NoUserPassword,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the first start failed: the server ended with {0}; its messages are above")]
    Server(std::process::ExitStatus),
}

/// What the first start is to make.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    root_password: String,
    root_host: Option<String>,
    database: Option<String>,
    user: Option<(String, String)>,
}

/// Runs as the container's program; does not return when all is well.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args.collect()) {
        Err(error) => {
            let _ = writeln!(io::stderr(), "mariadb: {error}");
            ExitCode::FAILURE
        }
        Ok(code) => code,
    }
}

fn run(mut args: Vec<OsString>) -> Result<ExitCode, StartError> {
    let first = args.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    if matches!(first.as_str(), "mariadbd" | "mysqld") {
        args.remove(0);
    } else if !first.starts_with('-') && !first.is_empty() {
        // Another program of the image, such as the client.
        let error = Command::new(&first).args(args.get(1..).unwrap_or_default()).exec();
        return Err(StartError::Io { what: format!("starting {first}"), source: error });
    }
    let server = server()?;
    let data = data_directory(&args);
    if let Some(incomplete) = incomplete(&data)? {
        let env: HashMap<String, String> = std::env::vars().collect();
        let wanted = wanted(&env, |path| fs::read_to_string(path))?;
        first_start(&server, &data, incomplete, &wanted)?;
    }
    let error = Command::new(&server)
        .args([
            "--user=root",
            "--bind-address=0.0.0.0",
            "--socket=/run/mysqld/mysqld.sock",
            "--pid-file=/run/mysqld/mysqld.pid",
        ])
        .arg(format!("--datadir={}", data.display()))
        .args(args)
        .exec();
    Err(StartError::Io { what: format!("starting {}", server.display()), source: error })
}

fn server() -> Result<PathBuf, StartError> {
    let known = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld", "/usr/libexec/mariadbd", "/usr/bin/mariadbd"];
    known.iter().map(PathBuf::from).find(|p| p.exists()).ok_or(StartError::NoServer("mariadbd"))
}

fn data_directory(args: &[OsString]) -> PathBuf {
    let given = args.iter().filter_map(|a| a.to_str()).find_map(|a| a.strip_prefix("--datadir="));
    PathBuf::from(given.unwrap_or(DATA))
}

/// Whether the data directory must be made: `Some(true)` when an earlier attempt was interrupted and its remains must go first.
fn incomplete(data: &Path) -> Result<Option<bool>, StartError> {
    fs::create_dir_all(data).map_err(|source| StartError::Io { what: format!("making {}", data.display()), source })?;
    if data.join(MARKER).exists() {
        return Ok(Some(true));
    }
    Ok((!data.join("mysql").is_dir()).then_some(false))
}

fn wanted(env: &HashMap<String, String>, read: impl Fn(&str) -> io::Result<String>) -> Result<Wanted, StartError> {
    let value = |name: &str| -> Result<Option<String>, StartError> {
        for prefix in ["MARIADB_", "MYSQL_"] {
            if let Some(value) = env.get(&format!("{prefix}{name}")).filter(|v| !v.is_empty()) {
                return Ok(Some(value.clone()));
            }
            if let Some(path) = env.get(&format!("{prefix}{name}_FILE")) {
                let text = read(path).map_err(|source| StartError::Io { what: format!("reading {path}"), source })?;
                return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
            }
        }
        Ok(None)
    };
    let empty = value("ALLOW_EMPTY_ROOT_PASSWORD")?.or(value("ALLOW_EMPTY_PASSWORD")?).is_some();
    let random = value("RANDOM_ROOT_PASSWORD")?.is_some();
    let root_password = match value("ROOT_PASSWORD")? {
        Some(password) => password,
        None if random => {
            let password = uuid::Uuid::new_v4().simple().to_string();
            // The official image shows it the same way: there is no other place where it could be read.
            let _ = writeln!(io::stdout(), "GENERATED ROOT PASSWORD: {password}");
            password
        }
        None if empty => String::new(),
        None => return Err(StartError::NoPassword),
    };
    let user = match (value("USER")?, value("PASSWORD")?) {
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => return Err(StartError::NoUserPassword),
        (None, _) => None,
    };
    let root_host = Some(value("ROOT_HOST")?.unwrap_or_else(|| "%".to_owned())).filter(|host| host != "localhost");
    Ok(Wanted { root_password, root_host, database: value("DATABASE")?, user })
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

fn identifier(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// The statements that make the accounts, one a line as the server's bootstrap reads them.
fn statements(wanted: &Wanted) -> String {
    let root = quote(&wanted.root_password);
    let mut lines = vec![
        "FLUSH PRIVILEGES;".to_owned(),
        "DELETE FROM mysql.global_priv WHERE User<>'mariadb.sys' AND NOT (User='root' AND Host='localhost');"
            .to_owned(),
        "FLUSH PRIVILEGES;".to_owned(),
        format!("CREATE OR REPLACE USER 'root'@'localhost' IDENTIFIED BY {root};"),
        "GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION;".to_owned(),
    ];
    if let Some(host) = &wanted.root_host {
        let host = quote(host);
        lines.push(format!("CREATE OR REPLACE USER 'root'@{host} IDENTIFIED BY {root};"));
        lines.push(format!("GRANT ALL ON *.* TO 'root'@{host} WITH GRANT OPTION;"));
    }
    if let Some(database) = &wanted.database {
        lines.push(format!("CREATE DATABASE IF NOT EXISTS {};", identifier(database)));
    }
    if let Some((user, password)) = &wanted.user {
        let user = quote(user);
        lines.push(format!("CREATE OR REPLACE USER {user}@'%' IDENTIFIED BY {};", quote(password)));
        if let Some(database) = &wanted.database {
            // A grant takes its database as a pattern.
            let database = identifier(&database.replace('_', "\\_"));
            lines.push(format!("GRANT ALL ON {database}.* TO {user}@'%';"));
        }
    }
    lines.join("\n") + "\n"
}

fn first_start(server: &Path, data: &Path, remains: bool, wanted: &Wanted) -> Result<(), StartError> {
    let io = |what: String| move |source| StartError::Io { what, source };
    if remains {
        for entry in fs::read_dir(data).map_err(io(format!("reading {}", data.display())))?.flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(io(format!("removing {}", path.display())))?;
        }
    }
    let marker = data.join(MARKER);
    File::create(&marker).map_err(io(format!("writing {}", marker.display())))?;
    let share =
        ["/usr/share/mysql", "/usr/share/mariadb"].map(Path::new).into_iter().find(|p| p.join(SCRIPTS[0]).exists());
    let share = share.ok_or(StartError::NoServer("MariaDB's system tables"))?;
    let mut child = Command::new(server)
        .args([
            "--no-defaults",
            "--bootstrap",
            "--user=root",
            "--skip-networking",
            "--skip-log-bin",
            "--log-warnings=0",
        ])
        .args([
            "--max-allowed-packet=8M",
            "--net-buffer-length=16K",
            "--innodb-flush-log-at-trx-commit=0",
            "--enforce-storage-engine=",
        ])
        .arg(format!("--datadir={}", data.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(io(format!("starting {}", server.display())))?;
    if let Some(mut input) = child.stdin.take() {
        feed(&mut input, share, wanted).map_err(io("loading the system tables".to_owned()))?;
    }
    let status = child.wait().map_err(io("waiting for the first start".to_owned()))?;
    if !status.success() {
        return Err(StartError::Server(status));
    }
    fs::remove_file(&marker).map_err(io(format!("removing {}", marker.display())))
}

fn feed(input: &mut impl Write, share: &Path, wanted: &Wanted) -> io::Result<()> {
    input.write_all(b"CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n")?;
    for script in SCRIPTS {
        input.write_all(&fs::read(share.join(script))?)?;
        input.write_all(b"\n")?;
    }
    input.write_all(statements(wanted).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn no_file(_: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn both_spellings_and_files_are_read() {
        let wanted_env = env(&[
            ("MYSQL_ROOT_PASSWORD", "r"),
            ("MARIADB_DATABASE", "blog"),
            ("MYSQL_USER", "u"),
            ("MYSQL_PASSWORD_FILE", "/s"),
        ]);
        let got = wanted(&wanted_env, |p| Ok(format!("from {p}\n"))).unwrap();
        assert_eq!(got.user, Some(("u".into(), "from /s".into())));
        assert_eq!(
            (got.root_password.as_str(), got.database.as_deref(), got.root_host.as_deref()),
            ("r", Some("blog"), Some("%"))
        );
    }

    #[test]
    fn no_password_is_refused_unless_asked_for() {
        assert!(matches!(wanted(&env(&[]), no_file), Err(StartError::NoPassword)));
        assert!(matches!(
            wanted(&env(&[("MYSQL_ROOT_PASSWORD", "x"), ("MYSQL_USER", "u")]), no_file),
            Err(StartError::NoUserPassword)
        ));
        assert_eq!(wanted(&env(&[("MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "1")]), no_file).unwrap().root_password, "");
    }

    #[test]
    fn what_is_given_cannot_end_its_quotes() {
        let wanted = Wanted {
            root_password: "a'b\\".into(),
            root_host: None,
            database: Some("my`db_1".into()),
            user: Some(("o'u".into(), "p".into())),
        };
        let sql = statements(&wanted);
        assert!(sql.contains("IDENTIFIED BY 'a\\'b\\\\';"), "{sql}");
        assert!(sql.contains("CREATE DATABASE IF NOT EXISTS `my``db_1`;"), "{sql}");
        assert!(sql.contains("GRANT ALL ON `my``db\\_1`.* TO 'o\\'u'@'%';"), "{sql}");
    }
}
