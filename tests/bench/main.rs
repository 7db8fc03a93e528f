//! Records the reference pages with the build that is shipped (profile `dist`) and measures what it
//! costs and what comes out.
//!
//! `make bench` runs everything and rewrites the figures of `docs/benchmarks.md` and its plot;
//! `cargo bench --profile dist --bench recordings -- clock 1080p30` (or `-- track x50`) runs what
//! has all these words in its name and prints the table, and with the word `write` among them it
//! also writes the documents; `-- encoders` compares the encoder's settings alone, `-- aac`
//! encoders of AAC, `-- upload` the uploader with `aws s3 cp`. All figures are kept as JSON in
//! `bench/out/`.
#![allow(clippy::unwrap_used, reason = "a bench that can't go on has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

mod aac;
mod cases;
mod encoder;
mod plot;
mod report;
mod sample;
#[path = "../support/support.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;
mod tracks;
mod upload;

use std::fs;
use std::path::Path;

fn main() {
    let _slot = support::slots::machine();
    // Cargo adds `--bench`.
    let (write, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).partition(|word| word == "write");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = measured(cases::all(), &words, cases::Case::name, cases::Stage::new, cases::Case::measure);
    let tracks =
        measured(tracks::all(), &words, tracks::Case::name, tracks::Sent::new, tracks::Case::measure);
    let whole = words.is_empty();
    let encoders = if whole || words == ["encoders"] { encoder::compare() } else { Vec::new() };
    let aac = if whole || words == ["aac"] { aac::compare() } else { Vec::new() };
    let upload = (whole || words == ["upload"]).then(upload::compare);
    let results = report::Results::new(pages, tracks, encoders, aac, upload);

    let out = root.join("bench/out");
    fs::create_dir_all(&out).unwrap();
    let file = out.join(format!("{}.json", results.stamp()));
    fs::write(&file, serde_json::to_string_pretty(&results).unwrap()).unwrap();
    println!("{}", results.markdown());
    println!("{}", file.display());

    if whole || !write.is_empty() {
        fs::write(root.join("docs/benchmarks.svg"), plot::svg(&results)).unwrap();
        report::replace_figures(&root.join("docs/benchmarks.md"), &results.markdown());
    }
}

/// Measures each case that has all the words in its name, with what all of them use, which is made
/// where there are any.
fn measured<C, S, M>(
    cases: Vec<C>,
    words: &[String],
    name: impl Fn(&C) -> String,
    stage: impl FnOnce() -> S,
    measure: impl Fn(&C, &S) -> M,
) -> Vec<M> {
    let is_wanted = |case: &&C| words.iter().all(|word| name(case).contains(word.as_str()));
    let wanted: Vec<&C> = cases.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let stage = stage();
    let measure = |(at, case): (usize, &C)| {
        eprintln!("{:2} of {}: {}", at + 1, wanted.len(), name(case));
        measure(case, &stage)
    };
    wanted.iter().copied().enumerate().map(measure).collect()
}
