//! Writes `src/schema/builtin.types`, the table of the built-in kinds' fields, from the struct tags of the Kubernetes API's Go sources.
//!
//! ```text
//! cargo run -p varka-apiserver --example generate-builtin-types -- API APIMACHINERY APIEXTENSIONS > src/schema/builtin.types
//! ```
//! The three arguments are check-outs of k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver at the version that the server
//! reports. Only facts are taken: names, types, field numbers, merge keys, list types. The format is described in `src/schema/table.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context as _, bail};
use regex::Regex;

/// Packages read: name in the table, check-out (index of the argument), directory.
const PACKAGES: &[(&str, usize, &str)] = &[
    ("core.v1", 0, "core/v1"),
    ("apps.v1", 0, "apps/v1"),
    ("batch.v1", 0, "batch/v1"),
    ("autoscaling.v1", 0, "autoscaling/v1"),
    ("autoscaling.v2", 0, "autoscaling/v2"),
    ("networking.v1", 0, "networking/v1"),
    ("policy.v1", 0, "policy/v1"),
    ("rbac.v1", 0, "rbac/v1"),
    ("storage.v1", 0, "storage/v1"),
    ("discovery.v1", 0, "discovery/v1"),
    ("events.v1", 0, "events/v1"),
    ("coordination.v1", 0, "coordination/v1"),
    ("scheduling.v1", 0, "scheduling/v1"),
    ("admissionregistration.v1", 0, "admissionregistration/v1"),
    ("authentication.v1", 0, "authentication/v1"),
    ("authorization.v1", 0, "authorization/v1"),
    ("meta.v1", 1, "pkg/apis/meta/v1"),
    ("apiextensions.v1", 2, "pkg/apis/apiextensions/v1"),
];

/// The kinds served; what they reach is written.
const ROOTS: &[&str] = &[
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.Pod",
    "core.v1.Service",
    "core.v1.Endpoints",
    "core.v1.ConfigMap",
    "core.v1.Secret",
    "core.v1.ServiceAccount",
    "core.v1.Event",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "core.v1.ReplicationController",
    "core.v1.LimitRange",
    "core.v1.ResourceQuota",
    "core.v1.PodTemplate",
    "apps.v1.Deployment",
    "apps.v1.ReplicaSet",
    "apps.v1.StatefulSet",
    "apps.v1.DaemonSet",
    "apps.v1.ControllerRevision",
    "batch.v1.Job",
    "batch.v1.CronJob",
    "autoscaling.v1.HorizontalPodAutoscaler",
    "autoscaling.v2.HorizontalPodAutoscaler",
    "autoscaling.v1.Scale",
    "networking.v1.Ingress",
    "networking.v1.IngressClass",
    "networking.v1.NetworkPolicy",
    "policy.v1.PodDisruptionBudget",
    "policy.v1.Eviction",
    "rbac.v1.Role",
    "rbac.v1.RoleBinding",
    "rbac.v1.ClusterRole",
    "rbac.v1.ClusterRoleBinding",
    "storage.v1.StorageClass",
    "discovery.v1.EndpointSlice",
    "events.v1.Event",
    "coordination.v1.Lease",
    "scheduling.v1.PriorityClass",
    "admissionregistration.v1.MutatingWebhookConfiguration",
    "admissionregistration.v1.ValidatingWebhookConfiguration",
    "authentication.v1.TokenRequest",
    "authentication.v1.TokenReview",
    "authentication.v1.SelfSubjectReview",
    "authorization.v1.SubjectAccessReview",
    "authorization.v1.SelfSubjectAccessReview",
    "authorization.v1.LocalSubjectAccessReview",
    "authorization.v1.SelfSubjectRulesReview",
    "apiextensions.v1.CustomResourceDefinition",
    "meta.v1.DeleteOptions",
];

/// Types with a JSON form of their own.
const SPECIAL: &[(&str, &str)] = &[
    ("meta.v1.Time", "time"),
    ("meta.v1.MicroTime", "microtime"),
    ("meta.v1.Duration", "duration"),
    ("meta.v1.FieldsV1", "any"),
    ("resource.Quantity", "quantity"),
    ("intstr.IntOrString", "intorstring"),
    ("runtime.RawExtension", "any"),
    ("apiextensions.v1.JSON", "any"),
    ("apiextensions.v1.JSONSchemaPropsOrArray", "any"),
    ("apiextensions.v1.JSONSchemaPropsOrBool", "any"),
    ("apiextensions.v1.JSONSchemaDependencies", "any"),
    ("apiextensions.v1.JSONSchemaDefinitions", "any"),
    ("apiextensions.v1.JSONSchemaPropsOrStringArray", "any"),
    ("authentication.v1.ExtraValue", "items"),
    ("authorization.v1.ExtraValue", "items"),
    ("types.UID", "string"),
];

