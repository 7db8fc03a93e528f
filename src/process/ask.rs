//! Programs that are asked something short, and end by themselves.

use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use super::{ProcessError, Program};

/// Maximum size of the output in bytes. The rest is not read.
const LIMIT: u64 = 16 << 20;

/// The output of a program, run in the environment of a recording's children. Blocks the thread.
///
/// # Errors
///
/// When it is missing, can't be executed or read from, or takes longer than `within`.
#[expect(clippy::disallowed_methods, reason = "this module starts processes")]
pub fn ask(program: &Program, args: &[&str], within: Duration) -> Result<String, ProcessError> {
    let failed = |source| ProcessError::Spawn { program: program.name, source };
    let mut child = std::process::Command::new(program.find()?)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let (tell, told) = mpsc::channel();
    let stdout = child.stdout.take();
    let reading = std::thread::Builder::new().name(format!("read {}", program.name)).spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(LIMIT).read_to_end(&mut text));
        // Who asked may have waited long enough.
        tell.send(read.map(|_| text)).ok();
    });
    let said = told.recv_timeout(within);
    // One that has ended is only reaped.
    child.kill().ok();
    child.wait().ok();
    reading.map_err(failed)?;
    match said {
        Ok(Ok(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(ProcessError::NotReady { program: program.name, within, said: String::new() }),
    }
}
