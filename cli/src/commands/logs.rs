//! Prints a log as it comes: bytes, not lines, for that is what a console writes.

use pvc_proto::v1::LogChunk;
use tonic::Streaming;

use crate::context::Context;
use crate::failure::Failure;

/// Until the log ends, or Ctrl-C, which is how following is meant to end.
pub async fn print(cx: &mut Context<'_>, mut chunks: Streaming<LogChunk>) -> Result<(), Failure> {
    loop {
        tokio::select! {
            chunk = chunks.message() => match chunk? {
                None => return Ok(()),
                Some(chunk) => {
                    cx.io.out.write_all(&chunk.data)?;
                    cx.io.out.flush()?;
                }
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
