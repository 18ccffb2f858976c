//! Recorded connections of real clients and servers: each line is a side and what it sent at once. They were recorded between
//! PyMySQL, MySQL Connector, MariaDB's client and MariaDB 10.11; psycopg, psql and PostgreSQL 15; redis-py and Redis 7.

use std::time::Instant;

use proptest::prelude::*;

use super::{Observer, Reading, Side, System};

fn recording(text: &str) -> Vec<(Side, Vec<u8>)> {
    let line = |line: &str| {
        let (side, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let side = if side == "C" { Side::Client } else { Side::Server };
        (side, (0..hex.len()).step_by(2).map(byte).collect())
    };
    text.lines().map(line).collect()
}

/// What is read of a recording that comes in pieces of at most so many bytes.
fn read(text: &str, pieces: usize) -> (Vec<String>, Reading) {
    let mut observer = Observer::default();
    let mut found = Vec::new();
    let now = Instant::now();
    for (side, bytes) in recording(text) {
        for piece in bytes.chunks(pieces) {
            observer.observe(side, piece, now, &mut |operation| {
                let statement = operation.statement.map(|s| (s.text, s.trace.is_some()));
                let (text, traced) = statement.unwrap_or_default();
                let mut line = format!("{} [{}] {text}", operation.name, operation.database.as_deref().unwrap_or(""));
                if traced {
                    line += " (traced)";
                }
                if let Some(error) = operation.error {
                    line += &format!(" -> {error}");
                }
                found.push(line.trim().to_owned());
            });
        }
    }
    (found, observer.reading())
}

fn check(text: &str, system: System, expected: &[&str]) {
    for pieces in [usize::MAX, 1, 7, 100] {
        let (found, reading) = read(text, pieces);
        assert_eq!(found, expected, "in pieces of {pieces}");
        assert_eq!(reading, Reading::Of(system), "in pieces of {pieces}");
    }
}

const MYSQL_TEXT: &str = include_str!("tests/mysql-text.txt");
const MYSQL_PREPARED: &str = include_str!("tests/mysql-prepared.txt");
const MARIADB_CLIENT: &str = include_str!("tests/mariadb-client.txt");
const MYSQL_TLS: &str = include_str!("tests/mysql-tls.txt");
const POSTGRES_EXTENDED: &str = include_str!("tests/postgres-extended.txt");
const POSTGRES_SIMPLE: &str = include_str!("tests/postgres-simple.txt");
const POSTGRES_TLS: &str = include_str!("tests/postgres-tls.txt");
const REDIS: &str = include_str!("tests/redis.txt");

#[test]
fn queries_of_mysql() {
    check(
        MYSQL_TEXT,
        System::MySql,
        &[
            "SET [blog] SET NAMES utf8mb4",
            "SET [blog] SET AUTOCOMMIT = ?",
            "CREATE [blog] create table posts(id int primary key, title text)",
            "INSERT [blog] insert into posts values (?,?),(?,?)",
            "SELECT [blog] select * from posts where id=? (traced)",
            "SELECT [blog] select * from nothing -> 1146",
            "USE [mysql]",
            "PING [mysql]",
        ],
    );
}

#[test]
fn prepared_statements_and_several_results_of_mysql() {
    check(
        MYSQL_PREPARED,
        System::MySql,
        &[
            "SET [blog] SET NAMES ? COLLATE ?",
            "SET [blog] SET @@session.autocommit = OFF",
            "PING [blog]",
            "PREPARE [blog] select title from posts where id=?",
            "RESET STATEMENT [blog]",
            "SELECT [blog] select title from posts where id=?",
            "RESET STATEMENT [blog]",
            "SELECT [blog] select title from posts where id=?",
            "PING [blog]",
            "SELECT [blog] select ?; select ?; insert into posts values (?,?)",
            "COMMIT [blog] COMMIT",
        ],
    );
}

#[test]
fn commands_of_mysql_that_do_not_wait_for_answers() {
    let (login, commands) = MYSQL_PREPARED.split_at(MYSQL_PREPARED.match_indices("\nC ").nth(1).unwrap().0 + 1);
    let of =
        |side: &'static str| commands.lines().filter(move |line| line.starts_with(side)).collect::<Vec<_>>().join("\n");
    // A driver that closes its statement before it has read the rows.
    let close = "C 050000001901000000\n";
    let ahead = format!("{login}{}\n{close}{}\n", of("C"), of("S"));
    let (expected, _) = read(MYSQL_PREPARED, usize::MAX);
    for pieces in [usize::MAX, 1, 7] {
        assert_eq!(read(&ahead, pieces), (expected.clone(), Reading::Of(System::MySql)), "in pieces of {pieces}");
    }
}

#[test]
fn the_client_of_mariadb() {
    check(
        MARIADB_CLIENT,
        System::MySql,
        &["SELECT [blog] select * from posts", "SELECT [blog] select count(*) from posts"],
    );
}

#[test]
fn a_connection_that_turns_to_tls_is_read_no_further() {
    for pieces in [usize::MAX, 1, 7] {
        assert_eq!(read(MYSQL_TLS, pieces), (vec![], Reading::Hidden(System::MySql)));
        assert_eq!(read(POSTGRES_TLS, pieces), (vec![], Reading::Hidden(System::PostgreSql)));
    }
}

#[test]
fn prepared_statements_and_pipelines_of_postgresql() {
    check(
        POSTGRES_EXTENDED,
        System::PostgreSql,
        &[
            "CREATE [postgres] create table posts(id int, title text)",
            "INSERT [postgres] insert into posts values ($1,$2)",
            "SELECT [postgres] select * from posts where id=$1",
            "SELECT [postgres] select * from nothing -> 42P01",
            "SELECT [postgres] select $1::int",
            "SELECT [postgres] select $1::int",
            "SELECT [postgres] select $1::int",
        ],
    );
}

#[test]
fn queries_of_postgresql() {
    check(POSTGRES_SIMPLE, System::PostgreSql, &["SELECT [postgres] select ?; select ?"]);
}

#[test]
fn commands_of_redis() {
    check(
        REDIS,
        System::Redis,
        &[
            "HELLO []",
            "CLIENT []  -> ERR",
            "CLIENT []  -> ERR",
            "CLIENT []  -> ERR",
            "SET []",
            "GET []",
            "MGET []",
            "HSET []",
            "HGETALL []",
            "LPUSH []  -> WRONGTYPE",
            "MULTI []",
            "INCRBY []",
            "GET []",
            "EXEC []",
        ],
    );
}

#[test]
fn other_protocols_are_none() {
    let now = Instant::now();
    let of = |side, bytes: &[u8]| {
        let mut observer = Observer::default();
        observer.observe(side, bytes, now, &mut |operation| panic!("{operation:?}"));
        observer.reading()
    };
    assert_eq!(of(Side::Client, b"GET / HTTP/1.1\r\n"), Reading::Nothing);
    assert_eq!(of(Side::Client, b"PRI * HTTP/2.0\r\n"), Reading::Nothing);
    assert_eq!(of(Side::Client, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]), Reading::Nothing);
    assert_eq!(of(Side::Server, b"220 mail.example ESMTP\r\n"), Reading::Nothing);
    assert_eq!(of(Side::Server, b"SSH-2.0-OpenSSH"), Reading::Nothing);
    assert_eq!(of(Side::Client, b"*"), Reading::Undecided);
    assert_eq!(of(Side::Client, &[0, 0, 0]), Reading::Undecided);
}

