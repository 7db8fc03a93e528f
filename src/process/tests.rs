mod with_processes;

use super::*;

const SHELL: Program = Program::of_tests("sh", &["sh"]);
const SOON: Duration = Duration::from_secs(60);

fn shell(dir: &std::path::Path, script: &str) -> Spec {
    Spec::new(SHELL, dir, dir.join("log")).args(["-c", script]).env("PATH", "/usr/bin:/bin")
}

fn is_there(pid: i32) -> bool {
    // Signal 0 reaches zombies too.
    nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
}

async fn is_gone(pid: i32) -> bool {
    let gone = async {
        while is_there(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.is_ok()
}