struct Struct {
    atomic: bool,
    type_meta: bool,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    go_type: String,
    tag: u32,
    required: bool,
    notes: Vec<String>,
}

#[derive(Default)]
struct Sources {
    structs: BTreeMap<String, Struct>,
    aliases: HashMap<String, String>,
}

fn main() -> anyhow::Result<()> {
    let roots: Vec<String> = std::env::args().skip(1).collect();
    if roots.len() != 3 {
        bail!(
            "three arguments are needed: check-outs of k8s.io/api, k8s.io/apimachinery, k8s.io/apiextensions-apiserver"
        );
    }
    let mut sources = Sources::default();
    for (package, root, directory) in PACKAGES {
        let directory = Path::new(roots.get(*root).context("argument")?).join(directory);
        let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with("types") && name.ends_with(".go") && !name.starts_with("types_swagger") {
                sources.read(package, &std::fs::read_to_string(&file)?)?;
            }
        }
    }
    sources.write()
}

impl Sources {
    fn read(&mut self, package: &str, text: &str) -> anyhow::Result<()> {
        let open = Regex::new(r"^type (\w+) struct ?\{")?;
        let alias = Regex::new(r"^type (\w+) (?:= )?([\w.\[\]\*]+)$")?;
        let import = Regex::new(r#"^\s+(?:(\w+) )?"k8s\.io/([^"]+)""#)?;
        let field = Regex::new(r"^\t(?:(\w+)\s+)?([\w.\[\]\*]+)\s+`(.*)`")?;
        let mut imports = HashMap::new();
        let mut comment: Vec<String> = Vec::new();
        let mut current: Option<String> = None;
        for line in text.lines() {
            if let Some(rest) = line.trim_start().strip_prefix("//") {
                comment.push(rest.trim().to_owned());
                continue;
            }
            if let Some(name) = &current {
                if line == "}" {
                    current = None;
                } else if let Some(c) = field.captures(line) {
                    let go_type = resolve(package, &imports, &c[2]);
                    if let Some(owner) = self.structs.get_mut(name) {
                        owner.add(c.get(1).is_none(), go_type, &c[3], &comment)?;
                    }
                }
            } else if let Some(c) = open.captures(line) {
                let name = format!("{package}.{}", &c[1]);
                let atomic = comment.iter().any(|l| l == "+structType=atomic");
                self.structs.insert(name.clone(), Struct { atomic, type_meta: false, fields: Vec::new() });
                current = (!line.ends_with('}')).then_some(name);
            } else if let Some(c) = alias.captures(line) {
                self.aliases.insert(format!("{package}.{}", &c[1]), resolve(package, &imports, &c[2]));
            } else if let Some(c) = import.captures(line) {
                let last = c[2].rsplit('/').next().unwrap_or_default();
                let local = c.get(1).map_or(last, |m| m.as_str());
                imports.insert(local.to_owned(), import_name(&c[2]));
            }
            comment.clear();
        }
        Ok(())
    }

    /// The table's word for a Go type, following aliases.
    fn word(&self, go_type: &str, reach: &mut Vec<String>) -> anyhow::Result<String> {
        let go_type = go_type.trim_start_matches('*');
        if let Some((_, word)) = SPECIAL.iter().find(|(name, _)| *name == go_type) {
            return Ok((*word).to_owned());
        }
        if go_type == "[]byte" {
            return Ok("bytes".to_owned());
        }
        if let Some(element) = go_type.strip_prefix("[]") {
            return Ok(format!("[]{}", self.word(element, reach)?));
        }
        if let Some(rest) = go_type.strip_prefix("map[") {
            let (_, value) = rest.split_once(']').context("map type")?;
            return Ok(format!("{{}}{}", self.word(value, reach)?));
        }
        Ok(match go_type {
            "string" => "string".to_owned(),
            "bool" => "bool".to_owned(),
            "int32" | "int64" | "int" | "uint32" => "int".to_owned(),
            "float64" => "float".to_owned(),
            name if self.structs.contains_key(name) => {
                reach.push(name.to_owned());
                name.to_owned()
            }
            name => match self.aliases.get(name) {
                Some(target) => self.word(&target.clone(), reach)?,
                None => bail!("unknown type {name}"),
            },
        })
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut reach: Vec<String> = ROOTS.iter().map(|&r| r.to_owned()).collect();
        let mut blocks: BTreeMap<String, String> = BTreeMap::new();
        while let Some(name) = reach.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let item = self.structs.get(&name).with_context(|| format!("no struct {name}"))?;
            let mut block = name.clone();
            if item.type_meta {
                block.push_str(" kind");
            }
            if item.atomic {
                block.push_str(" atomic");
            }
            block.push('\n');
            for f in &item.fields {
                let word = self.word(&f.go_type, &mut reach).with_context(|| format!("{name}.{}", f.name))?;
                let mark = if f.required {
                    "!"
                } else if f.go_type.starts_with('*') {
                    "?"
                } else {
                    ""
                };
                block.push_str(&format!(" {}{mark} {} {word}", f.tag, f.name));
                for note in &f.notes {
                    block.push(' ');
                    block.push_str(note);
                }
                block.push('\n');
            }
            blocks.insert(name, block);
        }
        let mut out = String::from(
            "# Fields of the built-in kinds; made by examples/generate-builtin-types.rs, format in schema/table.rs.\n",
        );
        blocks.values().for_each(|b| out.push_str(b));
        use std::io::Write as _;
        std::io::stdout().write_all(out.as_bytes())?;
        Ok(())
    }
}

