//! Failing stream servers during an egress: each address fails by itself, and the last one ends the
//! egress.

use std::time::Duration;

use serde_json::{Value, json};

use crate::late_publishers::{FIRST, person};
use crate::support::fault_proxy::{Fault, FaultProxy, Traffic};
use crate::support::livekit::LiveKitServer;
use crate::support::peers::{RejectingRtmpServer, RtmpServer};
use crate::support::ports;
use crate::support::service::Serve;
use crate::support::shared::own_room;
use crate::support::slots;
use crate::support::webhook_receiver::WebhookReceiver;

/// Deadline for a room's answers on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// A stalled server is noticed after 30 s, and retried for another 30 s; connecting may take
/// another 12 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(180);

/// States of an egress's streams, in the order of the request.
fn states(info: &Value) -> Vec<String> {
    let streams = info["stream_results"].as_array().or_else(|| info["streamResults"].as_array());
    let state = |stream: &Value| stream["status"].as_str().unwrap_or("ACTIVE").to_owned();
    streams.into_iter().flatten().map(state).collect()
}

/// Two addresses (RTMP and SRT) never answer; one accepts a stream, drops it and rejects it from
/// then on; one accepts a stream, and then silently stops reading.
#[test]
fn streams_that_are_refused_rejected_and_wedged_fail_one_by_one_and_the_last_one_ends_the_egress() {
    let _slot = slots::encoder();
    let (livekit, webhooks) = (LiveKitServer::shared(), WebhookReceiver::start());
    let (silent, rejecting) = (RtmpServer::start(), RejectingRtmpServer::start());
    let wedge = FaultProxy::of_bytes(silent.addr());
    let drops = FaultProxy::of_bytes(rejecting.addr());
    let dir = tempfile::tempdir().unwrap();
    let configuration = format!("ws_url: {}\nwebhook: {{urls: ['{}']}}\n", livekit.ws_url(), webhooks.url());
    // Room for it, whatever the load of the machine.
    let mut weir = Serve::start_with(dir.path(), &configuration, &[("LIVEKIT_CPU_REQUEST", "64")]);
    let (_ann, _) = person(livekit, own_room(), "ann", FIRST);
    let urls = [
        silent.url_at(wedge.addr(), "wedged-key"),
        format!("rtmp://{}/live/rejected-key", drops.addr()),
        format!("rtmp://127.0.0.1:{}/live/refused-key", ports::closed()),
    ];
    let srt = format!("srt://127.0.0.1:{}?mode=caller", ports::closed());
    let request = json!({
        "room_name": own_room(), "identity": "ann",
        "advanced": { "width": 320, "height": 240, "framerate": 15 },
        "stream_outputs": [{ "protocol": "RTMP", "urls": urls }, { "protocol": "SRT", "urls": [srt] }],
    });
    let started = weir.callers().call("StartParticipantEgress", &request).unwrap();
    let id = started["egress_id"].as_str().unwrap().to_owned();
    weir.until_status(&id, &["EGRESS_ACTIVE"], SOON);

    // An unreachable server fails at once, and disturbs no other.
    let expected = ["ACTIVE", "ACTIVE", "FAILED", "FAILED"];
    weir.until(&format!("streams are {expected:?}"), SOON, |callers| {
        (states(&callers.info(&id)) == expected).then_some(())
    });
    let flows = |traffic: &Traffic| traffic.bytes > 50_000;
    wedge.until("media flows", SOON, flows);
    drops.until("media flows", SOON, flows);
    assert_eq!(weir.callers().info(&id)["status"], "EGRESS_ACTIVE");

    wedge.set(Fault::Offline);
    // Its connections are cut, and others come in.
    drops.set(Fault::Refused);
    drops.set(Fault::None);
    let info = weir.until_over(&id, GIVEN_UP_WITHIN);
    assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
    assert!(info["error"].as_str().is_some_and(|error| !error.is_empty()), "{info}");
    let streams = info["stream_results"].as_array().unwrap();
    assert_eq!(streams.len(), 4, "{info}");
    for (at, stream) in streams.iter().enumerate() {
        assert_eq!(stream["status"], "FAILED", "{at}: {info}");
        assert!(stream["error"].as_str().is_some_and(|error| !error.is_empty()), "{at}: {info}");
        // Streams that had worked were retried.
        let retries = stream["retries"].as_u64().unwrap_or_default();
        assert!(retries > 0 || at >= 2, "{at}: {info}");
    }
    assert!(rejecting.rejected() > 0, "nobody was turned away: {info}");
    assert!(!info.to_string().contains("-key"), "{info}");

    // One report for each change: from active to failed, and a failed stream stays failed.
    let told = weir.until("the end is told", SOON, |_| {
        let told = webhooks.of_egress(&id);
        told.iter().any(|(event, _)| event == "egress_ended").then_some(told)
    });
    let mut statuses: Vec<&str> =
        told.iter().map(|(_, info)| info["status"].as_str().unwrap_or("EGRESS_STARTING")).collect();
    statuses.dedup();
    assert_eq!(statuses.last_chunk(), Some(&["EGRESS_ACTIVE", "EGRESS_FAILED"]), "{statuses:?}");
    assert!(!statuses.contains(&"EGRESS_ENDING"), "{statuses:?}");
    let failed = told.iter().map(|(_, info)| {
        let states = states(info);
        (0..4).map(|at| states.get(at).is_some_and(|state| state == "FAILED")).collect::<Vec<bool>>()
    });
    let failed: Vec<Vec<bool>> = failed.collect();
    let is_final = |pair: &[Vec<bool>]| pair[0].iter().zip(&pair[1]).all(|(before, after)| !before || *after);
    assert!(failed.windows(2).all(is_final), "{failed:?}");
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
