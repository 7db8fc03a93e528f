//! Is everything here that a recording needs? Each missing thing with the command that installs it.

mod scripts;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::media;
use crate::process::{self, FC_LIST, PROGRAMS, ProcessError, Program};

/// The first list after fonts were installed takes seconds.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

/// One thing that a recording needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Where or what it is.
    Here(String),
    /// A recording works without it, but less well.
    Degraded(String),
    /// The package that brings it.
    Missing { package: &'static str },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Here(what) => write!(f, "ok       {}  {what}", self.name),
            State::Degraded(why) => write!(f, "warning  {}  {why}", self.name),
            State::Missing { package } => {
                write!(f, "missing  {}  install it with: apt-get install {package}", self.name)
            }
        }
    }
}

/// Looks at everything.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let mut findings: Vec<Finding> = PROGRAMS.iter().map(program).collect();
    findings.extend(gstreamer());
    findings.push(fonts(Path::new("/usr/share/fonts")));
    findings.extend(missing_scripts(process::ask(&FC_LIST, &["--format", "%{charset}\n"], LISTED_WITHIN)));
    findings.push(memory(Path::new("/dev/shm")));
    findings
}

/// Whether a recording can be made at all.
#[must_use]
pub fn is_sound(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| matches!(finding.state, State::Missing { .. }))
}

fn program(program: &Program) -> Finding {
    let state = match program.find() {
        Ok(file) => State::Here(file.display().to_string()),
        Err(_) => State::Missing { package: program.package },
    };
    Finding { name: program.name.to_owned(), state }
}

fn gstreamer() -> Vec<Finding> {
    if let Err(error) = media::init() {
        let state = State::Degraded(format!("does not start: {error}"));
        return vec![Finding { name: "GStreamer".to_owned(), state }];
    }
    let mut findings = vec![Finding { name: "GStreamer".to_owned(), state: State::Here(media::version()) }];
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
        State::Here(dir.display().to_string())
    } else {
        State::Missing { package: "fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji" }
    };
    Finding { name: "fonts".to_owned(), state }
}

/// Text without a font is recorded as boxes. `charsets`: the characters of all fonts.
fn missing_scripts(charsets: Result<String, ProcessError>) -> Vec<Finding> {
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
        Err(error) => vec![finding("scripts of the fonts", format!("not known: {error}"))],
    }
}

fn memory(dir: &Path) -> Finding {
    let is_tmpfs = nix::sys::statfs::statfs(dir)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let state = if is_tmpfs {
        State::Here(format!("{} is tmpfs", dir.display()))
    } else {
        State::Degraded(format!(
            "{} is no tmpfs: the display's framebuffer will be written to a disk",
            dir.display()
        ))
    };
    Finding { name: "memory for the display".to_owned(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_package() {
        let finding = Finding { name: "Xvfb".to_owned(), state: State::Missing { package: "xvfb" } };
        assert_eq!(finding.to_string(), "missing  Xvfb  install it with: apt-get install xvfb");
        assert!(!is_sound(&[finding]));
    }

    #[test]
    fn a_script_without_a_font_comes_with_its_package() {
        let all = "20-2fff 1f600".to_owned();
        let shown: Vec<String> = missing_scripts(Ok(all)).iter().map(Finding::to_string).collect();
        let boxes = "text is recorded as boxes; install it with: apt-get install fonts-noto-cjk";
        let expected =
            ["Chinese", "Japanese", "Korean"].map(|script| format!("warning  font for {script}  {boxes}"));
        assert_eq!(shown, expected);
        assert!(missing_scripts(Ok("20-10ffff".to_owned())).is_empty());
        let unknown =
            missing_scripts(Err(ProcessError::Missing { program: "fc-list", package: "fontconfig" }));
        assert!(unknown[0].to_string().contains("apt-get install fontconfig"), "{unknown:?}");
        assert!(is_sound(&unknown), "recordings go without");
    }

    /// Whoever installs the packages of `record` is told of nothing that is missing.
    #[test]
    fn every_package_that_is_named_is_in_the_list_of_packages() {
        let list = include_str!("../scripts/packages.sh");
        let (_, list) = list.split_once("\nrecord=(\n").unwrap();
        let (list, _) = list.split_once("\n)").unwrap();
        let listed: Vec<&str> = list.split_whitespace().collect();
        let scripts = scripts::missing("");
        let State::Missing { package: fonts } = fonts(Path::new("/nowhere/fonts")).state else {
            panic!("there are fonts nowhere")
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
            let findings = examine();
            assert!(is_sound(&findings), "{findings:#?}");
        }
    }
}
