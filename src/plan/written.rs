//! The names that a recording writes to, so that no other one writes to them at the same time; and
//! how it gets others.
//!
//! Manifests are not among them: their names have the egress id.

use super::filename;
use super::output::{ImageSuffix, NameOrigin, OutputId, OutputPlan, SegmentSuffix};
use super::recording_plan::RecordingPlan;
use super::storage::{StoragePath, StorageTarget};

/// A name that an output writes to in one of its storages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenName {
    /// As the request has it, for people.
    pub name: String,
    /// With the storage's prefix. In a name that stands for many files, `*` is what differs.
    pub key: String,
    /// On the local disk: `key` is a path there.
    pub is_local: bool,
    /// Identifies its storage.
    pub storage: String,
    /// Written to only when the primary storage fails.
    pub is_backup: bool,
    pub files: WrittenFiles,
}

/// The files that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenFiles {
    One,
    /// Numbered from zero, with five digits or more in place of the `*`.
    Numbered,
    /// With the time at which each begins, seventeen digits, in place of the `*`.
    Timed,
}

impl WrittenFiles {
    /// The many of which one has these digits in its name; `None`: no output writes them.
    fn with_digits(digits: &str) -> Option<Self> {
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        match digits.len() {
            // No recording has so many files that it could be a number.
            17 => Some(Self::Timed),
            5 => Some(Self::Numbered),
            // A longer number is not filled up with zeros.
            6.. if !digits.starts_with('0') => Some(Self::Numbered),
            _ => None,
        }
    }
}

impl WrittenName {
    fn at(target: &StorageTarget, name: &str, files: WrittenFiles, is_backup: bool) -> Self {
        let (key, is_local, storage) = (target.key(name), target.is_local(), target.identity());
        Self { name: name.to_owned(), key, is_local, storage, is_backup, files }
    }

    /// The names of a storage under which a recording may write a file of this name: its own, and
    /// the one that stands for many.
    #[must_use]
    pub fn of_file(target: &StorageTarget, name: &str) -> Vec<Self> {
        let many = many(name).map(|(name, files)| Self::at(target, &name, files, false));
        std::iter::once(Self::at(target, name, WrittenFiles::One, false)).chain(many).collect()
    }

    /// The name that stands for many files, this one among them: its own, or for a single file the
    /// one whose number or time it has.
    #[must_use]
    pub fn of_many(&self) -> Option<Self> {
        match self.files {
            WrittenFiles::One => {
                let (key, files) = many(&self.key)?;
                Some(Self { key, files, ..self.clone() })
            }
            WrittenFiles::Numbered | WrittenFiles::Timed => Some(self.clone()),
        }
    }

    /// Whether there may be a file that both are the name of. Symbolic links are not looked at.
    #[must_use]
    pub fn shares_files_with(&self, other: &Self) -> bool {
        // Two single files of different names are two files, however much alike.
        let is_one_of_many = (self.files == WrittenFiles::One) != (other.files == WrittenFiles::One)
            && self
                .of_many()
                .zip(other.of_many())
                .is_some_and(|(one, other)| one.key == other.key && one.files == other.files);
        self.storage == other.storage && (self.key == other.key || is_one_of_many)
    }
}

impl RecordingPlan {
    /// The names that an output writes to, at its primary and at its backup storage.
    #[must_use]
    pub fn written(&self, OutputId(output): OutputId) -> Vec<WrittenName> {
        let Some(output) = self.outputs.get(output) else { return Vec::new() };
        let Some(storage) = output.storage() else { return Vec::new() };
        let names = names(output);
        let places = [(Some(&storage.primary), false), (storage.backup.as_ref(), true)];
        let at = |(target, is_backup): (Option<&StorageTarget>, bool)| -> Vec<WrittenName> {
            let Some(target) = target else { return Vec::new() };
            names.iter().map(|(name, files)| WrittenName::at(target, name, *files, is_backup)).collect()
        };
        places.into_iter().flat_map(at).collect()
    }

    /// Origin of an output's names.
    #[must_use]
    pub fn named(&self, OutputId(output): OutputId) -> NameOrigin {
        match self.outputs.get(output) {
            Some(OutputPlan::File(file)) => file.named,
            Some(OutputPlan::Segments(segments)) => segments.named,
            Some(OutputPlan::Images(images)) => images.named,
            Some(OutputPlan::Stream(_) | OutputPlan::WebSocket(_)) | None => NameOrigin::Given,
        }
    }

