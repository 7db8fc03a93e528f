//! Health, metrics and profiles of a service with a recording.

use serde_json::Value;

use super::{PATIENCE, clock};
use crate::support::page_server::PageServer;
use crate::support::ports;
use crate::support::service::Serve;
use crate::support::slots;

#[test]
fn health_and_metrics_show_a_recording_and_no_secret() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let [health, prometheus, debug] = ports::free();
    let configuration =
        format!("health_port: {health}\nprometheus_port: {prometheus}\ndebug_handler_port: {debug}");
    let mut service = Serve::start(dir.path(), &configuration);
    let health = format!("http://127.0.0.1:{health}");
    let prometheus = format!("http://127.0.0.1:{prometheus}/metrics");
    let (status, idle) = service.callers().get(&health);
    let idle: Value = serde_json::from_str(&idle).unwrap();
    assert_eq!((status, idle.as_object().unwrap().len()), (200, 1), "{idle}");
    let id = service.callers().start(&clock(&pages, &dir.path().join("clock.mp4")));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let busy = service.callers().get(&health).1;
    assert!(busy.contains(&id) && !busy.contains("clock.html"), "{busy}");
    assert_eq!(service.callers().get(&format!("{health}/healthz")).0, 200);
    let running = service.callers().get(&prometheus).1;
    assert!(running.contains("livekit_egress_requests"), "{running}");
    let pipelines = format!("http://127.0.0.1:{debug}/gst_pipeline");
    // Audio source, audio encoder, video encoder, file: one pipeline each. A busy recorder answers
    // with nothing.
    let drawn = service.until("all pipelines are drawn", PATIENCE, |callers| {
        let (status, drawn) = callers.get(&format!("{pipelines}/{id}"));
        let parts = ["encode-video", "GstX264Enc", "file-0", "GstPulseSrc"];
        let is_all = status == 200
            && drawn.matches("digraph pipeline {").count() >= 4
            && parts.iter().all(|part| drawn.contains(part));
        is_all.then_some(drawn)
    });
    assert!(!drawn.contains("clock.mp4"), "properties are not shown: {drawn}");
    assert_eq!(service.callers().get(&format!("{pipelines}/EG_nobody")).0, 404);
    let profile = format!("http://127.0.0.1:{debug}/pprof/profile");
    for url in [format!("{profile}/{id}?seconds=1"), format!("{profile}?seconds=1")] {
        let (status, taken) = service.callers().get_bytes(&url);
        assert_eq!((status, taken.get(..2)), (200, Some(&[0x1f, 0x8b][..])), "{url}: gzip");
    }
    let lead = service.until("sound is measured against pictures", PATIENCE, |callers| {
        let page = callers.get(&prometheus).1;
        let line = page.lines().find(|line| line.starts_with("weir_recording_audio_lead_seconds{"))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    });
    // The look-ahead of the video encoder, plus the delay of a busy machine.
    assert!((-30.0..60.0).contains(&lead), "{lead} s");
    service.callers().stop(&id).unwrap();
    service.until_over(&id, PATIENCE);
    let ended = service.until("the end is counted", PATIENCE, |callers| {
        let page = callers.get(&prometheus).1;
        page.contains("livekit_egress_handler_results_total").then_some(page)
    });
    assert!(ended.contains("completed"), "{ended}");
    // The recorder's uploads, its manifest included, before its end was reported.
    for (name, mime) in [
        ("pipeline_uploads", "video/mp4"),
        ("pipeline_uploads", "application/json"),
        ("pipline_upload_response_time_ms_count", "video/mp4"),
    ] {
        let line = ended.lines().find(|line| {
            line.starts_with(&format!("livekit_egress_{name}{{"))
                && line.contains("custom_endpoint=\"false\"")
                && line.contains("status=\"success\"")
                && line.contains(&format!("type=\"{mime}\""))
        });
        assert!(line.is_some_and(|line| line.ends_with("} 1")), "{name} {mime}: {ended}");
    }
    service.end();
}
