//! What a request asks for: its path, query and accepted media types, taken apart. No kinds, no state.

use http::HeaderMap;

/// What a path names.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/api`: the core group.
    Core,
    /// `/apis`: all other groups.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    GroupVersion(String, String),
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/...` of a group and version.
    OpenApi(String, String),
    /// Objects.
    Objects(Box<Path>),
    /// Nothing that is served.
    Unknown,
}

/// A path that names objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path {
    /// API group; empty for the core group.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Empty for all namespaces, and for what lives outside of them.
    pub namespace: String,
    /// The kind, as paths name it (`pods`).
    pub plural: String,
    /// Empty for all objects.
    pub name: String,
    /// `status`, `log`, ...; empty for the object itself.
    pub subresource: String,
}

/// Takes a path apart.
pub fn target(path: &str) -> Target {
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Target::Health,
        ["version"] => Target::Version,
        ["api"] => Target::Core,
        ["apis"] => Target::Groups,
        ["api", version] => Target::GroupVersion(String::new(), (*version).to_owned()),
        ["apis", group] => Target::Group((*group).to_owned()),
        ["apis", group, version] => Target::GroupVersion((*group).to_owned(), (*version).to_owned()),
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiIndex,
        ["openapi", "v3", "api", version] => Target::OpenApi(String::new(), (*version).to_owned()),
        ["openapi", "v3", "apis", group, version] => Target::OpenApi((*group).to_owned(), (*version).to_owned()),
        ["api", version, rest @ ..] => objects("", version, rest),
        ["apis", group, version, rest @ ..] => objects(group, version, rest),
        _ => Target::Unknown,
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Target {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..]
            if !(matches!(*plural, "status" | "finalize") && rest.is_empty() && group.is_empty()) =>
        {
            (*namespace, [&[*plural], rest].concat())
        }
        rest => ("", rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Target::Unknown,
    };
    Target::Objects(Box::new(Path {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        plural: plural.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart; what cannot be decoded stays as it is.
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The first value of that name, empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// All values of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether it is `true` or `1`.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    /// The first value of that name as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).parse().ok()
    }
}

/// The form that the client wants objects in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// Rows and cells for people.
    Table,
    /// `metadata` only.
    Metadata,
}

/// The first form of the `Accept` header that the server knows.
pub(crate) fn accepted(headers: &HeaderMap) -> Form {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    for choice in accept.split(',') {
        let mut parts = choice.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*")) {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let is = |p: &str| parameters.contains(&p);
        if is("as=Table") && is("g=meta.k8s.io") && is("v=v1") {
            return Form::Table;
        }
        if (is("as=PartialObjectMetadata") || is("as=PartialObjectMetadataList")) && is("g=meta.k8s.io") && is("v=v1") {
            return Form::Metadata;
        }
        if !parameters.iter().any(|p| p.starts_with("as=")) {
            return Form::Json;
        }
    }
    Form::Json
}

/// The media type of a body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        match target(text) {
            Target::Objects(path) => *path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let pod = path("/api/v1/namespaces/a/pods/b/log");
        assert_eq!(
            (pod.namespace.as_str(), pod.plural.as_str(), pod.name.as_str(), pod.subresource.as_str()),
            ("a", "pods", "b", "log")
        );
        let namespace = path("/api/v1/namespaces/a");
        assert_eq!(
            (namespace.namespace.as_str(), namespace.plural.as_str(), namespace.name.as_str()),
            ("", "namespaces", "a")
        );
        let finalize = path("/api/v1/namespaces/a/finalize");
        assert_eq!(
            (finalize.plural.as_str(), finalize.name.as_str(), finalize.subresource.as_str()),
            ("namespaces", "a", "finalize")
        );
        let all = path("/apis/apps/v1/deployments");
        assert_eq!((all.group.as_str(), all.plural.as_str()), ("apps", "deployments"));
        assert_eq!(target("/apis/apps"), Target::Group("apps".into()));
        assert_eq!(target("/api/v1/namespaces/a/pods/b/c/d"), Target::Unknown);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=app%3Dweb%2Ca+in+%28b%29&command=a&command=b&watch=1");
        assert_eq!(query.get("labelSelector"), "app=web,a in (b)");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a", "b"]);
        assert!(query.flag("watch"));
    }

    #[test]
    fn the_first_known_form_wins() {
        let mut headers = HeaderMap::new();
        let mut with = |accept: &'static str| {
            headers.insert("accept", accept.parse().unwrap());
            accepted(&headers)
        };
        assert_eq!(with("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Form::Table);
        assert_eq!(with("application/vnd.kubernetes.protobuf,application/json"), Form::Json);
        assert_eq!(with("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), Form::Metadata);
    }
}
