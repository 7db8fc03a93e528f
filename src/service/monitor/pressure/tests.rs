use super::*;
use crate::service::admission::{Cost, Ledger};

fn ids() -> [Id; 3] {
    let mut ledger = Ledger::new(CpuCost::default(), 100.0);
    [(); 3].map(|()| ledger.admit(Cost { cpu: 1.0, memory: 0.0 }, None, Duration::ZERO).unwrap())
}

fn consumer(id: Id, cpu: f64, memory: f64) -> Consumer {
    Consumer { id, cpu, expected: 2.0, memory }
}

/// Measures under a constant `load`, with their times in seconds.
fn run(
    pressure: &mut Pressure,
    seconds: std::ops::Range<u64>,
    load: f64,
    memory: f64,
    recordings: &[Consumer],
) -> Vec<(u64, Measure)> {
    let mut done = Vec::new();
    for second in seconds {
        let cores = recordings.iter().map(|recording| recording.cpu).sum();
        let tick = Tick { now: Duration::from_secs(second), load, cores, memory, recordings };
        done.extend(pressure.tick(&tick).map(|measure| (second, measure)));
    }
    done
}

#[test]
fn who_takes_more_than_expected_is_made_cheaper_step_by_step() {
    let [a, b, c] = ids();
    let mut pressure = Pressure::new(&CpuCost::default());
    // `c` takes the most, and yet no more than was expected of it.
    let recordings =
        [consumer(a, 2.5, 0.0), consumer(b, 2.2, 0.0), Consumer { expected: 4.0, ..consumer(c, 3.0, 0.0) }];
    let done = run(&mut pressure, 1..400, 1.0, 0.0, &recordings);
    let degrade = |id, step| Measure::Degrade { id, step };
    assert_eq!(
        done,
        [
            (10, degrade(a, Step::Half)),
            (40, degrade(a, Step::Quarter)),
            (70, degrade(b, Step::Half)),
            (100, degrade(b, Step::Quarter)),
            (130, degrade(c, Step::Half)),
            (160, degrade(c, Step::Quarter)),
        ]
    );
}

#[test]
fn short_peaks_are_forgotten_and_frequent_ones_are_not() {
    let [a, ..] = ids();
    let recordings = [consumer(a, 2.5, 0.0)];
    let mut pressure = Pressure::new(&CpuCost::default());
    let mut at = 0;
    for _ in 0..20 {
        assert_eq!(run(&mut pressure, at..at + 9, 1.0, 0.0, &recordings), []);
        assert_eq!(run(&mut pressure, at + 9..at + 14, 0.5, 0.0, &recordings), []);
        at += 14;
    }
    // Four seconds below forget nothing.
    assert_eq!(run(&mut pressure, at..at + 9, 1.0, 0.0, &recordings), []);
    assert_eq!(run(&mut pressure, at + 9..at + 13, 0.5, 0.0, &recordings), []);
    assert_eq!(run(&mut pressure, at + 13..at + 14, 1.0, 0.0, &recordings).len(), 1);
}

#[test]
fn recordings_are_left_alone_where_others_fill_the_machine() {
    let [a, b, _] = ids();
    let recordings = [consumer(a, 2.5, 0.0), consumer(b, 0.5, 0.0)];
    let acts = |cores| {
        let mut pressure = Pressure::new(&CpuCost::default());
        (0..60).any(|second| {
            let now = Duration::from_secs(second);
            pressure.tick(&Tick { now, load: 1.0, cores, memory: 0.0, recordings: &recordings }).is_some()
        })
    };
    assert!(acts(3.5) && acts(5.9) && !acts(6.0) && !acts(8.0));
}

#[test]
fn recordings_that_alone_take_more_than_is_ours_are_not_left_alone() {
    let [a, ..] = ids();
    let recordings = [consumer(a, 2.5, 0.0)];
    // Of 8 cores in use, `load` says how many are ours.
    let acts = |ours: f64| {
        let mut pressure = Pressure::new(&CpuCost::default());
        (0..60).any(|second| {
            let now = Duration::from_secs(second);
            let tick = Tick { now, load: 8.0 / ours, cores: 8.0, memory: 0.0, recordings: &recordings };
            pressure.tick(&tick).is_some()
        })
    };
    assert!(acts(0.2) && acts(2.6) && !acts(2.7) && !acts(8.0));
}

#[test]
fn the_threshold_is_above_what_the_operator_allows() {
    let [a, ..] = ids();
    let recordings = [consumer(a, 2.5, 0.0)];
    let acts = |utilization, load| {
        let costs = CpuCost { max_cpu_utilization: utilization, ..CpuCost::default() };
        !run(&mut Pressure::new(&costs), 0..60, load, 0.0, &recordings).is_empty()
    };
    assert!(acts(0.8, 0.951) && !acts(0.8, 0.95));
    assert!(!acts(0.96, 0.98) && acts(0.96, 0.981));
    assert!(!acts(1.0, 1.0), "all of it may be used");
    assert_eq!(run(&mut Pressure::new(&CpuCost::default()), 0..60, 1.0, 0.0, &[]), []);
}

#[test]
fn too_much_memory_ends_the_greatest_and_no_other_while_it_goes() {
    let [a, b, c] = ids();
    let mut pressure = Pressure::new(&CpuCost { max_memory: 8.0, ..CpuCost::default() });
    let recordings = [consumer(a, 0.1, 2.0), consumer(b, 0.1, 4.0), consumer(c, 0.1, 2.5)];
    assert_eq!(run(&mut pressure, 0..10, 0.1, 8.0, &recordings), []);
    let kill = |id, used| Measure::Kill { id, used };
    assert_eq!(run(&mut pressure, 10..40, 0.1, 8.5, &recordings), [(10, kill(b, 8.5))]);
    // It is gone, and it was not enough.
    let left = [recordings[0], recordings[2]];
    assert_eq!(run(&mut pressure, 40..41, 0.1, 8.1, &left), [(40, kill(c, 8.1))]);
    // One that does not go is not waited for for ever; the last is ended, too.
    assert_eq!(run(&mut pressure, 41..120, 0.1, 8.1, &left), [(100, kill(a, 8.1))]);
}

#[test]
fn memory_may_be_too_much_for_as_long_as_the_operator_says() {
    let [a, ..] = ids();
    let costs = CpuCost { max_memory: 8.0, memory_kill_grace_sec: 5, ..CpuCost::default() };
    let mut pressure = Pressure::new(&costs);
    let recordings = [consumer(a, 0.1, 2.0)];
    assert_eq!(run(&mut pressure, 0..5, 0.1, 9.0, &recordings), []);
    assert_eq!(run(&mut pressure, 5..6, 0.1, 7.0, &recordings), []);
    assert_eq!(run(&mut pressure, 6..11, 0.1, 9.0, &recordings), []);
    assert_eq!(run(&mut pressure, 11..12, 0.1, 9.0, &recordings).len(), 1);
    // Where nothing is said of memory, none is too much.
    assert_eq!(run(&mut Pressure::new(&CpuCost::default()), 0..60, 0.1, 900.0, &recordings), []);
}
