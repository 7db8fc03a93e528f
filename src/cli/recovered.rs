//! The output of `weir recover`: text for people, JSON lines for programs.

use std::io::{self, Write};
use std::path::Path;

use crate::ipc::recovery::RecoveryLine;
use crate::recording::workdir::Remain;
use crate::recover::Recovered;

/// Prints what was recovered in `dir`: results to `out`; problems, and what to do about them, to
/// `err`.
///
/// # Errors
/// When the output can't be written.
pub fn print(
    dir: &Path,
    recovered: &[Recovered],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    if recovered.is_empty() {
        writeln!(out, "nothing to recover in {}", dir.display())?;
    }
    for recording in recovered {
        let root = recording.root.display();
        writeln!(out, "{root}: found {}", describe(&recording.found))?;
        for file in &recording.files {
            writeln!(out, "finished: {file}")?;
        }
        for name in &recording.without_video {
            writeln!(
                out,
                "note: {name} has no video: no complete frame was recorded; the recording was killed in its first second"
            )?;
        }
        for Remain { path, bytes } in &recording.kept {
            writeln!(out, "kept: {} ({bytes} bytes)", path.display())?;
        }
        for problem in &recording.problems {
            writeln!(err, "weir: {root}: {problem}")?;
        }
        if let [first, others @ ..] = &recording.kept[..] {
            let others = match others.len() {
                0 => String::new(),
                1 => " and 1 other file".to_owned(),
                more => format!(" and {more} other files"),
            };
            writeln!(
                err,
                "weir: {root}: {}{others} could not be finished and are kept; inspect them with `ffprobe` or `ffplay`, \
                 fix the cause and run `weir recover` again, or remove the directory",
                first.path.display()
            )?;
        }
    }
    Ok(())
}

/// Prints the same as JSON lines ([`RecoveryLine`]).
///
/// # Errors
/// When the output can't be written.
pub fn print_json(recovered: &[Recovered], out: &mut dyn Write) -> io::Result<()> {
    for recording in recovered {
        let dir = || recording.root.display().to_string();
        let found =
            RecoveryLine::Found { dir: dir(), files: recording.found.len(), bytes: bytes(&recording.found) };
        let finished = recording.files.iter();
        let finished =
            finished.map(|location| RecoveryLine::Finished { dir: dir(), location: location.clone() });
        let kept = recording.kept.iter().map(|Remain { path, bytes }| RecoveryLine::Kept {
            dir: dir(),
            path: path.display().to_string(),
            bytes: *bytes,
        });
        let problems = recording.problems.iter();
        let problems =
            problems.map(|problem| RecoveryLine::Problem { dir: dir(), error: problem.to_string() });
        let done = RecoveryLine::Done { dir: dir(), is_whole: recording.is_whole() };
        for line in std::iter::once(found).chain(finished).chain(kept).chain(problems).chain([done]) {
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
    }
    Ok(())
}

fn describe(files: &[Remain]) -> String {
    match files.len() {
        0 => "no recorded media".to_owned(),
        1 => format!("1 file with {} bytes", bytes(files)),
        count => format!("{count} files with {} bytes", bytes(files)),
    }
}

fn bytes(files: &[Remain]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover::RecoverError;

    fn remain(path: &str, bytes: u64) -> Remain {
        Remain { path: path.into(), bytes }
    }

    fn damaged() -> Recovered {
        let kept = "/r/.weir/EG_1/0/file-0.damaged.mp4";
        let damage = "damaged at byte 0: 4096 bytes can't be read".to_owned();
        Recovered {
            root: "/r/.weir/EG_1".into(),
            found: vec![remain("/r/.weir/EG_1/0/file-0.recording.mp4", 9000)],
            files: vec!["/r/talk.mp4".into()],
            without_video: Vec::new(),
            kept: vec![remain(kept, 9000)],
            problems: vec![RecoverError::Damaged { name: "talk.mp4".into(), damage, kept: kept.into() }],
        }
    }

    fn printed(recovered: &[Recovered]) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(Path::new("/r"), recovered, &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn text_lists_found_finished_and_kept_files_and_the_next_step() {
        let (out, err) = printed(&[damaged()]);
        assert_eq!(
            out,
            "/r/.weir/EG_1: found 1 file with 9000 bytes\nfinished: /r/talk.mp4\n\
             kept: /r/.weir/EG_1/0/file-0.damaged.mp4 (9000 bytes)\n"
        );
        for words in [
            "talk.mp4: the recorded file is damaged at byte 0",
            "ffplay",
            "weir recover",
            "file-0.damaged.mp4",
        ] {
            assert!(err.contains(words), "{words}: {err}");
        }
        assert_eq!(printed(&[]).0, "nothing to recover in /r\n");
    }

    #[test]
    fn a_file_without_a_frame_is_a_note_and_not_a_problem() {
        let recovered = Recovered {
            without_video: vec!["talk.mp4".to_owned()],
            kept: Vec::new(),
            problems: Vec::new(),
            ..damaged()
        };
        assert!(recovered.is_whole());
        let (out, err) = printed(&[recovered]);
        assert!(out.contains("finished: /r/talk.mp4\nnote: talk.mp4 has no video: "), "{out}");
        assert!(err.is_empty(), "{err}");
    }

    #[test]
    fn json_has_one_line_for_each_item() {
        let mut out = Vec::new();
        print_json(&[damaged()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<RecoveryLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let dir = || "/r/.weir/EG_1".to_owned();
        assert_eq!(lines[0], RecoveryLine::Found { dir: dir(), files: 1, bytes: 9000 });
        assert_eq!(lines[1], RecoveryLine::Finished { dir: dir(), location: "/r/talk.mp4".into() });
        assert!(
            matches!(&lines[2], RecoveryLine::Kept { path, bytes: 9000, .. } if path.ends_with("damaged.mp4"))
        );
        assert!(matches!(&lines[3], RecoveryLine::Problem { error, .. } if error.starts_with("talk.mp4: ")));
        assert_eq!(lines[4..], [RecoveryLine::Done { dir: dir(), is_whole: false }]);
    }
}
