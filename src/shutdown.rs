//! One signal, one token: SIGTERM or SIGINT cancels the token that every task of the process watches.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals that follow the first one within this time are the same one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Starts to listen for SIGTERM and SIGINT (Ctrl-C); the returned token is cancelled at the first one.
///
/// A second signal ends the process at once with status 130: the way out of a drain that takes too long.
///
/// # Errors
/// The operating system refused to install a signal handler.
pub fn on_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "draining; a second signal ends the process at once");
        cancelled.cancel();
        // One Ctrl-C may arrive twice: from the terminal, and from a parent that passes it on.
        let settle = tokio::time::sleep(SAME_SIGNAL);
        tokio::pin!(settle);
        loop {
            tokio::select! {
                _ = next(&mut terminate, &mut interrupt) => {}
                () = &mut settle => break,
            }
        }
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once, messages in flight will be delivered again");
        std::process::exit(130);
    });
    Ok(token)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
