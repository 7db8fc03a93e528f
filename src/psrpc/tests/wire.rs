//! Bytes: the reference's vectors, a captured conversation, and anything at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use livekit_protocol as livekit;
use proptest::prelude::*;
use prost::Message;

use super::frames;
use crate::protocol;
use crate::psrpc::claim::{Selection, SelectionRules};
use crate::psrpc::envelope::{
    Any, ClaimRequest, ClaimResponse, Envelope, MAX_FRAME, MalformedFrame, Request, Response, lock_key,
};
use crate::psrpc::{Code, Error};

const SENT: i64 = 1_700_000_000_000_000_000;
const REQ: &str = "REQ_000000000001";
const SRV: &str = "SRV_000000000001";

fn vector(name: &str) -> Bytes {
    frames("vectors.txt").into_iter().find(|(found, _)| found == name).unwrap().1
}

fn response(outcome: Result<Bytes, Error>) -> Envelope {
    Envelope::Response(Response::new(REQ, SRV, SENT, outcome))
}

fn request() -> Envelope {
    let stop = livekit::StopEgressRequest { egress_id: "EG_abc123".into() };
    Envelope::Request(Request {
        request_id: REQ.into(),
        client_id: "CLI_000000000001".into(),
        sent_at: SENT,
        expiry: SENT + 3_000_000_000,
        raw_request: stop.encode_to_vec().into(),
        ..Request::default()
    })
}

#[test]
fn the_reference_s_vectors_are_met_both_ways() {
    let claim = ClaimRequest { request_id: REQ.into(), server_id: SRV.into(), affinity: 0.5 };
    let decision = ClaimResponse { request_id: REQ.into(), server_id: SRV.into() };
    let expected = [
        ("claim", Envelope::ClaimRequest(claim)),
        ("decision", Envelope::ClaimResponse(decision)),
        ("request", request()),
        ("success", response(Ok(Bytes::new()))),
        ("failure", response(Err(Error::new(Code::NotFound, "egress not found")))),
    ];
    assert_eq!(frames("vectors.txt").len(), expected.len());
    for (name, envelope) in expected {
        let bytes = vector(name);
        assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&envelope), "{name}");
        assert_eq!(envelope.encode(), bytes, "{name}");
    }
}

#[test]
fn the_lock_is_the_reference_s() {
    assert_eq!(lock_key(&vector("request")), "+Kw55hUMHytEHS5byHXvp/VEcITPKqvdgS6CYTiTZX8=");
}

#[test]
fn an_outcome_survives_its_response() {
    let details = vec![Any { type_url: "type.googleapis.com/a.B".into(), value: Bytes::from_static(b"x") }];
    let outcomes = [
        Ok(Bytes::new()),
        Ok(Bytes::from_static(b"result")),
        Err(Error::new(Code::ResourceExhausted, "full").with_details(details)),
    ];
    for outcome in outcomes {
        let bytes = response(outcome.clone()).encode();
        let Ok(Envelope::Response(read)) = Envelope::decode(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(read.into_outcome(), outcome);
    }
    let silent = Response { error: "boom".into(), ..Response::default() };
    assert_eq!(silent.into_outcome().unwrap_err().code(), Code::Unknown);
}

/// Decodes a string of `redis-cli monitor`, which has C escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let [kind, tail @ ..] = rest else { panic!("{text}") };
        rest = tail;
        bytes.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'x' => {
                let (digits, tail) = rest.split_at(2);
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => *other,
        });
    }
    bytes
}

/// The quoted words of one line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut inside, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' if !escaped && inside => {
                words.push(std::mem::take(&mut word));
                inside = false;
            }
            '"' if !escaped => inside = true,
            c if inside => word.push(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    words
}

#[test]
fn a_captured_conversation_is_understood_and_written_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/psrpc/capture.log");
    let text = std::fs::read_to_string(path).unwrap();
    let mut counts = BTreeMap::<&str, u32>::new();
    let mut locks = Vec::new();
    let mut requests = Vec::new();
    for line in text.lines() {
        let words = words(line);
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["publish", channel, frame] if !channel.starts_with("Keepalive|") => {
                let frame = Bytes::from(unescaped(frame));
                let envelope = Envelope::decode(&frame).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_eq!(envelope.encode(), frame, "{line}");
                let kind = match envelope {
                    Envelope::Request(request) => {
                        understood(channel, &request.raw_request);
                        requests.push((channel.to_owned(), frame));
                        "REQ"
                    }
                    Envelope::ClaimRequest(_) => "CLAIM",
                    Envelope::ClaimResponse(_) => "RCLAIM",
                    Envelope::Response(response) => {
                        let answer = response.into_outcome().unwrap();
                        if !channel.starts_with("IOInfo|") {
                            let info = livekit::EgressInfo::decode(answer).unwrap();
                            assert_eq!(info.egress_id, "EG_jMMNDkmoorvz");
                        }
                        "RES"
                    }
                };
                assert_eq!(channel.rsplit('|').next(), Some(kind), "{line}");
                *counts.entry(kind).or_default() += 1;
            }
            ["set", key, _, "ex", "5", "nx"] => locks.push(key.to_owned()),
            _ => {}
        }
    }
    assert_eq!(counts, BTreeMap::from([("CLAIM", 8), ("RCLAIM", 8), ("REQ", 8), ("RES", 8)]));
    // Each request but StartEgress is locked. Paths were replaced in the capture, so that the locks
    // of frames with one are those of other bytes; the two for the handler have none.
    let handled = requests.iter().filter(|(channel, _)| channel.starts_with("EgressHandler|"));
    let handled: Vec<String> = handled.map(|(_, frame)| lock_key(frame)).collect();
    assert_eq!(handled.len(), 2);
    assert!(locks.len() == 7 && handled.iter().all(|key| locks.contains(key)), "{locks:?}");
}

