//! Tags against bytes. The captured conversation of tests/data/psrpc holds a whole
//! `StartEgressRequest`, which the tests of `psrpc` read and write.

use super::*;

#[track_caller]
fn encodes<M: Message + Default + PartialEq>(message: &M, hex: &str) {
    let bytes = message.encode_to_vec();
    let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, hex);
    assert!(M::decode(&bytes[..]).unwrap() == *message);
}

#[test]
fn tags_are_those_of_the_rpc_package() {
    let start = StartEgressRequest {
        egress_id: "E".into(),
        room_id: "R".into(),
        room_name: "N".into(),
        token: "T".into(),
        ws_url: "W".into(),
        cloud_backup_enabled: true,
        estimated_cpu: 1.0,
        retry_count: 2,
        request: None,
    };
    // key = tag × 8 + wire type; a tag above 15 takes two bytes.
    encodes(
        &start,
        "0a01451a015242015 44a015750017 1000000000000f03f7802 9201014e".replace(' ', "").as_str(),
    );
    encodes(&ListActiveEgressRequest {}, "");
    encodes(&ListActiveEgressResponse { egress_ids: vec!["A".into(), "B".into()] }, "0a01410a0142");
    encodes(&GetEgressRequest { egress_id: "E".into() }, "0a0145");
    encodes(
        &UpdateMetricsRequest { info: None, avg_cpu_usage: 0.5, max_cpu_usage: 1.0 },
        "1d0000003f250000803f",
    );
    encodes(&EgressReadyRequest { egress_id: "E".into(), skip_playback: true }, "0a01451001");
    encodes(&EgressReadyResponse { start_at: 1, duration_ms: 2 }, "08011002");
    encodes(&KeepalivePing { timestamp: 1_795_357_507 }, "08c3f68bd806");
}

#[test]
fn each_kind_of_request_has_its_tag() {
    use start_egress_request::Request;
    let kinds = [
        (Request::RoomComposite(livekit::RoomCompositeEgressRequest::default()), "2a00"),
        (Request::TrackComposite(livekit::TrackCompositeEgressRequest::default()), "3200"),
        (Request::Track(livekit::TrackEgressRequest::default()), "3a00"),
        (Request::Web(livekit::WebEgressRequest::default()), "5a00"),
        (Request::Participant(livekit::ParticipantEgressRequest::default()), "6a00"),
        (Request::Egress(livekit::StartEgressRequest::default()), "820100"),
        (Request::Replay(livekit::ExportReplayRequest::default()), "8a0100"),
    ];
    for (request, hex) in kinds {
        encodes(&StartEgressRequest { request: Some(request), ..StartEgressRequest::default() }, hex);
    }
}

#[test]
fn a_request_prints_without_what_it_holds() {
    let web =
        livekit::WebEgressRequest { url: "https://secret.example/?key=hunter2".into(), ..Default::default() };
    let start = StartEgressRequest {
        egress_id: "EG_1".into(),
        token: "hunter2".into(),
        request: Some(start_egress_request::Request::Web(web)),
        ..StartEgressRequest::default()
    };
    let printed = format!("{start:?}");
    assert!(printed.contains("EG_1") && !printed.contains("hunter2"), "{printed}");
}
