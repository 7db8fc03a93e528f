//! Names that stand for many files, and single files that have the number or the time of one of
//! them.

use super::*;

#[test]
fn an_image_that_is_one_of_another_recordings_many_is_refused_whichever_began_first() {
    for storage in ["", "storage: {prefix: p, s3: {bucket: b}}"] {
        let machine = || match storage {
            "" => Machine::new(),
            text => Machine::with_storage(text),
        };
        for (many, one) in [
            (numbered("i/im"), single("i/im_00006")),
            (numbered("i/im"), single("i/x/../im_123456")),
            (timed("i/im"), single("i/im_20060102150405000")),
        ] {
            for (first, second) in [(&many, &one), (&one, &many)] {
                let machine = machine();
                let [first, second] = [first, second].map(|output| images(&[output]));
                let running = machine.start("EG_a", &first).unwrap();
                assert_taken(machine.start("EG_b", &second), "EG_a");
                assert_taken(machine.start_by_hand("EG_b", &second), "EG_a");
                drop(running);
                machine.start("EG_b", &second).unwrap();
            }
        }
    }
}

#[test]
fn an_image_that_is_one_of_many_of_its_own_recording_is_refused() {
    let machine = Machine::new();
    let absolute = machine.base().join("im_00006").display().to_string();
    for one in ["im_00006", &absolute] {
        for outputs in [[numbered("im"), single(one)], [single(one), numbered("im")]] {
            let [first, second] = &outputs;
            let refused = machine.start("EG_a", &images(&[first, second])).unwrap_err();
            assert!(matches!(refused, NameError::Twice { .. }), "{refused}");
        }
    }
    machine.start("EG_a", &images(&[&numbered("im"), &single("im_1")])).unwrap();
}

#[test]
fn images_with_numbers_in_their_names_share_a_directory() {
    let machine = Machine::new();
    // Single images of which none is of the other's many, and many whose names no single one can
    // be.
    let all = [single("im_00006"), single("im_00007"), timed("im"), numbered("im_00006"), single("im_1")];
    let running: Vec<Recording> = all
        .iter()
        .enumerate()
        .map(|(index, output)| machine.start(&format!("EG_{index}"), &images(&[output])).unwrap())
        .collect();
    assert_eq!(running.len(), all.len());
    machine.start("EG_a", &images(&[&numbered("other"), &single("im_00008")])).unwrap();
    // Each still keeps its own name from others.
    assert_taken(machine.start("EG_b", &images(&[&single("im_00007")])), "EG_1");
    assert_taken(machine.start("EG_b", &images(&[&numbered("im")])), "EG_2");
}

#[test]
fn a_generated_name_that_is_one_of_anothers_many_gets_the_egress_id() {
    let machine = Machine::new();
    let _running = machine.start("EG_a", &images(&[&timed("im")])).unwrap();
    let other = machine.start("EG_b", &images(&[&single("im_{utc}")])).unwrap();
    assert_eq!(other.keys(), ["im_20060102150405000-EG_b.jpeg"]);
}

/// No output can be asked for that writes a single `.ts` file; what holds for images holds for
/// segments' names, too.
#[test]
fn a_segment_and_the_name_of_all_of_them_are_rivals() {
    let machine = Machine::new();
    let plan = machine.plan(
        "EG_a",
        r#"{"url":"https://example.com","segment_outputs":[{"playlist_name":"d/p","filename_prefix":"d/s"}]}"#,
    );
    let written = plan.written(OutputId(0));
    let many = written.iter().find(|written| written.files == WrittenFiles::Numbered).unwrap();
    let one = |name: &str| {
        let own = WrittenName::of_file(&StorageTarget::local(), name).remove(0);
        Keyed::new(own, &machine.base())
    };
    let many = Keyed::new(many.clone(), &machine.base());
    let is_rival = |one: &Keyed, other: &Keyed| one.rivals.iter().any(|key| other.noted.contains(key));
    let (third, last) = (one("d/s_00003.ts"), one("d/s_100000.ts"));
    for segment in [&third, &last] {
        assert!(is_rival(segment, &many) && is_rival(&many, segment));
    }
    assert!(!is_rival(&third, &last) && !is_rival(&last, &third));
    let playlist = one("d/p.m3u8");
    assert!(!is_rival(&playlist, &many) && !is_rival(&many, &playlist));
}
