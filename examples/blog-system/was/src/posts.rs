//! Posts: their form, what is acceptable, and where they are kept.

mod store;

use crate::error::FieldError;
use serde::{Deserialize, Serialize};

pub use store::Store;

/// A post as callers see it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Post {
    /// Given by the database, in rising order.
    pub id: u64,
    /// At most [`TITLE_MAX`] characters.
    pub title: String,
    /// At most [`CONTENT_MAX`] characters of plain text.
    pub content: String,
    /// At most [`AUTHOR_MAX`] characters.
    pub author: String,
    /// When it was first stored.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// Longest title, in characters.
pub const TITLE_MAX: usize = 200;
/// Longest author's name, in characters.
pub const AUTHOR_MAX: usize = 80;
/// Longest text, in characters.
pub const CONTENT_MAX: usize = 20_000;

/// What a caller sends to create or replace a post. Every member is optional here, so that a missing one is reported
/// like any other invalid one, together with the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostInput {
    title: Option<String>,
    content: Option<String>,
    author: Option<String>,
}

/// A post whose values are acceptable, with surrounding white space removed.
#[derive(Debug, PartialEq, Eq)]
pub struct ValidPost {
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) author: String,
}

impl PostInput {
    /// Checks every member.
    ///
    /// # Errors
    /// All members that are not acceptable, not only the first.
    pub fn validate(self) -> Result<ValidPost, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut check = |field, value: Option<String>, max| {
            let value = value.unwrap_or_default().trim().to_owned();
            if value.is_empty() {
                errors.push(FieldError { field, message: "must not be empty".to_owned() });
            } else if value.chars().count() > max {
                errors.push(FieldError { field, message: format!("must have at most {max} characters") });
            } else if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
                errors.push(FieldError { field, message: "must not contain control characters".to_owned() });
            }
            value
        };
        let title = check("title", self.title, TITLE_MAX);
        let content = check("content", self.content, CONTENT_MAX);
        let author = check("author", self.author, AUTHOR_MAX);
        if errors.is_empty() { Ok(ValidPost { title, content, author }) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests;
