//! The `weir` command: maps arguments to a mode and outcomes to an exit code.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use weir::cli::{self, Cli, Command, ConsoleArgs, Job, RunArgs, ServeArgs, ServerArgs};
use weir::config::storage::{self, ServerStorage};
use weir::config::{Environment, ServiceConfig};
use weir::plan::defaults::Defaults;
use weir::plan::graph::{GraphPlan, Machine};
use weir::plan::request::EgressRequest;
use weir::plan::{RecordingPlan, info, json, render};
use weir::recorder::supervised;
use weir::recorder::{self, Display, Options};
use weir::telemetry::{self, Verbosity};
use weir::{doctor, outbound, process, recover, serve};

/// Exit code of an invalid request; nothing was started.
const BAD_REQUEST: u8 = 2;

fn main() -> ExitCode {
    // The recording's browser starts this program in place of desktop programs.
    if let Some(answer) = process::desktop::answer(std::env::args_os().next().as_deref()) {
        return if print(answer.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage_error(&error),
    };
    process::raise_open_files();
    let done = match cli.command {
        Command::Record { job } => record(&job),
        Command::Plan { job } => plan(&job),
        Command::Doctor => run_doctor(),
        Command::Recover { dir, json, storage, refuse_link_local } => {
            if refuse_link_local {
                outbound::refuse_link_local();
            }
            recover_files(&dir, json, storage.as_deref())
        }
        Command::Serve(args) => serve(&args),
        Command::Console(args) => console(&args),
        Command::Recorder => record_for_service(),
        Command::Completions { shell } => completions(shell),
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        print_line(&mut std::io::stderr(), &format!("weir: {error:#}"));
        match error.is::<BadRequest>() {
            true => BAD_REQUEST,
            false => 1,
        }
    }))
}

/// Marks an error as the request's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadRequest(String);

fn record(job: &Job) -> anyhow::Result<u8> {
    // This may wait for a pipe (`--stream-file`, a request on standard input). Ctrl-C ends that
    // wait, because signals are held only afterwards.
    let (request, plan) = decide(job)?;
    recorder::hold_signals();
    let run = job.run_args();
    let (display, verbosity) = display(run);
    telemetry::init(verbosity, display.bar());
    let options = Options {
        display,
        work_dir: run.work_dir.clone(),
        keep_free: run.keep_free,
        upload_patience: run.upload_patience,
    };
    let request = info::redacted_request(&request);
    let runtime = runtime()?;
    let outcome = runtime
        .block_on(recorder::record(plan, Some(request), &options))
        .map_err(|refused| BadRequest(refused.to_string()))?;
    // Blocked tasks (a server that does not answer at the end) must not delay the result.
    runtime.shutdown_background();
    let ended = outcome.ended();
    if !ended.info.error.is_empty() && outcome.exit_code() != 0 {
        let explanation = ended.explanation.clone().unwrap_or_default();
        print_line(&mut std::io::stderr(), &format!("weir: {}{explanation}", ended.info.error));
    }
    let mut result = Vec::new();
    recorder::print_result(ended, run.json, &mut result).context("can't write the result")?;
    print(&result)?;
    Ok(outcome.exit_code())
}

fn serve(args: &ServeArgs) -> anyhow::Result<u8> {
    let loaded = ServiceConfig::read(args.config.as_deref(), &Environment::of_process())
        .map_err(|error| BadRequest(error.to_string()))?;
    if args.check {
        print(lines(&loaded.warnings).as_bytes())?;
        return Ok(u8::from(!loaded.warnings.is_empty()));
    }
    let runtime = runtime()?;
    let done = runtime.block_on(serve::serve(&loaded))?;
    // Blocked tasks must not delay the exit.
    runtime.shutdown_background();
    Ok(match done {
        serve::Done::Ended => 0,
        serve::Done::Left => 1,
    })
}

fn console(args: &ConsoleArgs) -> anyhow::Result<u8> {
    let loaded = ServiceConfig::read(args.config.as_deref(), &Environment::of_process())
        .map_err(|error| BadRequest(error.to_string()))?;
    let address = serve::console_address(&loaded.config)?;
    print(format!("{address}\n").as_bytes())?;
    Ok(0)
}

fn record_for_service() -> anyhow::Result<u8> {
    recorder::hold_signals();
    let pipes = supervised::Pipes::claim()?;
    let job = pipes.read_job()?;
    if job.terms.browser.refuse_link_local {
        outbound::refuse_link_local();
    }
    telemetry::init_service(&job.terms.logs.filter, job.terms.logs.json, None);
    let span = tracing::info_span!("egress", egress_id = job.egress_id);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        // This process serves one egress. Each thread stays in its span until it ends.
        .on_thread_start({
            let span = span.clone();
            move || std::mem::forget(span.clone().entered())
        })
        .build()
        .context("can't start the runtime")?;
    let accepted = span.in_scope(|| runtime.block_on(supervised::run(&job, pipes)))?;
    runtime.shutdown_background();
    Ok(if accepted { 0 } else { BAD_REQUEST })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("can't start the runtime")
}

fn plan(job: &Job) -> anyhow::Result<u8> {
    let (_, plan) = decide(job)?;
    let graph = GraphPlan::new(&plan, Machine { cores: recorder::available_cores(), encoder_threads: 0 });
    print(format!("{}\n", render::render(&plan, &graph).trim_end()).as_bytes())?;
    Ok(0)
}

