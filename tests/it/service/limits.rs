//! An operator's settings for every browser, visible in the recording.

use serde_json::json;

use super::PATIENCE;
use crate::support::layout::Region;
use crate::support::measure::assert_decodable;
use crate::support::page_server::PageServer;
use crate::support::room::Images;
use crate::support::service::Serve;
use crate::support::slots;

const YES: [u8; 3] = [40, 170, 80];
const NO: [u8; 3] = [220, 50, 47];

/// Records the page that shows its settings until an image of it has these colours in its halves,
/// and `says` is in the service's log. Returns that log.
fn shown(configuration: &str, expected: [[u8; 3]; 2], says: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (pages, other) = (PageServer::start(), PageServer::start());
    let mut service = Serve::start(dir.path(), configuration);
    let file = dir.path().join("terms.mp4");
    let id = service.callers().start(&json!({
        "url": pages.url(&format!("/pages/limits.html?other={}", other.url(""))),
        "await_start_signal": true,
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "image_outputs": [{
            "filename_prefix": dir.path().join("seen").display().to_string(), "capture_interval": 1,
        }],
        "advanced": { "width": 640, "height": 360, "framerate": 15, "video_bitrate": 800 },
    }));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let halves = [Region::new(0.0, 0.0, 0.5, 1.0), Region::new(0.5, 0.0, 0.5, 1.0)];
    let mut images = Images::new(dir.path().join("seen"));
    let mut last = None;
    service.until(&format!("an image shows {expected:?}"), PATIENCE, |_| {
        let still = images.newest()?;
        let seen = halves.map(|half| still.colour(half));
        if last.replace(seen) != Some(seen) {
            eprintln!("an image shows {seen:?}");
        }
        are_near(seen, expected).then_some(())
    });
    for &words in says {
        service.until_logged(words, |line| line.contains("refused: a page wants") && line.contains(words));
    }
    service.callers().stop(&id).unwrap();
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_decodable(&file);
    service.end().stderr
}

fn are_near(seen: [[u8; 3]; 2], expected: [[u8; 3]; 2]) -> bool {
    let near = |(seen, expected): (&u8, &u8)| seen.abs_diff(*expected) <= 12;
    seen.as_flattened().iter().zip(expected.as_flattened()).all(near)
}

#[test]
fn a_page_is_kept_from_other_origins_and_from_the_link() {
    let _slot = slots::encoder();
    shown("", [NO, NO], &["169.254.1.1:80", "169.254.1.2:80", "169.254.1.3:80", "[fe80::1]:80"]);
}

#[test]
fn an_operators_flags_reach_the_page_and_so_does_what_is_allowed() {
    let _slot = slots::encoder();
    let allowed = "insecure: true\nallow_link_local: true\nchrome_flags: {user-agent: Terms/1}";
    let log = shown(allowed, [YES, YES], &[]);
    assert!(!log.contains("refused: a page wants"), "{log}");
}

#[test]
fn a_link_local_page_is_refused_by_its_field() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let service = Serve::start(dir.path(), "");
    for url in
        ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://2852039166/"]
    {
        let request = json!({ "url": url, "file_outputs": [{ "filepath": "a.mp4" }] });
        let refused = service.callers().call("StartWebEgress", &request).unwrap_err();
        assert_eq!(refused.code, "invalid_argument", "{refused:?}");
        assert!(
            refused.message.contains("web url") && refused.message.contains("allow_link_local"),
            "{refused:?}"
        );
    }
    service.end();
}

#[test]
fn link_local_streams_and_storages_are_refused_by_their_fields() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let service = Serve::start(dir.path(), "");
    let s3 = json!({ "bucket": "b", "access_key": "k", "secret": "s", "endpoint": "http://169.254.169.254" });
    let stream = |url: &str| json!({ "stream_outputs": [{ "urls": [url] }] });
    for (outputs, field) in [
        (stream("rtmp://169.254.169.254/app/key"), "stream_outputs[0].urls[0]"),
        (stream("srt://[fe80::1]:9000"), "stream_outputs[0].urls[0]"),
        (json!({ "file_outputs": [{ "filepath": "a.mp4", "s3": s3 }] }), "storage.endpoint"),
    ] {
        let mut request = outputs;
        request["url"] = json!("http://127.0.0.1:1/");
        let refused = service.callers().call("StartWebEgress", &request).unwrap_err();
        assert_eq!(refused.code, "invalid_argument", "{refused:?}");
        assert!(
            refused.message.contains(field) && refused.message.contains("allow_link_local"),
            "{refused:?}"
        );
    }
    service.end();
}