impl Struct {
    fn add(&mut self, embedded: bool, go_type: String, tags: &str, comment: &[String]) -> anyhow::Result<()> {
        if embedded && go_type.ends_with(".TypeMeta") {
            self.type_meta = true;
            return Ok(());
        }
        let tag = |key: &str| -> Option<String> {
            let rest = tags.split_once(&format!("{key}:\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let json = tag("json").unwrap_or_default();
        let (name, options) = json.split_once(',').unwrap_or((&json, ""));
        if name == "-" {
            return Ok(());
        }
        let number = tag("protobuf").and_then(|p| p.split(',').nth(1)?.parse().ok()).unwrap_or(0);
        let marker = |key: &str| comment.iter().rev().find_map(|l| l.strip_prefix(key)).map(str::to_owned);
        let optional = options.contains("omitempty") || comment.iter().any(|l| l == "+optional");
        let mut notes = Vec::new();
        let strategy = tag("patchStrategy").unwrap_or_default();
        if strategy.split(',').any(|s| s == "merge") {
            notes.push(tag("patchMergeKey").map_or("merge".to_owned(), |k| format!("merge={k}")));
        }
        if strategy.split(',').any(|s| s == "retainKeys") {
            notes.push("retainKeys".to_owned());
        }
        match marker("+listType=").as_deref() {
            Some("set") => notes.push("set".to_owned()),
            Some("map") => {
                let keys: Vec<&str> = comment
                    .iter()
                    .filter_map(|l| l.strip_prefix("+listMapKey="))
                    .map(|key| if key == "protocol" { "protocol:TCP" } else { key })
                    .collect();
                notes.push(format!("map={}", keys.join(",")));
            }
            _ => {}
        }
        if marker("+mapType=").as_deref() == Some("atomic") || marker("+structType=").as_deref() == Some("atomic") {
            notes.push("atomic".to_owned());
        }
        let name = if name.is_empty() { "-" } else { name };
        self.fields.push(Field {
            name: name.to_owned(),
            go_type,
            tag: number,
            required: !optional && name != "-",
            notes,
        });
        Ok(())
    }
}

/// `k8s.io/api/core/v1` is `core.v1` in the table, `k8s.io/apimachinery/pkg/util/intstr` is `intstr`.
fn import_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., group, version] if version.starts_with('v') => format!("{group}.{version}"),
        [.., last] => (*last).to_owned(),
        [] => String::new(),
    }
}

/// Makes each name in a Go type absolute.
fn resolve(package: &str, imports: &HashMap<String, String>, go_type: &str) -> String {
    for prefix in ["*", "[]", "map[string]"] {
        if let Some(rest) = go_type.strip_prefix(prefix) {
            return format!("{prefix}{}", resolve(package, imports, rest));
        }
    }
    if let Some(rest) = go_type.strip_prefix("map[") {
        let value = rest.split_once(']').map_or("", |(_, v)| v);
        return format!("map[string]{}", resolve(package, imports, value));
    }
    match go_type.split_once('.') {
        Some((import, name)) => format!("{}.{name}", imports.get(import).map_or(import, String::as_str)),
        None if go_type.starts_with(|c: char| c.is_ascii_uppercase()) => format!("{package}.{go_type}"),
        None => go_type.to_owned(),
    }
}
