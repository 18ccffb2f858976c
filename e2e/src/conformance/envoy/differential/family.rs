//! A family of cases: resources, and requests that are sent with them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use varka_identity::{Authority, SystemRandom};

use super::super::case::Case;
use super::generate::Subject;

/// Stand for a certificate and its key.
const CERTIFICATE: &str = "{{certificate}}";
const KEY: &str = "{{key}}";
const CERTIFICATE_LIFE: Duration = Duration::from_secs(3600);

/// A file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Family {
    /// Name of its file.
    #[serde(skip)]
    pub name: String,
    /// Istio resources, YAML.
    #[serde(default)]
    pub resources: String,
    /// Mesh configuration.
    #[serde(default)]
    pub mesh_config: Value,
    /// Every case is sent these ways.
    #[serde(default)]
    ways: Vec<Way>,
    /// In order.
    pub cases: Vec<Case>,
    /// Where the cases were drawn at random: what they belong to.
    #[serde(skip)]
    pub subjects: Vec<Subject>,
}

impl Family {
    /// Of subjects drawn at random.
    pub(super) fn drawn(name: &str, subjects: Vec<Subject>) -> Self {
        let objects = subjects.iter().flat_map(|s| &s.objects).map(ToString::to_string);
        Self {
            name: name.to_owned(),
            resources: objects.collect::<Vec<_>>().join("\n---\n"),
            mesh_config: Value::Null,
            ways: Vec::new(),
            cases: subjects.iter().flat_map(|s| s.cases.clone()).collect(),
            subjects,
        }
    }
}

/// How a case reaches the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// From a pod with a sidecar.
    Outbound,
    /// To a pod with a sidecar, from one without.
    Inbound,
}

/// The families in a directory, all or those whose name contains a text.
pub(super) fn read(directory: &Path, only: Option<&str>) -> Result<Vec<Family>> {
    let mut families = Vec::new();
    let listed = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in listed {
        let path = entry?.path();
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let is_family = path.extension().is_some_and(|e| e == "yaml") && name != "mesh";
        if is_family && only.is_none_or(|o| name.contains(o)) {
            families.push(one(&path, name)?);
        }
    }
    families.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(families)
}

fn one(path: &Path, name: String) -> Result<Family> {
    let text = with_certificates(&std::fs::read_to_string(path)?)?;
    let value: Value = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
    let mut unread = Vec::new();
    let family = serde_ignored::deserialize(value, |field| unread.push(field.to_string()));
    let mut family: Family = family.with_context(|| path.display().to_string())?;
    ensure!(unread.is_empty(), "{}: nobody reads {}", path.display(), unread.join(", "));
    family.cases = family.cases.iter().flat_map(|case| by_ways(case, &family.ways)).collect();
    for case in &mut family.cases {
        case.id = format!("{name}/{}", case.id);
    }
    Ok(Family { name, ..family })
}

/// A certificate for hosts of the cases, and its key, where the file names them: the same on both sides, and new each time.
fn with_certificates(text: &str) -> Result<String> {
    if !text.contains(CERTIFICATE) {
        return Ok(text.to_owned());
    }
    let (rng, now) = (SystemRandom::new(), SystemTime::now());
    let authority = Authority::generate("cases.test", now, &rng)?;
    let issued = authority.issue_server_certificate(&["*.test"], now, CERTIFICATE_LIFE, &rng)?;
    let encoded = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    Ok(text.replace(CERTIFICATE, &encoded(&issued.chain_pem)).replace(KEY, &encoded(issued.key.to_pem().as_str())))
}

fn by_ways(case: &Case, ways: &[Way]) -> Vec<Case> {
    if ways.is_empty() {
        return vec![case.clone()];
    }
    let along = |way: &Way| {
        let mut case = case.clone();
        if *way == Way::Inbound {
            case.id.push_str("@inbound");
            case.goes_to("ext", ([10, 77, 0, 21], 8080).into());
        }
        case
    };
    ways.iter().map(along).collect()
}