fn run_doctor() -> anyhow::Result<u8> {
    let findings = doctor::check();
    print(lines(&findings).as_bytes())?;
    Ok(u8::from(!doctor::can_record(&findings)))
}

fn recover_files(dir: &Path, json: bool, storage: Option<&Path>) -> anyhow::Result<u8> {
    telemetry::init(Verbosity::Beside, Display::Logs.bar());
    weir::media::init().context("can't start GStreamer; run `weir doctor`")?;
    let server = storage.map(|file| server_storage(Some(file))).transpose()?;
    let recovered = runtime()?.block_on(recover::recover(dir, server.as_ref()))?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    match json {
        true => cli::recovered::print_json(&recovered, &mut out)?,
        false => cli::recovered::print(dir, &recovered, &mut out, &mut err)?,
    }
    // A closed standard error is ignored.
    std::io::stderr().write_all(&err).ok();
    print(&out)?;
    Ok(u8::from(!recovered.iter().all(recover::Recovered::is_whole)))
}

fn decide(job: &Job) -> anyhow::Result<(EgressRequest, RecordingPlan)> {
    let directory = std::env::current_dir().context("can't read the current directory")?;
    let request = match job {
        Job::Web(args) => cli::request::web(args, &directory).map_err(|error| bad(error.field(), &error))?,
        Job::Room(args) => {
            cli::request::room(args, &directory).map_err(|error| bad(error.field(), &error))?
        }
        Job::Participant(args) => {
            cli::request::participant(args, &directory).map_err(|error| bad(error.field(), &error))?
        }
        Job::TrackComposite(args) => {
            cli::request::track_composite(args, &directory).map_err(|error| bad(error.field(), &error))?
        }
        Job::Track(args) => {
            cli::request::track(args, &directory).map_err(|error| bad(error.field(), &error))?
        }
        Job::Request(args) => {
            let request = json::parse(&read(&args.file)?).map_err(|error| BadRequest(error.to_string()))?;
            cli::request::general(request, &args.general)
        }
    };
    let defaults = Defaults {
        storage: server_storage(job.general_args().storage.as_deref())?,
        rooms: job.server_args().map(ServerArgs::rooms).unwrap_or_default(),
        ..Defaults::default()
    };
    let plan = RecordingPlan::new(&request, &defaults, cli::new_egress_id(), &jiff::Zoned::now()).map_err(
        |error| match job {
            Job::Request(_) => BadRequest(error.to_string()),
            Job::Web(_) | Job::Room(_) | Job::Participant(_) | Job::TrackComposite(_) | Job::Track(_) => {
                bad(error.field(), &error)
            }
        },
    )?;
    Ok((request, plan))
}

/// Reads a `--storage` file; without one, the storage is the local disk.
fn server_storage(file: Option<&Path>) -> Result<ServerStorage, BadRequest> {
    let Some(file) = file else { return Ok(ServerStorage::default()) };
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadRequest(format!("can't read the storage file {shown}: {error}")))?;
    storage::parse(&text).map_err(|error| BadRequest(format!("{shown}: {error}")))
}

/// Adds the option that sets the field to the error.
fn bad(field: &str, error: &impl std::fmt::Display) -> BadRequest {
    BadRequest(match cli::request::option_of(field) {
        Some(option) => format!("{error} [{option}]"),
        None => error.to_string(),
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    let unreadable =
        |error: std::io::Error| BadRequest(format!("can't read the request {}: {error}", file.display()));
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        return Ok(text);
    }
    Ok(std::fs::read_to_string(file).map_err(unreadable)?)
}

fn display(run: &RunArgs) -> (Display, Verbosity) {
    match (run.quiet, std::io::stderr().is_terminal()) {
        (true, _) => (Display::Logs, Verbosity::Quiet),
        (false, true) => (Display::line(), Verbosity::Beside),
        (false, false) => (Display::Logs, Verbosity::Normal),
    }
}

/// Prints a usage error, or the help, without keys and tokens.
fn print_usage_error(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let printed = match cli::errors::without_secrets(error, &arguments) {
        Some(text) if error.use_stderr() => std::io::stderr().write_all(text.as_bytes()),
        Some(_) | None => error.print(),
    };
    match printed {
        // A failed write to standard error is ignored; the help's is not.
        Err(unprinted) if !error.use_stderr() && !is_reader_gone(&unprinted) => {
            print_line(&mut std::io::stderr(), &format!("weir: can't print the result: {unprinted}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_REQUEST)),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    // clap_complete panics when it can't write, so the script is generated in memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
    print(&script)?;
    Ok(0)
}

/// Joins items as lines.
fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{item}\n")).collect()
}

/// Writes a result to standard output. A reader that is gone (`weir plan …
/// head`, a closed terminal) is not an error.
fn print(result: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(result).and_then(|()| out.flush()) {
        Err(error) if is_reader_gone(&error) => Ok(()),
        printed => printed.context("can't print the result"),
    }
}

/// Returns whether the reader of standard output is gone: a pipe without a reader, or a closed
/// terminal.
fn is_reader_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

/// Writes a line for people. A failed write is ignored.
fn print_line(to: &mut dyn Write, line: &str) {
    writeln!(to, "{line}").ok();
}