fn understood(channel: &str, request: &Bytes) {
    let request = request.clone();
    match channel.split('|').nth(1).unwrap() {
        "StartEgress" => {
            let bytes = request.clone();
            let start = protocol::StartEgressRequest::decode(request).unwrap();
            let Some(protocol::start_egress_request::Request::Web(web)) = &start.request else { panic!() };
            assert_eq!(web.url, "http://127.0.0.1:18080/clock.html");
            // Go puts the fields in another order; what is there is the same.
            let written = start.encode_to_vec();
            assert_eq!(written.len(), bytes.len());
            assert!(protocol::StartEgressRequest::decode(&written[..]).unwrap() == start);
        }
        "CreateEgress" | "UpdateEgress" => {
            let info = livekit::EgressInfo::decode(request).unwrap();
            assert_eq!(info.egress_id, "EG_jMMNDkmoorvz");
        }
        "UpdateStream" => {
            let update = livekit::UpdateStreamRequest::decode(request).unwrap();
            assert_eq!(update.add_output_urls, ["rtmp://127.0.0.1:19350/live/streamkey123"]);
        }
        "StopEgress" => {
            assert_eq!(livekit::StopEgressRequest::decode(request).unwrap().egress_id, "EG_jMMNDkmoorvz");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_frame_that_is_too_long_is_not_looked_at() {
    let long = Bytes::from(vec![0; MAX_FRAME + 1]);
    assert_eq!(Envelope::decode(&long), Err(MalformedFrame::TooLong(MAX_FRAME + 1)));
}

#[test]
fn malformed_frames_are_told_from_frames() {
    let empty_request = ["no-value"];
    for (name, frame) in frames("malformed.txt") {
        let read = Envelope::decode(&frame);
        assert_eq!(read.is_ok(), empty_request.contains(&name.as_str()), "{name}: {read:?}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_vector_is_survived() {
    for (name, frame) in frames("vectors.txt") {
        for end in 0..frame.len() {
            let read = Envelope::decode(&frame.slice(..end));
            assert!(read != Envelope::decode(&frame), "{name} cut at {end} is the same");
        }
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(envelope) = Envelope::decode(&flipped.into()) {
                assert_eq!(
                    Envelope::decode(&envelope.encode()).map(|read| read.encode()),
                    Ok(envelope.encode())
                );
            }
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,24}"
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

prop_compose! {
    fn any_request()(
        request_id in text(), client_id in text(), sent_at: i64, expiry: i64, multi: bool,
        metadata in prop::collection::btree_map(text(), text(), 0..3), raw_request in payload(),
    ) -> Request {
        Request { request_id, client_id, sent_at, expiry, multi, metadata, raw_request }
    }
}

prop_compose! {
    fn any_response()(
        request_id in text(), server_id in text(), sent_at: i64, error in text(), code in text(),
        raw_response in payload(), details in prop::collection::vec((text(), payload()), 0..3),
    ) -> Response {
        let error_details = details.into_iter().map(|(type_url, value)| Any { type_url, value }).collect();
        Response { request_id, server_id, sent_at, error, code, raw_response, error_details }
    }
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let claim = (text(), text(), -1e9_f32..1e9).prop_map(|(request_id, server_id, affinity)| ClaimRequest {
        request_id,
        server_id,
        affinity,
    });
    let decision =
        (text(), text()).prop_map(|(request_id, server_id)| ClaimResponse { request_id, server_id });
    prop_oneof![
        any_request().prop_map(Envelope::Request),
        any_response().prop_map(Envelope::Response),
        claim.prop_map(Envelope::ClaimRequest),
        decision.prop_map(Envelope::ClaimResponse),
    ]
}

proptest! {
    #[test]
    fn what_was_written_is_read(envelope in any_envelope()) {
        prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(Envelope::decode(&bytes.into()));
    }

    /// Frames whose outside is right get further.
    #[test]
    fn any_bytes_inside_of_a_frame_are_survived(
        kind in prop::sample::select(vec!["Request", "Response", "ClaimRequest", "ClaimResponse", "Stream", ""]),
        value in payload(),
    ) {
        let type_url = format!("type.googleapis.com/internal.{kind}");
        drop(Envelope::decode(&Any { type_url, value }.encode_to_vec().into()));
    }

    #[test]
    fn spliced_frames_are_survived(one in any_envelope(), other in any_envelope(), at: prop::sample::Index) {
        let (one, other) = (one.encode(), other.encode());
        let mut spliced = one[..at.index(one.len() + 1)].to_vec();
        spliced.extend_from_slice(&other[at.index(other.len() + 1)..]);
        drop(Envelope::decode(&spliced.into()));
    }

    /// A claim's affinity is a stranger's, and may be no number at all.
    #[test]
    fn any_affinities_are_survived(affinities in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..20)) {
        let now = std::time::Instant::now();
        let mut selection = Selection::new(SelectionRules::BY_AFFINITY, now, now);
        let usable = affinities.iter().any(|affinity| *affinity > 0.0);
        let at_once = affinities.iter().any(|affinity| selection.claim(now, "SRV_x".into(), *affinity).is_some());
        prop_assert_eq!(at_once || selection.decide().is_ok(), usable);
    }
}
