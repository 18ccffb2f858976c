//! What a container wants done after its start and before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use super::probe::{self, Target};

/// Runs one hook to its end.
pub(super) async fn run(target: &Target, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let (code, output) = probe::command(target, exec.command.as_deref().unwrap_or_default()).await?;
        return if code == 0 { Ok(()) } else { Err(format!("command ended with {code}: {}", output.trim())) };
    }
    if let Some(action) = &hook.http_get {
        let (status, _) = probe::http(target, action).await?;
        return if status < 400 { Ok(()) } else { Err(format!("HTTP status {status}")) };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the hook has no handler (there are exec, httpGet and sleep)".to_owned())
}
