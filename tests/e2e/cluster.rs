//! kubectl, helm and waiting.

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::Failure;

/// Longest time that a program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(240);

/// Runs a program with `input`; its output when it succeeds.
pub async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Failure> {
    let line = format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{line}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = tokio::time::timeout(PROGRAM_LIMIT, child.wait_with_output()).await;
    let output = output.map_err(|_| format!("{line}: did not end within {} s", PROGRAM_LIMIT.as_secs()))??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{line}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// Asks again and again until there is an answer; the time that it took comes with it. `Err` of `ask` says what is still
/// missing, and is part of the failure when the time is over.
pub async fn wait_for<Answer, Asking>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Asking,
) -> Result<(Answer, Duration), Failure>
where
    Asking: Future<Output = Result<Answer, Failure>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok((answer, began.elapsed())),
            Err(missing) if began.elapsed() > limit => {
                return Err(format!("{what}: not within {} s; {missing}", limit.as_secs()).into());
            }
            Err(_) => sleep(Duration::from_millis(250)).await,
        }
    }
}

/// `Ok` when `met`, else what is missing.
pub fn expect(met: bool, missing: impl FnOnce() -> String) -> Result<(), Failure> {
    if met { Ok(()) } else { Err(missing().into()) }
}
