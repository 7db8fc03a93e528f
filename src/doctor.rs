//! Checks the dependencies of a recording, and prints how to install what is missing.

mod scripts;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::media;
use crate::process::{self, FC_LIST, PROGRAMS, ProcessError, Program};

/// The first listing after fonts were installed takes seconds.
const FONT_LIST_WITHIN: Duration = Duration::from_secs(30);

/// One dependency and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its path or version.
    Found(String),
    /// Recordings work, with a limitation.
    Degraded(String),
    /// The package to install.
    Missing { package: &'static str },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Found(what) => write!(f, "ok       {}  {what}", self.name),
            State::Degraded(why) => write!(f, "warning  {}  {why}", self.name),
            State::Missing { package } => {
                write!(f, "missing  {}  install it with: apt-get install {package}", self.name)
            }
        }
    }
}

/// Checks all dependencies.
#[must_use]
pub fn check() -> Vec<Finding> {
    let mut findings: Vec<Finding> = PROGRAMS.iter().map(program).collect();
    findings.extend(gstreamer());
    findings.push(fonts(Path::new("/usr/share/fonts")));
    findings.extend(uncovered_scripts(process::ask(
        &FC_LIST,
        &["--format", "%{charset}\n"],
        FONT_LIST_WITHIN,
    )));
    findings.push(memory(Path::new("/dev/shm")));
    findings
}

/// Returns whether recordings can run.
#[must_use]
pub fn can_record(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| matches!(finding.state, State::Missing { .. }))
}

fn program(program: &Program) -> Finding {
    let state = match program.find() {
        Ok(file) => State::Found(file.display().to_string()),
        Err(_) => State::Missing { package: program.package },
    };
    Finding { name: program.name.to_owned(), state }
}

fn gstreamer() -> Vec<Finding> {
    if let Err(error) = media::init() {
        let state = State::Degraded(format!("can't start: {error}"));
        return vec![Finding { name: "GStreamer".to_owned(), state }];
    }
    let mut findings = vec![Finding { name: "GStreamer".to_owned(), state: State::Found(media::version()) }];
    findings.extend(
        media::element::ELEMENTS.iter().filter(|(element, _)| media::make(element).is_err()).map(
            |(element, package)| Finding {
                name: format!("GStreamer element {element}"),
                state: State::Missing { package },
            },
        ),
    );
    findings
}

fn fonts(dir: &Path) -> Finding {
    let has_some = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    let state = if has_some {
        State::Found(dir.display().to_string())
    } else {
        State::Missing { package: "fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji" }
    };
    Finding { name: "fonts".to_owned(), state }
}

/// Text in a script without a font is recorded as boxes. `charsets` lists the characters of all
/// fonts.
fn uncovered_scripts(charsets: Result<String, ProcessError>) -> Vec<Finding> {
    let finding = |name: &str, why: String| Finding { name: name.to_owned(), state: State::Degraded(why) };
    match charsets {
        Ok(charsets) => scripts::missing(&charsets)
            .into_iter()
            .map(|script| {
                let why =
                    format!("text is recorded as boxes; install it with: apt-get install {}", script.package);
                finding(&format!("font for {}", script.name), why)
            })
            .collect(),
        Err(error) => vec![finding("scripts of the fonts", format!("unknown: {error}"))],
    }
}

fn memory(dir: &Path) -> Finding {
    let is_tmpfs = nix::sys::statfs::statfs(dir)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let state = if is_tmpfs {
        State::Found(format!("{} is tmpfs", dir.display()))
    } else {
        State::Degraded(format!(
            "{} is not a tmpfs: the display's framebuffer is written to the disk",
            dir.display()
        ))
    };
    Finding { name: "memory for the display".to_owned(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_dependency_names_its_package() {
        let finding = Finding { name: "Xvfb".to_owned(), state: State::Missing { package: "xvfb" } };
        assert_eq!(finding.to_string(), "missing  Xvfb  install it with: apt-get install xvfb");
        assert!(!can_record(&[finding]));
    }

    #[test]
    fn a_script_without_a_font_names_its_package() {
        let all = "20-2fff 1f600".to_owned();
        let shown: Vec<String> = uncovered_scripts(Ok(all)).iter().map(Finding::to_string).collect();
        let boxes = "text is recorded as boxes; install it with: apt-get install fonts-noto-cjk";
        let expected =
            ["Chinese", "Japanese", "Korean"].map(|script| format!("warning  font for {script}  {boxes}"));
        assert_eq!(shown, expected);
        assert!(uncovered_scripts(Ok("20-10ffff".to_owned())).is_empty());
        let unknown =
            uncovered_scripts(Err(ProcessError::Missing { program: "fc-list", package: "fontconfig" }));
        assert!(unknown[0].to_string().contains("apt-get install fontconfig"), "{unknown:?}");
        assert!(can_record(&unknown), "recordings work without");
    }

    /// The packages of `record` in scripts/packages.sh are complete.
    #[test]
    fn every_named_package_is_in_the_list_of_packages() {
        let list = include_str!("../scripts/packages.sh");
        let (_, list) = list.split_once("\nrecord=(\n").unwrap();
        let (list, _) = list.split_once("\n)").unwrap();
        let listed: Vec<&str> = list.split_whitespace().collect();
        let scripts = scripts::missing("");
        let State::Missing { package: fonts } = fonts(Path::new("/nowhere/fonts")).state else {
            panic!("a missing directory has no fonts")
        };
        let named = scripts.iter().map(|script| script.package);
        let named = named.chain(PROGRAMS.iter().map(|program| program.package)).chain([FC_LIST.package]);
        let named = named.chain(media::element::ELEMENTS.iter().map(|(_, package)| *package));
        for package in named.chain(fonts.split(' ')) {
            assert!(listed.contains(&package), "{package} is not in `record` of scripts/packages.sh");
        }
    }

    /// Tests that need the programs of a recording.
    mod with_processes {
        use super::*;

        #[test]
        fn this_machine_can_record() {
            let findings = check();
            assert!(can_record(&findings), "{findings:#?}");
        }
    }
}
