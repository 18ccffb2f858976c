//! The program: reads the configuration from the environment, serves until SIGTERM or Ctrl-C, and finishes the
//! requests in flight before it ends.

use blog_was::{config::Config, posts::Store, server};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_target(false).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_lookup(|name| std::env::var(name).ok())?;
    let store = Store::new(&config);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: finishing the requests in flight");
    };

    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("LISTEN_ADDRESS: cannot listen on {}: {error}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let migration = tokio::spawn({
        let store = store.clone();
        async move { store.migrate_until_done().await }
    });
    axum::serve(listener, server::router(store)).with_graceful_shutdown(stop).await?;
    migration.abort();
    Ok(())
}
