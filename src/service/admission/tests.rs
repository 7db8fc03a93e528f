use livekit_protocol as proto;
use proto::start_egress_request::{Encoding, Source};

use super::*;
use crate::protocol as rpc;
use rpc::start_egress_request::Request;

const START: Duration = Duration::from_secs(100);

fn costs() -> CpuCost {
    let text = "api_key: k\napi_secret: s\nwork_dir: /w\ncpu_cost: {memory_cost: 1.0, \
                sdk_audio_room_composite_memory_cost: 0.25, sdk_audio_room_composite_cpu_cost: 0.75}";
    let loaded = crate::config::ServiceConfig::load(text, &crate::config::Environment::default());
    loaded.unwrap().config.cpu_cost
}

fn request(request: Request) -> rpc::StartEgressRequest {
    rpc::StartEgressRequest { egress_id: "EG_1".into(), request: Some(request), ..Default::default() }
}

fn room(audio_only: bool, layout: &str, base: &str) -> Request {
    Request::RoomComposite(proto::RoomCompositeEgressRequest {
        audio_only,
        layout: layout.into(),
        custom_base_url: base.into(),
        ..Default::default()
    })
}

fn v2(source: Option<Source>, encoding: Option<Encoding>) -> Request {
    Request::Egress(proto::StartEgressRequest { source, encoding, ..Default::default() })
}

fn template(audio_only: bool, layout: &str, base: &str) -> Request {
    let source = proto::TemplateSource {
        audio_only,
        layout: layout.into(),
        custom_base_url: base.into(),
        ..Default::default()
    };
    v2(Some(Source::Template(source)), None)
}

fn web(audio_only: bool) -> Request {
    Request::Web(proto::WebEgressRequest { audio_only, ..Default::default() })
}

fn page(audio_only: bool) -> Request {
    v2(Some(Source::Web(proto::WebSource { audio_only, ..Default::default() })), None)
}

fn media(preset: Option<proto::EncodingOptionsPreset>) -> Request {
    let encoding = preset.map(|preset| Encoding::Preset(preset.into()));
    v2(Some(Source::Media(proto::MediaSource::default())), encoding)
}

/// The shapes of upstream's `monitor_costs_test`: kind, cores, GB.
#[test]
fn every_shape_of_request_has_its_cost() {
    for (shape, kind, cpu, memory) in [
        (room(false, "", ""), "room_composite", 4.0, 1.0),
        (room(false, "speaker", ""), "room_composite", 4.0, 1.0),
        (room(true, "grid", ""), "room_composite", 1.0, 1.0),
        (room(true, "", "https://x/"), "room_composite", 1.0, 1.0),
        (room(true, "", ""), "room_composite", 0.75, 0.25),
        (web(false), "web", 4.0, 1.0),
        (web(true), "web", 1.0, 1.0),
        (Request::Participant(proto::ParticipantEgressRequest::default()), "participant", 2.0, 1.0),
        (Request::TrackComposite(proto::TrackCompositeEgressRequest::default()), "track_composite", 1.0, 1.0),
        (Request::Track(proto::TrackEgressRequest::default()), "track", 0.5, 1.0),
        (template(false, "", ""), "template", 4.0, 1.0),
        (template(true, "grid", ""), "template", 1.0, 1.0),
        (template(true, "", "https://x/"), "template", 1.0, 1.0),
        (template(true, "", ""), "template", 0.75, 0.25),
        (page(false), "web", 4.0, 1.0),
        (page(true), "web", 1.0, 1.0),
        (media(None), "media", 2.0, 1.0),
        (media(Some(proto::EncodingOptionsPreset::Passthrough)), "track", 0.5, 1.0),
        (media(Some(proto::EncodingOptionsPreset::H2641080p30)), "media", 2.0, 1.0),
        (v2(None, None), "unknown", 0.0, 1.0),
    ] {
        let request = request(shape);
        assert_eq!(Kind::of(&request).as_str(), kind, "{:?}", request.request);
        assert_eq!(cost::cost(&request, &costs()), Cost { cpu, memory }, "{:?}", request.request);
    }
    assert_eq!(cost::range(&costs()), (0.5, 4.0));
}

#[test]
fn an_idle_machine_gives_all_a_busy_one_its_part() {
    let mut ledger = Ledger::new(costs(), 10.0);
    let web = Cost { cpu: 4.0, memory: 0.0 };
    assert_eq!(ledger.available(START), 10.0);
    let first = ledger.admit(web, None, START).unwrap();
    // 0.8 of ten, without the four that are held.
    assert_eq!(ledger.available(START), 4.0);
    let second = ledger.admit(web, None, START).unwrap();
    let full = Refusal::NotEnoughCpu { required: 4.0, available: 0.0 };
    assert_eq!(ledger.admit(web, None, START), Err(full));

    // Measured below what is held: what is held counts, for fifteen seconds.
    ledger.set_measured(first, 1.0);
    ledger.set_measured(second, 5.0);
    assert_eq!(ledger.available(START + RESERVED_FOR - Duration::from_millis(1)), -1.0);
    assert_eq!(ledger.available(START + RESERVED_FOR), 2.0);
    ledger.release(second);
    assert_eq!(ledger.available(START + RESERVED_FOR), 7.0);
    ledger.release(first);
    assert_eq!(ledger.available(START + RESERVED_FOR), 10.0);
    // Of what is over, nothing is noted any more.
    ledger.set_measured(first, 9.0);
    assert!(ledger.is_idle());
}