    /// Adds the egress id to the names of an output: no other recording has them then.
    pub fn add_id_to_names(&mut self, OutputId(output): OutputId) {
        let id = self.egress_id.clone();
        let add = |name: &str, extension: &str| filename::with_id(name, id.as_str(), extension, 0);
        let add_to_prefix =
            |name: &str| filename::with_id(name, id.as_str(), "", filename::NUMBER_AND_EXTENSION);
        match self.outputs.get_mut(output) {
            Some(OutputPlan::File(file)) => {
                file.name = StoragePath::new(add(file.name.as_str(), file.container.row().extension));
            }
            Some(OutputPlan::Segments(segments)) => {
                segments.playlist = add(&segments.playlist, ".m3u8");
                segments.live_playlist = segments.live_playlist.as_ref().map(|name| add(name, ".m3u8"));
                segments.prefix = add_to_prefix(&segments.prefix);
            }
            Some(OutputPlan::Images(images)) => images.prefix = add_to_prefix(&images.prefix),
            Some(OutputPlan::Stream(_) | OutputPlan::WebSocket(_)) | None => {}
        }
    }

    /// A file's name with the egress id in it, for when its own is taken at the end.
    #[must_use]
    pub fn file_name_with_id(&self, output: OutputId) -> Option<String> {
        let mut plan = self.clone();
        plan.add_id_to_names(output);
        match plan.outputs.into_iter().nth(output.0) {
            Some(OutputPlan::File(file)) => Some(file.name.to_string()),
            _ => None,
        }
    }

    /// Puts an output's backup below a directory of the egress id: another recording's backup may
    /// need the same names.
    pub fn move_backup(&mut self, OutputId(output): OutputId) {
        let id = self.egress_id.clone();
        let storage = match self.outputs.get_mut(output) {
            Some(OutputPlan::File(file)) => &mut file.storage,
            Some(OutputPlan::Segments(segments)) => &mut segments.storage,
            Some(OutputPlan::Images(images)) => &mut images.storage,
            Some(OutputPlan::Stream(_) | OutputPlan::WebSocket(_)) | None => return,
        };
        if let Some(backup) = &mut storage.backup {
            backup.prefix = match backup.prefix.as_str() {
                "" => id.to_string(),
                prefix => format!("{prefix}/{id}"),
            };
        }
    }
}

/// The name that stands for many files of which one has this name, and how these differ.
fn many(name: &str) -> Option<(String, WrittenFiles)> {
    let (before, after) = name.rsplit_once('_')?;
    let (digits, extension) = after.rsplit_once('.')?;
    let files = WrittenFiles::with_digits(digits)?;
    // Otherwise it was a directory's.
    (!extension.contains('/')).then(|| (format!("{before}_*.{extension}"), files))
}

