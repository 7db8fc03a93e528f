//! The `weir` command: arguments to a mode, outcomes to an exit code.

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

/// A request that can't be recorded; nothing was started.
const BAD_REQUEST: u8 = 2;

fn main() -> ExitCode {
    // A recording's browser starts it in place of programs of a desktop.
    if let Some(answer) = process::desktop::answer(std::env::args_os().next().as_deref()) {
        return if print(answer.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    process::raise_open_files();
    let done = match cli.command {
        Command::Record { job } => record(&job),
        Command::Plan { job } => plan(&job),
        Command::Doctor => examine(),
        Command::Recover { dir, json, storage, refuse_link_local } => {
            if refuse_link_local {
                outbound::refuse_link_local();
            }
            finish(&dir, json, storage.as_deref())
        }
        Command::Serve(args) => serve(&args),
        Command::Console(args) => console(&args),
        Command::Recorder => record_for_service(),
        Command::Completions { shell } => completions(shell),
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        say(&mut std::io::stderr(), &format!("weir: {error:#}"));
        match error.is::<BadRequest>() {
            true => BAD_REQUEST,
            false => 1,
        }
    }))
}

/// Marks an error as the request's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadRequest(String);

fn record(job: &Job) -> anyhow::Result<u8> {
    // It may wait for a pipe (`--stream-file`, a request on standard input), which Ctrl-C ends as long as nothing is begun.
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
    let verdict = runtime
        .block_on(recorder::record(plan, Some(request), &options))
        .map_err(|refused| BadRequest(refused.to_string()))?;
    // Whatever blocks still (a server that does not answer a goodbye) must not hold the result back.
    runtime.shutdown_background();
    let ended = verdict.ended();
    if !ended.info.error.is_empty() && verdict.exit_code() != 0 {
        let explanation = ended.explanation.clone().unwrap_or_default();
        say(&mut std::io::stderr(), &format!("weir: {}{explanation}", ended.info.error));
    }
    let mut result = Vec::new();
    recorder::print_result(ended, run.json, &mut result).context("the result can't be written")?;
    print(&result)?;
    Ok(verdict.exit_code())
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
    // Whatever blocks still must not hold the end back.
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
        // All that this process does is of this egress. Each thread stays in its span until it ends.
        .on_thread_start({
            let span = span.clone();
            move || std::mem::forget(span.clone().entered())
        })
        .build()
        .context("the runtime does not start")?;
    let accepted = span.in_scope(|| runtime.block_on(supervised::run(&job, pipes)))?;
    runtime.shutdown_background();
    Ok(if accepted { 0 } else { BAD_REQUEST })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("the runtime does not start")
}

fn plan(job: &Job) -> anyhow::Result<u8> {
    let (_, plan) = decide(job)?;
    let graph = GraphPlan::new(&plan, Machine { cores: recorder::available_cores(), encoder_threads: 0 });
    print(format!("{}\n", render::render(&plan, &graph).trim_end()).as_bytes())?;
    Ok(0)
}

fn examine() -> anyhow::Result<u8> {
    let findings = doctor::examine();
    print(lines(&findings).as_bytes())?;
    Ok(u8::from(!doctor::is_sound(&findings)))
}

fn finish(dir: &Path, json: bool, storage: Option<&Path>) -> anyhow::Result<u8> {
    telemetry::init(Verbosity::Beside, Display::Logs.bar());
    weir::media::init().context("GStreamer does not start (try `weir doctor`)")?;
    let server = storage.map(|file| server_storage(Some(file))).transpose()?;
    let recovered = runtime()?.block_on(recover::recover(dir, server.as_ref()))?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    match json {
        true => cli::recovered::print_json(&recovered, &mut out)?,
        false => cli::recovered::print(dir, &recovered, &mut out, &mut err)?,
    }
    // Where nobody reads problems any more there is nobody to tell.
    std::io::stderr().write_all(&err).ok();
    print(&out)?;
    Ok(u8::from(!recovered.iter().all(recover::Recovered::is_whole)))
}

fn decide(job: &Job) -> anyhow::Result<(EgressRequest, RecordingPlan)> {
    let directory = std::env::current_dir().context("the current directory can't be read")?;
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

/// What a `--storage` file says; without one, the local disk.
fn server_storage(file: Option<&Path>) -> Result<ServerStorage, BadRequest> {
    let Some(file) = file else { return Ok(ServerStorage::default()) };
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadRequest(format!("can't read the storage file {shown}: {error}")))?;
    storage::parse(&text).map_err(|error| BadRequest(format!("{shown}: {error}")))
}

/// The error with the option that the field comes from.
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

/// Says what is wrong with the command line, or what was asked about it (`--help`). No key or token is quoted.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let printed = match cli::errors::without_secrets(error, &arguments) {
        Some(text) if error.use_stderr() => std::io::stderr().write_all(text.as_bytes()),
        Some(_) | None => error.print(),
    };
    match printed {
        // What is on standard error is said for people, who know when nobody listens.
        Err(unprinted) if !error.use_stderr() && !is_nobody_there(&unprinted) => {
            say(&mut std::io::stderr(), &format!("weir: the result can't be printed: {unprinted}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_REQUEST)),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    // It panics where it can't write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
    print(&script)?;
    Ok(0)
}

/// Each as a line.
fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{item}\n")).collect()
}

/// Writes a result to standard output. A reader that is gone (`weir plan … | head`, a closed terminal) is not an error.
fn print(result: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(result).and_then(|()| out.flush()) {
        Err(error) if is_nobody_there(&error) => Ok(()),
        printed => printed.context("the result can't be printed"),
    }
}

/// Whether the other end of standard output is gone: a pipe without a reader, a terminal that was closed.
fn is_nobody_there(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

/// Writes a line for a person. Where nobody reads any more there is nobody to tell.
fn say(to: &mut dyn Write, line: &str) {
    writeln!(to, "{line}").ok();
}
