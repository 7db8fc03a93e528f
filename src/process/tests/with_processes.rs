//! Tests that start programs.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn starts_with_the_given_environment_only_and_says_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo home=$HOME own=$OWN; echo noise; echo last >&2; exit 3";
    let spec = shell(dir.path(), script).env("OWN", "yes").noise(&["noise"]);
    let mut child = Child::start(spec).await.unwrap();
    let exit = child.exit();
    let line = child.says(SOON, |line| line.strip_prefix("home=").map(str::to_owned)).await.unwrap();
    assert_eq!(line, " own=yes");
    assert_eq!(exit.clone().wait().await.code(), Some(3));
    assert_eq!(child.exit().wait().await.code(), Some(3), "any number may wait");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("noise"), "{log}");
}

#[tokio::test]
async fn an_end_before_it_is_ready_carries_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::start(shell(dir.path(), "echo no display >&2; exit 1")).await.unwrap();
    let error = child.says(SOON, |line| (line == "ready").then_some(())).await.unwrap_err();
    assert!(matches!(&error, ProcessError::Ended { said, .. } if said == "no display"), "{error}");
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::start(shell(dir.path(), "exec tail -f /dev/null")).await.unwrap();
    let error = child.says(Duration::from_millis(50), |_| Some(())).await.unwrap_err();
    assert!(matches!(error, ProcessError::NotReady { .. }), "{error}");
}

#[tokio::test]
async fn dropping_kills_and_reaps_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; tail -f /dev/null & echo $!; wait";
    let mut child = Child::start(shell(dir.path(), script)).await.unwrap();
    let helper: i32 = child.says(SOON, |line| line.parse().ok()).await.unwrap();
    let leader = child.pid();
    assert!(is_there(leader) && is_there(helper));
    drop(child);
    assert!(is_gone(leader).await && is_gone(helper).await);
}

#[tokio::test]
async fn a_leader_that_dies_takes_its_group_along() {
    let dir = tempfile::tempdir().unwrap();
    let script = "tail -f /dev/null & echo $!; exit 0";
    let mut child = Child::start(shell(dir.path(), script)).await.unwrap();
    let helper: i32 = child.says(SOON, |line| line.parse().ok()).await.unwrap();
    child.exit().wait().await;
    assert!(is_gone(helper).await);
}

#[tokio::test]
async fn close_asks_first_and_kills_who_does_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let polite = "trap 'exit 7' TERM; echo up; while :; do read -r _ < /dev/null; done";
    let mut child = Child::start(shell(dir.path(), polite)).await.unwrap();
    child.says(SOON, |_| Some(())).await.unwrap();
    let exit = child.exit();
    child.close(SOON).await;
    assert_eq!(exit.wait().await.code(), Some(7));

    let deaf = "trap '' TERM; echo up; exec tail -f /dev/null";
    let mut child = Child::start(shell(dir.path(), deaf)).await.unwrap();
    child.says(SOON, |_| Some(())).await.unwrap();
    let exit = child.exit();
    child.close(Duration::from_millis(50)).await;
    assert_eq!(exit.wait().await.code(), None, "killed by a signal");
}

