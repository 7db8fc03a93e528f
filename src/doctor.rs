//! Is everything here that a recording needs? Each missing thing with the command that installs it.

use std::fmt;
use std::path::Path;

use crate::media;
use crate::process::{PROGRAMS, Program};

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
        State::Missing { package: "fonts-noto-core fonts-noto-color-emoji" }
    };
    Finding { name: "fonts".to_owned(), state }
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
