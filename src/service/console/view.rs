//! The page's data as JSON. Reports are redacted at their source, so it contains no secrets.

use livekit_protocol as proto;
use serde_json::{Value, json};

use crate::service::Running;
use crate::service::api::json::Answer;
use crate::service::registry::is_over;
use crate::service::snapshot::{Snapshot, State};

/// The node, what runs and what has ended.
pub(super) fn all(snapshot: &Snapshot, running: &[Running], ended: &[proto::EgressInfo]) -> Value {
    // An egress's end is reported a moment before its recorder exits.
    let is_known_over = |id: &str| ended.iter().any(|info| info.egress_id == id);
    let running = running.iter().filter(|one| !(is_over(&one.info) && is_known_over(&one.info.egress_id)));
    let recordings: Vec<Value> = running.map(|one| recording(snapshot, one)).collect();
    json!({
        "node": {
            "version": env!("CARGO_PKG_VERSION"),
            "state": match snapshot.state {
                State::Serving => "serving",
                State::Unheard => "unheard",
                State::Terminating => "terminating",
            },
            "cores": snapshot.room.cores,
            "cores_in_use": snapshot.reading.cores,
            "cores_available": snapshot.room.available,
        },
        "recordings": recordings,
        "finished": ended.iter().map(Answer::json).collect::<Vec<_>>(),
    })
}

fn recording(snapshot: &Snapshot, one: &Running) -> Value {
    let known = snapshot.recordings.iter().find(|known| known.egress_id == one.info.egress_id);
    json!({
        "info": one.info.json(),
        "kind": known.map(|known| known.kind.as_str()),
        "cpu_cores": known.map(|known| known.used.cpu),
        "memory_bytes": known.map(|known| known.used.memory),
        "progress": one.progress,
    })
}