#[test]
fn a_request_may_name_its_own_need_and_holds_the_tables() {
    let mut ledger = Ledger::new(costs(), 10.0);
    let web = Cost { cpu: 4.0, memory: 0.0 };
    ledger.admit(web, Some(1.0), START).unwrap();
    assert_eq!(ledger.available(START), 4.0);
    assert!(ledger.check(web, Some(4.1), START).is_err());
    ledger.admit(web, Some(3.9), START).unwrap();
    assert_eq!(ledger.available(START), 0.0);
    assert!(ledger.check(Cost::default(), Some(0.1), START).is_err());
    assert!(ledger.check(Cost::default(), None, START).is_ok());
}

#[test]
fn an_idle_machine_takes_one_however_small_it_is() {
    let mut ledger = Ledger::new(costs(), 2.0);
    let web = Cost { cpu: 4.0, memory: 0.0 };
    assert_eq!(ledger.claim(web, None, START), Claim::Stretched);
    ledger.admit(web, None, START).unwrap();
    let refused = Refusal::NotEnoughCpu { required: 0.5, available: 2.0 * 0.8 - 4.0 };
    assert_eq!(ledger.admit(Cost { cpu: 0.5, memory: 0.0 }, None, START), Err(refused));
    // Measured, it was far less.
    ledger.set_measured(Id(1), 0.6);
    assert!(ledger.check(Cost { cpu: 0.5, memory: 0.0 }, None, START + RESERVED_FOR).is_ok());
}

/// The cases of upstream's `monitor_memory_test`.
#[test]
fn memory_has_a_gigabyte_of_headroom() {
    let check = |max, used, cost| {
        let mut ledger = Ledger::new(CpuCost { max_memory: max, ..costs() }, 16.0);
        ledger.set_memory_used(used);
        ledger.check(Cost { cpu: 1.0, memory: cost }, None, START)
    };
    assert!(check(0.0, 500.0, 100.0).is_ok(), "memory is not looked at");
    assert!(check(10.0, 4.0, 4.9).is_ok());
    let refused = Refusal::NotEnoughMemory { required: 5.0, used: 4.0, pending: 0.0, max: 10.0 };
    assert_eq!(check(10.0, 4.0, 5.0), Err(refused), "4 + 5 + 1 is all there is");
    assert!(check(10.0, 9.0, 0.0).is_err() && check(10.0, 8.9, 0.0).is_ok());
    assert!(check(1.0, 0.0, 0.0).is_err(), "the headroom is all there is");

    // What was promised counts until it can be measured.
    let mut ledger = Ledger::new(CpuCost { max_memory: 6.0, ..costs() }, 16.0);
    let one = Cost { cpu: 0.1, memory: 2.0 };
    ledger.admit(one, None, START).unwrap();
    assert_eq!(ledger.pending_memory(START), 2.0);
    ledger.admit(one, None, START).unwrap();
    let refused = Refusal::NotEnoughMemory { required: 2.0, used: 0.0, pending: 4.0, max: 6.0 };
    assert_eq!(ledger.admit(one, None, START), Err(refused));
    ledger.set_memory_used(1.0);
    assert!(ledger.check(one, None, START + RESERVED_FOR).is_ok());
    assert_eq!(ledger.memory_ratio(START), Some(5.0 / 6.0));
    // Memory is asked first.
    let both = Ledger::new(CpuCost { max_memory: 0.5, ..costs() }, 0.1);
    assert!(matches!(both.check(one, None, START), Err(Refusal::NotEnoughMemory { .. })));
}

#[test]
fn claims_prefer_who_can_begin_at_once() {
    let mut ledger = Ledger::new(costs(), 10.0);
    let web = Cost { cpu: 4.0, memory: 0.0 };
    assert_eq!(ledger.claim(web, None, START), Claim::Idle);
    ledger.admit(web, None, START).unwrap();
    assert_eq!(ledger.claim(web, None, START), Claim::Beside);
    ledger.admit(web, None, START).unwrap();
    assert_eq!(ledger.claim(web, None, START), Claim::None);
    assert_eq!(ledger.claim(Cost::default(), None, START), Claim::Beside);
    // livekit-server takes 1 at once, nothing below 0, and the highest of the rest.
    assert_eq!(Claim::Idle.affinity(), 1.0);
    assert!(Claim::None.affinity() < 0.0);
    let [stretched, livekits_idle, beside] = [Claim::Stretched.affinity(), 0.5, Claim::Beside.affinity()];
    assert!(0.0 < stretched && stretched < livekits_idle && livekits_idle < beside && beside < 1.0);
}

#[test]
fn a_permit_holds_room_until_it_is_dropped() {
    let gate = AdmissionController::new(costs(), 10.0);
    let request = request(web(false));
    let permit = gate.admit(&request).unwrap();
    permit.set_pid(4711);
    let reservations: Vec<Reservation> = gate.reservations().into_values().collect();
    let expected = Reservation {
        egress_id: "EG_1".into(),
        kind: Kind::Web,
        cost: Cost { cpu: 4.0, memory: 1.0 },
        pid: Some(4711),
    };
    assert_eq!(reservations, [expected]);
    let second = gate.admit(&request).unwrap();
    let refused = gate.admit(&request).map(drop).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (Code::Unavailable, "not enough CPU"));
    assert!(gate.affinity(&request) < 0.0 && !gate.room().takes_web);
    drop(second);
    assert!(gate.room().takes_web && !gate.room().is_idle);
    let ids: Vec<Id> = gate.reservations().into_keys().collect();
    gate.set_measured([(ids[0], 7.5)], 0.0);
    assert_eq!(gate.room().available, 0.5);
    drop(permit);
    assert!(gate.room().is_idle && gate.reservations().is_empty());
    assert_eq!(gate.room().available, 10.0);

    gate.close();
    let refused = gate.admit(&request).map(drop).unwrap_err();
    assert_eq!(refused.message, "server is shutting down");
    assert_eq!(gate.claim(&request), Claim::None);
}