fn names(output: &OutputPlan) -> Vec<(String, WrittenFiles)> {
    match output {
        OutputPlan::File(file) => vec![(file.name.to_string(), WrittenFiles::One)],
        OutputPlan::Segments(segments) => {
            let dir = &segments.dir;
            let files = match segments.suffix {
                SegmentSuffix::Index => WrittenFiles::Numbered,
                SegmentSuffix::Timestamp => WrittenFiles::Timed,
            };
            let playlists = std::iter::once(&segments.playlist).chain(&segments.live_playlist);
            let mut names: Vec<_> =
                playlists.map(|name| (format!("{dir}{name}"), WrittenFiles::One)).collect();
            names.push((format!("{dir}{}_*.ts", segments.prefix), files));
            names
        }
        OutputPlan::Images(images) => {
            let prefix = &images.prefix;
            vec![match images.suffix {
                ImageSuffix::Index => (format!("{prefix}_*.jpeg"), WrittenFiles::Numbered),
                ImageSuffix::Timestamp => (format!("{prefix}_*.jpeg"), WrittenFiles::Timed),
                ImageSuffix::NoneOverwrite => (format!("{prefix}.jpeg"), WrittenFiles::One),
            }]
        }
        OutputPlan::Stream(_) | OutputPlan::WebSocket(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::storage::{self, ServerStorage};
    use crate::plan::defaults::Defaults;
    use crate::plan::{EgressId, json};

    fn plan_with(outputs: &str, server: &str) -> RecordingPlan {
        let request = json::parse(&format!(r#"{{"url":"https://example.com",{outputs}}}"#)).unwrap();
        let storage = match server {
            "" => ServerStorage::default(),
            text => storage::parse(text).unwrap(),
        };
        let defaults = Defaults { storage, ..Defaults::default() };
        let now = "2006-01-02T15:04:05Z[UTC]".parse().unwrap();
        RecordingPlan::new(&request, &defaults, EgressId::new("EG_test"), &now).unwrap()
    }

    fn keys(plan: &RecordingPlan) -> Vec<String> {
        let outputs = (0..plan.outputs.len()).map(OutputId);
        outputs.flat_map(|output| plan.written(output)).map(|written| written.key).collect()
    }

    /// Request, who chose its names, what it writes to, and what with the id.
    #[test]
    fn names_that_are_written_to() {
        use NameOrigin::{Generated, Given};
        let web = "web-2006-01-02T150405";
        for (outputs, named, written, unique) in [
            (
                r#""file_outputs":[{}]"#,
                Generated,
                vec![format!("{web}.mp4")],
                vec![format!("{web}-EG_test.mp4")],
            ),
            (
                r#""file_outputs":[{"filepath":"a/"}]"#,
                Generated,
                vec![format!("a/{web}.mp4")],
                vec![format!("a/{web}-EG_test.mp4")],
            ),
            (
                r#""file_outputs":[{"filepath":"a-{time}.mp4"}]"#,
                Generated,
                vec!["a-2006-01-02T150405.mp4".to_owned()],
                vec!["a-2006-01-02T150405-EG_test.mp4".to_owned()],
            ),
            (
                r#""file_outputs":[{"filepath":"b/../a.mp4"}]"#,
                Given,
                vec!["a.mp4".to_owned()],
                vec!["a-EG_test.mp4".to_owned()],
            ),
            (
                r#""segment_outputs":[{}]"#,
                Generated,
                vec![format!("{web}.m3u8"), format!("{web}_*.ts")],
                vec![format!("{web}-EG_test.m3u8"), format!("{web}-EG_test_*.ts")],
            ),
            (
                r#""segment_outputs":[{"filename_prefix":"d/","live_playlist_name":"live"}]"#,
                Given,
                vec![format!("d/{web}.m3u8"), "d/live.m3u8".to_owned(), format!("d/{web}_*.ts")],
                vec![
                    format!("d/{web}-EG_test.m3u8"),
                    "d/live-EG_test.m3u8".to_owned(),
                    format!("d/{web}-EG_test_*.ts"),
                ],
            ),
            (
                r#""segment_outputs":[{"playlist_name":"{utc}/p","live_playlist_name":"live"}]"#,
                Generated,
                vec![
                    "20060102150405000/p.m3u8".to_owned(),
                    "20060102150405000/live.m3u8".to_owned(),
                    "20060102150405000/p_*.ts".to_owned(),
                ],
                vec![
                    "20060102150405000/p-EG_test.m3u8".to_owned(),
                    "20060102150405000/live-EG_test.m3u8".to_owned(),
                    "20060102150405000/p-EG_test_*.ts".to_owned(),
                ],
            ),
            (
                r#""segment_outputs":[{"filename_prefix":"d/{time}/x","playlist_name":"d/p"}]"#,
                Given,
                vec!["d/p.m3u8".to_owned(), "d/2006-01-02T150405/x_*.ts".to_owned()],
                vec!["d/p-EG_test.m3u8".to_owned(), "d/2006-01-02T150405/x-EG_test_*.ts".to_owned()],
            ),
            (
                r#""image_outputs":[{"filename_prefix":"thumb"}]"#,
                Given,
                vec!["thumb_*.jpeg".to_owned()],
                vec!["thumb-EG_test_*.jpeg".to_owned()],
            ),
            (
                r#""image_outputs":[{"filename_suffix":"IMAGE_SUFFIX_NONE_OVERWRITE"}]"#,
                Generated,
                vec![format!("{web}.jpeg")],
                vec![format!("{web}-EG_test.jpeg")],
            ),
        ] {
            let mut plan = plan_with(outputs, "");
            assert_eq!((plan.named(OutputId(0)), keys(&plan)), (named, written), "{outputs}");
            plan.add_id_to_names(OutputId(0));
            assert_eq!(keys(&plan), unique, "{outputs}");
        }
    }

    #[test]
    fn streams_write_to_no_name() {
        let plan = plan_with(r#""stream_outputs":[{"urls":["rtmp://example.com/live/key"]}]"#, "");
        assert_eq!(keys(&plan), [""; 0]);
    }

    fn storages(server: &str) -> Vec<(String, String)> {
        let plan = plan_with(r#""file_outputs":[{"filepath":"a.mp4"}]"#, server);
        plan.written(OutputId(0)).into_iter().map(|written| (written.storage, written.key)).collect()
    }

    /// A bucket is the same with other keys, and with another spelling of its server's address.
    #[test]
    fn one_bucket_is_one_place_however_it_is_written() {
        for (one, other) in [
            ("s3: {bucket: b, access_key: k, secret: s}", "s3: {bucket: b, region: eu-central-1}"),
            (
                "s3: {bucket: b, endpoint: 'https://s3.eu-central-1.amazonaws.com'}",
                "s3: {bucket: b, force_path_style: true}",
            ),
            (
                "s3: {bucket: b, endpoint: 'http://Store.example:80/'}",
                "s3: {bucket: b, endpoint: 'http://store.example'}",
            ),
            ("gcp: {bucket: b}", "gcp: {bucket: b, endpoint: 'https://storage.googleapis.com'}"),
        ] {
            let [one, other] = [one, other].map(|own| storages(&format!("storage: {{{own}}}")));
            assert_eq!(one, other);
        }
        let others = [
            "storage: {s3: {bucket: b}}",
            "storage: {s3: {bucket: c}}",
            "storage: {prefix: p, s3: {bucket: b}}",
            "storage: {s3: {bucket: b, endpoint: 'http://store.example'}}",
            "storage: {gcp: {bucket: b}}",
            "",
        ];
        let different: std::collections::BTreeSet<_> = others.map(storages).into_iter().collect();
        assert_eq!(different.len(), others.len());
    }

    #[test]
    fn a_file_has_its_own_name_and_that_of_many() {
        let names = |name: &str| -> Vec<String> {
            let names = WrittenName::of_file(&StorageTarget::local(), name).into_iter();
            names.map(|written| written.key).collect()
        };
        assert_eq!(names("a/s_00003.ts"), ["a/s_00003.ts", "a/s_*.ts"]);
        assert_eq!(names("a/s.m3u8"), ["a/s.m3u8"]);
        assert_eq!(names("poster_final.jpeg"), ["poster_final.jpeg"]);
        let plan = plan_with(r#""segment_outputs":[{"playlist_name":"a/s"}]"#, "");
        assert_eq!(keys(&plan), ["a/s.m3u8", "a/s_*.ts"]);
    }

    #[test]
    fn a_name_is_one_of_many_only_with_digits_that_these_get() {
        use WrittenFiles::{Numbered, Timed};
        for (name, expected) in [
            ("a/im_00006.jpeg", Some(("a/im_*.jpeg", Numbered))),
            ("a/im_99999.jpeg", Some(("a/im_*.jpeg", Numbered))),
            ("im_100000.jpeg", Some(("im_*.jpeg", Numbered))),
            ("_00000.ts", Some(("_*.ts", Numbered))),
            ("a_b_00001.ts", Some(("a_b_*.ts", Numbered))),
            ("im_20060102150405000.jpeg", Some(("im_*.jpeg", Timed))),
            ("im_0006.jpeg", None),
            ("im_000006.jpeg", None),
            ("im_0000a.jpeg", None),
            ("im_\u{0661}\u{0661}\u{0661}.jpeg", None),
            ("im_+0001.jpeg", None),
            ("im_.jpeg", None),
            ("im_00006", None),
            ("im-00006.jpeg", None),
            ("00006.jpeg", None),
            ("im_00006.d/a", None),
            ("im_00006/a.jpeg", None),
        ] {
            assert_eq!(many(name), expected.map(|(name, files)| (name.to_owned(), files)), "{name}");
        }
    }

    #[test]
    fn single_files_share_no_file_with_one_another_and_one_with_the_many_they_are_of() {
        use WrittenFiles::{Numbered, One, Timed};
        let written = |name: &str, files| WrittenName::at(&StorageTarget::local(), name, files, false);
        for (one, other, expected) in [
            (("im_00006.jpeg", One), ("im_00006.jpeg", One), true),
            (("im_00006.jpeg", One), ("im_00007.jpeg", One), false),
            (("im_00006.jpeg", One), ("im_*.jpeg", Numbered), true),
            (("im_00006.jpeg", One), ("im_*.jpeg", Timed), false),
            (("im_20060102150405000.jpeg", One), ("im_*.jpeg", Timed), true),
            (("im_00006.jpeg", One), ("im_*.ts", Numbered), false),
            (("im_*.jpeg", Numbered), ("im_*.jpeg", Timed), true),
            (("im_*.jpeg", Numbered), ("im_00006_*.jpeg", Numbered), false),
        ] {
            let (one, other) = (written(one.0, one.1), written(other.0, other.1));
            assert_eq!(one.shares_files_with(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.shares_files_with(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn a_backup_is_told_apart_and_can_be_moved() {
        let server = "storage: {s3: {bucket: b}}\nbackup: {prefix: spare}";
        let mut plan = plan_with(r#""file_outputs":[{"filepath":"a.mp4"}]"#, server);
        let written = |plan: &RecordingPlan| -> Vec<_> {
            let written = plan.written(OutputId(0)).into_iter();
            written.map(|written| (written.key, written.is_local, written.is_backup)).collect()
        };
        assert_eq!(
            written(&plan),
            [("a.mp4".to_owned(), false, false), ("spare/a.mp4".to_owned(), true, true)]
        );
        plan.move_backup(OutputId(0));
        assert_eq!(
            written(&plan),
            [("a.mp4".to_owned(), false, false), ("spare/EG_test/a.mp4".to_owned(), true, true)]
        );
    }
}
