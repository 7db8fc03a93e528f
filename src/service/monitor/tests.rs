mod real_time;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;
use crate::protocol as rpc;

/// Notes what it is asked.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Relief for Notes {
    fn degrade(&self, egress_id: &str, step: Step) {
        self.0.lock().unwrap().push(format!("{egress_id} {step:?}"));
    }

    fn kill(&self, egress_id: &str, error: &str) {
        self.0.lock().unwrap().push(format!("{egress_id} {error}"));
    }
}

fn request() -> rpc::StartEgressRequest {
    let web = rpc::start_egress_request::Request::Web(livekit_protocol::WebEgressRequest::default());
    rpc::StartEgressRequest { egress_id: "EG_1".into(), request: Some(web), ..Default::default() }
}

#[test]
fn too_much_memory_is_told_in_livekits_words() {
    let costs = CpuCost { max_memory: 4.0, memory_source: MemorySource::Cgroup, ..CpuCost::default() };
    let gate = AdmissionController::new(costs.clone(), 8.0);
    let _permit = gate.enter(&request()).unwrap();
    let mut monitor = Monitor::new(gate.clone(), &costs, None);
    let reservations = gate.reservations();
    let id = *reservations.keys().next().unwrap();
    let notes = Notes::default();
    let reading = Reading {
        memory: 4.256,
        recordings: BTreeMap::from([(id, Use { cpu: 3.0, memory: 4 << 30 })]),
        ..Reading::default()
    };
    monitor.take(reading.clone(), &reservations, Duration::from_secs(1), &notes);
    assert_eq!(*notes.0.lock().unwrap(), ["EG_1 OOM: 4.26 GB used"]);
    assert_eq!(*monitor.readings().borrow(), reading);
    // And nobody comes in while it is so.
    assert!(gate.enter(&request()).is_err());
}

#[test]
fn a_full_machine_makes_recordings_cheaper() {
    let costs = CpuCost::default();
    let gate = AdmissionController::new(costs.clone(), 2.0);
    let _permit = gate.enter(&request()).unwrap();
    let mut monitor = Monitor::new(gate.clone(), &costs, None);
    let reservations = gate.reservations();
    let id = *reservations.keys().next().unwrap();
    let notes = Notes::default();
    for second in 0..120 {
        let recordings = BTreeMap::from([(id, Use { cpu: 1.9, memory: 0 })]);
        let reading = Reading { load: 1.0, cores: 2.0, recordings, ..Reading::default() };
        monitor.take(reading, &reservations, Duration::from_secs(second), &notes);
    }
    assert_eq!(*notes.0.lock().unwrap(), ["EG_1 Half", "EG_1 Quarter"]);
}

#[test]
fn what_was_requested_for_us_counts_before_the_machine() {
    assert_eq!(available_cores(Some(2.5)), 2.5);
    let machine = std::thread::available_parallelism().unwrap().get();
    let cores = available_cores(None);
    assert!(cores > 0.0 && cores < f64::from(u32::try_from(machine).unwrap()) + 1.0, "{cores}");
    assert_eq!((within(2.5, 2.0), within(0.5, 1.0), within(6.5, 4.0)), (2.5, 0.5, 4.0));
    assert_eq!(within(1.5, 64.0), 1.5);
}
