//! Names that wait for what only the source can tell: who publishes what is recorded, and the id of
//! its room.

use jiff::Zoned;

use super::error::PlanError;
use super::filename::{self, Naming, Subject};
use super::output::OutputPlan;
use super::request::{OutputKind, OutputRequest, SegmentsRequest};

/// The placeholder that a request for tracks leaves open.
const PUBLISHER: &str = "{publisher_identity}";
/// The placeholder that a request for a room leaves open whose id nobody has looked up.
const ROOM_ID: &str = "{room_id}";

/// The owner of a recording, for its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The publisher of the tracks, discovered by the source.
    Publisher,
    /// The participant of this identity.
    Participant(String),
    /// The room.
    Room,
}

/// The outputs' names in their request, to be completed when the source has discovered the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct DeferredNames {
    /// One for each output, in order: its path in the request, and its names.
    asked: Vec<(String, Names)>,
    owner: Owner,
    /// The time that stands in names.
    planned_at: Zoned,
    retry_count: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Names {
    File {
        path: String,
    },
    Segments {
        prefix: String,
        playlist: String,
        live_playlist: String,
    },
    Images {
        prefix: String,
    },
    /// Keeps nothing.
    Nothing,
}

impl DeferredNames {
    pub(super) fn new(outputs: &[OutputRequest], owner: Owner, planned_at: &Zoned, retry_count: u32) -> Self {
        let asked = outputs.iter().map(|output| {
            let names = match &output.kind {
                OutputKind::File(file) => Names::File { path: file.path.clone() },
                OutputKind::Segments(SegmentsRequest { prefix, playlist, live_playlist, .. }) => {
                    Names::Segments {
                        prefix: prefix.clone(),
                        playlist: playlist.clone(),
                        live_playlist: live_playlist.clone(),
                    }
                }
                OutputKind::Images(images) => Names::Images { prefix: images.prefix.clone() },
                OutputKind::Stream(_) => Names::Nothing,
            };
            (output.field.clone(), names)
        });
        Self { asked: asked.collect(), owner, planned_at: planned_at.clone(), retry_count }
    }

    /// Whether a name says who publishes.
    pub(super) fn names_publisher(&self) -> bool {
        self.contains(PUBLISHER)
    }

    /// Whether a name has the id of its room in it.
    pub(super) fn names_room_id(&self) -> bool {
        self.contains(ROOM_ID)
    }

    fn contains(&self, placeholder: &str) -> bool {
        self.asked.iter().any(|(_, names)| match names {
            Names::File { path } => path.contains(placeholder),
            Names::Segments { prefix, playlist, live_playlist } => {
                [prefix, playlist, live_playlist].iter().any(|name| name.contains(placeholder))
            }
            Names::Images { prefix } => prefix.contains(placeholder),
            Names::Nothing => false,
        })
    }

    /// The owner of the recording.
    pub(super) const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The requested path of the file of an output; empty if unset.
    pub(super) fn file_path(&self, output: usize) -> &str {
        match self.asked.get(output) {
            Some((_, Names::File { path })) => path,
            _ => "",
        }
    }

    /// Paths of the outputs in their request.
    pub(super) fn fields(&self) -> Vec<&str> {
        self.asked.iter().map(|(field, _)| field.as_str()).collect()
    }

    /// Names the outputs, which are those that this was made of.
    ///
    /// # Errors
    /// When a name can't be made.
    pub(super) fn name(&self, subject: Subject<'_>, outputs: &mut [OutputPlan]) -> Result<(), PlanError> {
        let naming = Naming::new(subject, &self.planned_at, self.retry_count);
        for ((field, names), output) in self.asked.iter().zip(outputs) {
            match (names, output) {
                (Names::File { path }, OutputPlan::File(file)) => {
                    let field = format!("{field}.filepath");
                    file.name = filename::file(&field, path, file.container.row(), &naming)?;
                }
                (Names::Segments { prefix, playlist, live_playlist }, OutputPlan::Segments(segments)) => {
                    let names = filename::segments(field, (prefix, playlist, live_playlist), &naming)?;
                    segments.dir = names.dir;
                    segments.playlist = names.playlist;
                    segments.live_playlist = names.live_playlist;
                    segments.prefix = names.prefix;
                }
                (Names::Images { prefix }, OutputPlan::Images(images)) => {
                    images.prefix =
                        filename::image_prefix(&format!("{field}.filename_prefix"), prefix, &naming)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