proptest! {
    /// Whatever is changed in a recording, it is read to its end.
    #[test]
    fn no_bytes_are_too_strange(which in 0..8_usize, at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 1..20), pieces in 1..50_usize) {
        let text = [MYSQL_TEXT, MYSQL_PREPARED, MARIADB_CLIENT, MYSQL_TLS, POSTGRES_EXTENDED, POSTGRES_SIMPLE, POSTGRES_TLS, REDIS][which];
        let mut recording = recording(text);
        let changed = at.index(recording.len());
        let bytes = &mut recording[changed].1;
        let from = at.index(bytes.len());
        bytes.splice(from..(from + with.len() / 2).min(bytes.len()), with);
        let mut observer = Observer::default();
        let now = Instant::now();
        for (side, bytes) in recording {
            for piece in bytes.chunks(pieces) {
                observer.observe(side, piece, now, &mut |_| {});
            }
        }
    }
}

#[test]
fn a_peer_s_names_and_codes_are_told_so_far_and_no_further() {
    let mut observer = Observer::default();
    let mut found = Vec::new();
    let startup = |database: &str| {
        let body = format!("user\0me\0database\0{database}\0\0");
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes(), &196_608_u32.to_be_bytes(), body.as_bytes()].concat()
    };
    let packet =
        |kind: u8, body: &[u8]| [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat();
    let code = [b"SERROR\0C".as_slice(), &[0xff; 100], b"\0\0"].concat();
    for (side, bytes) in [
        (Side::Client, startup(&"돛".repeat(200))),
        (Side::Server, [packet(b'R', &[0; 4]), packet(b'Z', b"I")].concat()),
        (Side::Client, packet(b'Q', b"SELECT 1\0")),
        (Side::Server, [packet(b'E', &code), packet(b'Z', b"I")].concat()),
    ] {
        observer.observe(side, &bytes, Instant::now(), &mut |operation| found.push(operation));
    }
    let [operation] = found.as_slice() else { panic!("{found:?} {:?}", observer.reading()) };
    assert_eq!(operation.database.as_deref(), Some(&*"돛".repeat(85)), "whole characters of 256 bytes");
    assert_eq!(operation.error.as_deref(), Some(&*"\u{fffd}".repeat(21)));
}
