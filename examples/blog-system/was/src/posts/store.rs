//! The posts' table in MySQL or MariaDB, spoken to without TLS: the database stands outside the mesh, next to us.
//!
//! The schema is brought up to date at start. sqlx's own migrations are not used, because MySQL commits DDL at once: a
//! process killed in the middle would leave them "dirty" until a person mends them. Ours can be run again at any point.

use super::{Post, ValidPost};
use crate::config::Config;
use crate::traceparent::TraceParent;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, MySqlConnection, MySqlPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Each entry brings the schema from one version to the next. Every statement may be run twice.
const MIGRATIONS: &[&[&str]] = &[
    &["CREATE TABLE IF NOT EXISTS posts (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        title VARCHAR(200) NOT NULL,
        content TEXT NOT NULL,
        author VARCHAR(80) NOT NULL,
        created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
        updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
    ) CHARACTER SET utf8mb4"],
    &["INSERT INTO posts (title, content, author)
       SELECT * FROM (
         SELECT 'Setting sail' AS title, 'This post came with the database''s first schema. Write your own on the board.' AS content, 'harbour' AS author
         UNION ALL SELECT 'What carries your request', 'The ingress hands it to nginx, nginx asks the application server through two sidecars, and the application server asks the database.', 'navigator'
         UNION ALL SELECT 'Reading the wind', 'Look into the sidecars: kubectl logs deploy/web -c istio-proxy shows where each request went and how long it took.', 'lookout'
       ) AS seed WHERE NOT EXISTS (SELECT 1 FROM posts)"],
];

const COLUMNS: &str = "SELECT id, title, content, author,
    DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS created_at,
    DATE_FORMAT(updated_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS updated_at FROM posts";

/// Handle of the database; clones share one pool of connections, which are made when first needed.
#[derive(Clone)]
pub struct Store {
    pool: MySqlPool,
    migrated: Arc<AtomicBool>,
    sqlcommenter: bool,
    /// The request that statements are made for.
    request: Option<TraceParent>,
}

impl Store {
    /// Does not connect yet: a database that is not there is no reason not to start.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let options = MySqlConnectOptions::new()
            .host(&config.database_host)
            .port(config.database_port)
            .username(&config.database_user)
            .password(&config.database_password)
            .database(&config.database_name)
            .ssl_mode(MySqlSslMode::Disabled);
        // Shorter than the five seconds that the proxy in front of us waits, so that the caller gets our answer.
        let pool = MySqlPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy_with(options);
        Self { pool, migrated: Arc::default(), sqlcommenter: config.sqlcommenter, request: None }
    }

    /// The same for the statements of one request, which then say so where that is configured.
    #[must_use]
    pub fn of_request(&self, request: Option<TraceParent>) -> Self {
        Self { request: request.filter(|_| self.sqlcommenter), ..self.clone() }
    }

    /// The statement as it goes to the database, and whether it is worth keeping prepared: one that names its request never
    /// comes again.
    fn statement(&self, sql: &str) -> (AssertSqlSafe<String>, bool) {
        let commented = self.request.as_ref().map(|request| request.comment(sql));
        (AssertSqlSafe(commented.unwrap_or_else(|| sql.to_owned())), self.request.is_none())
    }

    /// Brings the schema up to date, trying again with growing pauses (50 ms to 2 s) until the database is there.
    pub async fn migrate_until_done(&self) {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.migrate().await {
                Ok(()) => {
                    self.migrated.store(true, Ordering::Release);
                    tracing::info!("the schema is up to date");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot bring the schema up to date yet, trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        // Several replicas may start at once; the lock goes with the connection if we die.
        sqlx::query("DO GET_LOCK('blog-schema', 30)").execute(&mut *connection).await?;
        let done = migrate_locked(&mut connection).await;
        sqlx::query("DO RELEASE_LOCK('blog-schema')").execute(&mut *connection).await?;
        done
    }

    /// Whether the schema is there and the database answers now.
    pub async fn is_up(&self) -> bool {
        // A probe gives up after a second by default; a late answer is no answer.
        let ping = sqlx::query("SELECT 1").execute(&self.pool);
        self.migrated.load(Ordering::Acquire)
            && matches!(tokio::time::timeout(Duration::from_millis(800), ping).await, Ok(Ok(_)))
    }

    /// At most `limit` posts, newest first, older than `before` where it is given.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub async fn list(&self, before: Option<u64>, limit: u32) -> Result<Vec<Post>, sqlx::Error> {
        let (sql, keep) = self.statement(&format!("{COLUMNS} WHERE id < ? ORDER BY id DESC LIMIT ?"));
        sqlx::query_as(sql).persistent(keep).bind(before.unwrap_or(u64::MAX)).bind(limit).fetch_all(&self.pool).await
    }

    /// One post.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub async fn get(&self, id: u64) -> Result<Option<Post>, sqlx::Error> {
        let (sql, keep) = self.statement(&format!("{COLUMNS} WHERE id = ?"));
        sqlx::query_as(sql).persistent(keep).bind(id).fetch_optional(&self.pool).await
    }

    /// Stores a new post and returns its id.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub async fn create(&self, post: &ValidPost) -> Result<u64, sqlx::Error> {
        let (sql, keep) = self.statement("INSERT INTO posts (title, content, author) VALUES (?, ?, ?)");
        let done = sqlx::query(sql)
            .persistent(keep)
            .bind(&post.title)
            .bind(&post.content)
            .bind(&post.author)
            .execute(&self.pool)
            .await?;
        Ok(done.last_insert_id())
    }

    /// Replaces a post's values; returns it as it is now, or nothing where there is no such post.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub async fn replace(&self, id: u64, post: &ValidPost) -> Result<Option<Post>, sqlx::Error> {
        let (sql, keep) = self.statement("UPDATE posts SET title = ?, content = ?, author = ? WHERE id = ?");
        sqlx::query(sql)
            .persistent(keep)
            .bind(&post.title)
            .bind(&post.content)
            .bind(&post.author)
            .bind(id)
            .execute(&self.pool)
            .await?;
        self.get(id).await
    }

    /// Removes a post; whether there was one.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub async fn delete(&self, id: u64) -> Result<bool, sqlx::Error> {
        let (sql, keep) = self.statement("DELETE FROM posts WHERE id = ?");
        let done = sqlx::query(sql).persistent(keep).bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }
}

async fn migrate_locked(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT UNSIGNED NOT NULL PRIMARY KEY)")
        .execute(&mut *connection)
        .await?;
    let (current,): (Option<u64>,) =
        sqlx::query_as("SELECT MAX(version) FROM schema_version").fetch_one(&mut *connection).await?;
    let current = current.unwrap_or(0);
    for (version, statements) in (1u64..).zip(MIGRATIONS).filter(|(version, _)| *version > current) {
        for statement in *statements {
            sqlx::query(*statement).execute(&mut *connection).await?;
        }
        sqlx::query("INSERT INTO schema_version (version) VALUES (?)").bind(version).execute(&mut *connection).await?;
        tracing::info!(version, "migrated the schema");
    }
    Ok(())
}
