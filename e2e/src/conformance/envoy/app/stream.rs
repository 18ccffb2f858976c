//! What is no HTTP: an echo that says which endpoint it comes from, and a greeting before the client has said anything.

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest message that is echoed.
const MAX_MESSAGE: u64 = 65536;

/// Answers once, a line or all that the client has to say.
pub(super) async fn echo(mut stream: TcpStream) -> Result<()> {
    let instance = stream.local_addr()?.ip();
    let mut message = Vec::new();
    let mut reader = BufReader::new(&mut stream).take(MAX_MESSAGE);
    reader.read_until(b'\n', &mut message).await?;
    drop(reader);
    stream.write_all(format!("{instance} {} ", message.len()).as_bytes()).await?;
    stream.write_all(&message).await?;
    Ok(stream.shutdown().await?)
}

/// Speaks first, then echoes.
pub(super) async fn greet(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"greetings from ").await?;
    echo(stream).await
}
