//! Tests that wait for the real clock.

use super::*;

/// The use of this process is measured as a recording's, and the controller counts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_measured_and_counted() {
    let costs = CpuCost::default();
    let gate = AdmissionController::new(costs.clone(), 64.0);
    let permit = gate.admit(&request()).unwrap();
    permit.set_pid(i32::try_from(std::process::id()).unwrap());
    let monitor = Monitor::new(gate.clone(), &costs, None);
    let mut readings = monitor.readings();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(monitor.watch(Arc::new(Notes::default()), stop.clone()));
    let busy = Arc::new(AtomicBool::new(true));
    let working = Arc::clone(&busy);
    tasks.spawn_blocking(move || {
        while working.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let seen = timeout(Duration::from_secs(60), async {
        loop {
            readings.changed().await.unwrap();
            let reading = readings.borrow_and_update().clone();
            if reading.recordings.values().any(|used| used.cpu > 0.1) {
                return reading;
            }
        }
    });
    let reading = seen.await.unwrap();
    busy.store(false, Ordering::Relaxed);
    stop.cancel();
    tasks.close();
    timeout(Duration::from_secs(60), tasks.wait()).await.unwrap();
    let used = reading.recordings.values().next().unwrap();
    assert!(reading.cores > 0.1 && reading.load > 0.0, "{reading:?}");
    assert!(used.memory > 1 << 20 && reading.resident >= used.memory, "{reading:?}");
    assert!(
        reading.memory > 0.0 && (reading.memory - gigabytes(reading.resident)).abs() < 1e-9,
        "{reading:?}"
    );
}