#[tokio::test]
async fn a_start_nobody_waits_for_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let sleeper = Program::of_tests("tail", &["tail"]);
    let spec = Spec::new(sleeper, dir.path(), dir.path().join("log")).args(["-f", "/dev/null"]);
    // One poll starts the thread; then the future is dropped.
    drop(futures::FutureExt::now_or_never(Child::start(spec)));
    let dir = dir.path().canonicalize().unwrap();
    // The working directory tells our child from all others. The thread may not have forked yet: it
    // is over when no thread that watches and no child is left.
    let gone = async {
        loop {
            let threads = procfs::process::Process::myself().unwrap().tasks().unwrap();
            let watches =
                threads.flatten().any(|task| task.stat().is_ok_and(|stat| stat.comm == "watch tail"));
            let children = procfs::process::all_processes().unwrap().flatten();
            if !watches && !children.into_iter().any(|process| process.cwd().is_ok_and(|cwd| cwd == dir)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

#[tokio::test]
async fn the_kernel_kills_it_when_its_parent_is_killed() {
    // A test can't kill its own recorder; it checks the kernel's setting.
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::new(SETPRIV, dir.path(), dir.path().join("log")).args(["--dump"]);
    let mut child = Child::start(spec).await.unwrap();
    let signal = child.says(SOON, |line| line.strip_prefix("Parent death signal: ").map(str::to_owned)).await;
    assert_eq!(signal.unwrap(), "KILL");
}

#[tokio::test]
async fn a_missing_program_names_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Program::of_tests("no-such-program", &["no-such-program"]);
    let error = Child::start(Spec::new(missing, dir.path(), dir.path().join("log"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`no-such-program` is missing: install it with `apt-get install no-such-package`"
    );
}

#[tokio::test]
async fn pipes_are_the_childs_third_and_fourth_descriptor_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo up $0; echo loud >&2; ls -l /proc/self/fd/ >&2; exec cat <&3 >&4";
    let mut child = Child::start(shell(dir.path(), script).args(["it's $HOME"]).with_pipes()).await.unwrap();
    let Pipes { mut to, mut from } = child.take_pipes().unwrap();
    assert!(child.take_pipes().is_none());
    let sent = "x".repeat(300_000);
    let (mut got, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let echoed = async {
        let writing = async {
            to.write_all(sent.as_bytes()).await.unwrap();
            drop(to);
        };
        let reading = async {
            loop {
                match from.read(&mut chunk).await.unwrap() {
                    0 => break,
                    read => got.extend_from_slice(&chunk[..read]),
                }
            }
        };
        tokio::join!(writing, reading);
    };
    tokio::time::timeout(SOON, echoed).await.unwrap();
    assert!(got == sent.as_bytes(), "{} bytes", got.len());
    assert_eq!(child.exit().wait().await.code(), Some(0), "the end of its pipe is told");
    // What it says beside is its output as ever.
    let said = async {
        loop {
            let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
            if log.contains("up it's $HOME") && log.contains("loud") && log.contains("/dev/null") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, said).await.unwrap();
}

#[tokio::test]
async fn one_that_ends_before_it_is_up_carries_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut child =
        Child::start(shell(dir.path(), "echo no display >&2; exit 1").with_pipes()).await.unwrap();
    let Pipes { to: _to, mut from } = child.take_pipes().unwrap();
    let up = async {
        let mut byte = [0];
        match from.read(&mut byte).await {
            Ok(0) | Err(_) => Err(()),
            Ok(_) => Ok(()),
        }
    };
    let error = child.await_ready(SOON, up).await.unwrap_err();
    assert!(matches!(&error, ProcessError::Ended { .. }), "{error}");
    let mut child = Child::start(shell(dir.path(), "exec tail -f /dev/null").with_pipes()).await.unwrap();
    let never = std::future::pending::<Result<(), ()>>();
    let error = child.await_ready(Duration::from_millis(50), never).await.unwrap_err();
    assert!(matches!(error, ProcessError::NotReady { .. }), "{error}");
}

#[tokio::test]
async fn what_a_child_writes_reaches_no_terminal_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let script = r"printf '\033]0;owned\007\n'; printf '\303\244\n'; head -c 1000000 /dev/zero | tr '\0' x; echo; echo over";
    let mut child = Child::start(shell(dir.path(), script)).await.unwrap();
    child.says(SOON, |line| (line == "over").then_some(())).await.unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.starts_with("\\u{1b}]0;owned\\u{7}\nä\nxxxx"), "{log:.80}");
    assert!(log.contains("x… (995904 more characters)\nover\n"), "{}", log.len());
    assert!(!child.last_words().contains('\u{1b}'));
}

/// Programs that go through all descriptors that there may be take minutes where those are a
/// thousand million.
#[tokio::test]
async fn a_child_has_a_modest_limit_of_open_files_and_may_raise_it() {
    use nix::sys::resource::{Resource, getrlimit};
    let hard = raise_open_files();
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::start(shell(dir.path(), "echo $(ulimit -S -n) $(ulimit -H -n)")).await.unwrap();
    let limits = child.says(SOON, |line| Some(line.to_owned())).await.unwrap();
    assert_eq!(limits.split(' ').next().unwrap(), hard.min(4096).to_string());
    assert!(!limits.ends_with(" 4096") || hard == 4096, "{limits}");
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard), "ours stays");
}

#[test]
fn a_program_that_is_asked_answers_in_time_or_is_ended() {
    let asked = |script: &str, within: Duration| ask(&SHELL, &["-c", script], within);
    assert_eq!(asked("echo $HOME yes", SOON).unwrap(), "yes\n", "nothing of our environment");
    let late = asked("exec sleep 600", Duration::from_millis(100));
    assert!(matches!(late, Err(ProcessError::NotReady { program: "sh", .. })), "{late:?}");
    let missing = ask(&Program::of_tests("none", &["no-such-program"]), &[], SOON);
    assert!(matches!(missing, Err(ProcessError::Missing { .. })), "{missing:?}");
}
