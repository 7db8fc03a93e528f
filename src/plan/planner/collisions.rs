//! Two outputs of one name in one storage would overwrite each other.

use std::collections::HashMap;

use super::super::error::PlanError;
use super::super::output::{OutputPlan, SegmentsPlan};

/// Refuses two outputs that write to one place. `fields`: their paths in the request.
///
/// # Errors
/// [`PlanError`], naming both.
pub(super) fn check(fields: &[&str], outputs: &[OutputPlan]) -> Result<(), PlanError> {
    let mut writers: HashMap<(String, String), (&str, &OutputPlan)> = HashMap::new();
    for (field, output) in fields.iter().copied().zip(outputs) {
        // Its secrets print as stars; everything that tells two places apart does not.
        let place =
            output.storage().map(|storage| format!("{:?}", storage.primary.backend)).unwrap_or_default();
        for (part, name) in names(output) {
            let shown = if part == "urls" { "this address".to_owned() } else { name.clone() };
            if let Some((other, of)) = writers.insert((place.clone(), name), (field, output)) {
                let field = format!("{field}.{part}");
                let help = format!("{other} also writes to {shown}; give each its own name");
                return Err(match repeated(of, output) {
                    Some(words) => PlanError::worded(words, field, help),
                    None => PlanError::invalid(field, help),
                });
            }
        }
    }
    Ok(())
}

/// LiveKit's name for two outputs of these kinds if it accepts at most one; `None` if it accepts
/// several.
const fn repeated(one: &OutputPlan, other: &OutputPlan) -> Option<&'static str> {
    match (one, other) {
        (OutputPlan::File(_), OutputPlan::File(_)) => Some("multiple file outputs"),
        (OutputPlan::Segments(_), OutputPlan::Segments(_)) => Some("multiple segmented file outputs"),
        (
            OutputPlan::Stream(_) | OutputPlan::WebSocket(_),
            OutputPlan::Stream(_) | OutputPlan::WebSocket(_),
        ) => Some("multiple stream outputs"),
        _ => None,
    }
}

/// The names that an output writes to, each with its request field.
fn names(output: &OutputPlan) -> Vec<(&'static str, String)> {
    match output {
        OutputPlan::File(file) => vec![("filepath", file.name.as_str().to_owned())],
        OutputPlan::Segments(segments) => {
            let SegmentsPlan { dir, playlist, live_playlist, prefix, .. } = segments;
            let live = live_playlist.iter().map(|live| ("live_playlist_name", format!("{dir}{live}")));
            let names = [
                ("playlist_name", format!("{dir}{playlist}")),
                ("filename_prefix", format!("{dir}{prefix}_*.ts")),
            ];
            names.into_iter().chain(live).collect()
        }
        OutputPlan::Stream(stream) => stream
            .urls
            .iter()
            // The key identifies the address, and must not get into the error.
            .map(|url| ("urls", url.expose().to_owned()))
            .collect(),
        OutputPlan::WebSocket(socket) => vec![("urls", socket.url.expose().to_owned())],
        OutputPlan::Images(images) => vec![("filename_prefix", format!("{}*.jpeg", images.prefix))],
    }
}
