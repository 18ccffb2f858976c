//! Documents that the API server with Istio's kinds accepts or refuses, asked of the real server, by its own way of a write.

use std::path::Path;

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use varka_api::RawObject;
use varka_apiserver::{ApiServer, Config};

use super::{Report, cases, text};

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(all(table, &dir.join("files"), report)));
    if let Err(error) = outcome {
        report.count("the server", Err(format!("{error:#}")));
    }
}

async fn all(table: &Value, files: &Path, report: &mut Report) -> Result<()> {
    let state = tempfile::tempdir()?;
    let server = ApiServer::open(Config {
        data_dir: state.path().to_owned(),
        service_cidr: ([10, 96, 0, 0].into(), 16),
        advertise: Vec::new(),
        version: "conformance".to_owned(),
    })
    .await?;
    let client = server.client("conformance");
    for case in cases(table) {
        let index = case.get("doc").map(Value::to_string).unwrap_or_default();
        let name = format!("{} / {index} / {}", text(case, "file"), text(case, "name"));
        report.count(&name, one(&client, files, case).await);
    }
    server.shutdown().await;
    Ok(())
}

async fn one(client: &kube::Client, files: &Path, case: &Value) -> Result<(), String> {
    let object = document(files, case)?;
    let (group, version) = object.api_version.split_once('/').ok_or("a custom kind has a group")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    let mut value = object.value;
    if let Some(map) = value.as_object_mut() {
        // What the table notes beside the document.
        map.remove("_err");
    }
    let mut sent: DynamicObject = serde_json::from_value(value).map_err(|e| e.to_string())?;
    sent.metadata.namespace = Some("default".to_owned());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let answer = match api.create(&parameters, &sent).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 422 => Some(status.message),
        Err(other) => return Err(format!("neither accepted nor refused: {other}")),
    };
    match (case.get("err").and_then(Value::as_str), answer) {
        (None, None) | (Some(_), Some(_)) => Ok(()),
        (None, Some(message)) => Err(format!("refused instead of accepted: {message}")),
        (Some(wanted), None) => Err(format!("accepted instead of refused ({wanted})")),
    }
}

fn document(files: &Path, case: &Value) -> Result<RawObject, String> {
    let file = text(case, "file");
    let yaml = std::fs::read_to_string(files.join(file)).map_err(|e| format!("{file}: {e}"))?;
    let (objects, problems) = varka_api::read(file, &yaml);
    if let Some(problem) = problems.first() {
        return Err(problem.to_string());
    }
    let index = case.get("doc").and_then(Value::as_u64).and_then(|i| usize::try_from(i).ok()).unwrap_or_default();
    let object = objects.into_iter().nth(index).ok_or("the file has fewer documents")?;
    if object.kind == text(case, "kind") && object.metadata.name == text(case, "name") {
        Ok(object)
    } else {
        Err(format!("document {index} is {}", object.label()))
    }
}
