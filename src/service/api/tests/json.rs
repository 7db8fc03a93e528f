//! Messages as JSON, in and out.

use super::super::json::Answer;
use super::*;
use proto::egress_info;

/// Names in both forms, numbers of 64 bits as text or not, enums by name or number, and what nobody
/// knows.
#[tokio::test]
async fn json_is_read_in_every_form_that_protobuf_allows() {
    let bench = Bench::start().await;
    let camel = json!({
        "url": "https://x/", "awaitStartSignal": true, "preset": "H264_1080P_30", "fromTheFuture": {"a": [1]},
        "fileOutputs": [{"fileType": "MP4", "filepath": "a", "s3": {"accessKey": "k", "metadata": {"someKey": "v"}}}],
        "segmentOutputs": [{"filenamePrefix": "p", "segmentDuration": "6"}],
    });
    let snake = json!({
        "url": "https://x/", "await_start_signal": true, "preset": 2, "from_the_future": 7,
        "file_outputs": [{"file_type": 1, "filepath": "a", "s3": {"access_key": "k", "metadata": {"someKey": "v"}}}],
        "segment_outputs": [{"filename_prefix": "p", "segment_duration": 6}], "image_outputs": [],
    });
    for body in [&camel, &snake] {
        let answer = bench.call_json("StartWebEgress", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let started = bench.fake.started.lock().unwrap();
    assert_eq!(started[0].request, started[1].request);
    let Some(Start::Web(web)) = &started[0].request else { panic!("a web request") };
    assert_eq!(web.file_outputs[0].filepath, "a");
    assert_eq!(web.segment_outputs[0].segment_duration, 6);
    assert_eq!(
        web.options,
        Some(proto::web_egress_request::Options::Preset(proto::EncodingOptionsPreset::H2641080p30.into()))
    );
}

/// livekit-server's form: names of the `.proto` file, with empty fields.
#[test]
fn an_egress_that_starts_shows_all_its_fields() {
    let info = proto::EgressInfo { egress_id: "EG_one".to_owned(), ..proto::EgressInfo::default() };
    let expected = json!({
        "egress_id": "EG_one", "room_id": "", "room_name": "", "source_type": "EGRESS_SOURCE_TYPE_WEB",
        "status": "EGRESS_STARTING", "started_at": "0", "ended_at": "0", "updated_at": "0", "stream_results": [],
        "file_results": [], "segment_results": [], "image_results": [], "error": "", "error_code": 0, "details": "",
        "manifest_location": "", "backup_storage_used": false, "retry_count": 0,
    });
    assert_eq!(info.json(), expected);
}

/// Where there is one kind of output, old clients find its result here.
#[test]
#[allow(deprecated)]
fn the_one_result_shows_all_its_fields_too() {
    use proto::egress_info::Result;
    let streams = proto::StreamInfoList { info: vec![proto::StreamInfo::default()] };
    for (result, at, zero) in [
        (Result::File(proto::FileInfo::default()), "/file/size", json!("0")),
        (Result::Segments(proto::SegmentsInfo::default()), "/segments/segment_count", json!("0")),
        (Result::Stream(streams), "/stream/info/0/started_at", json!("0")),
    ] {
        let info = proto::EgressInfo { result: Some(result), ..proto::EgressInfo::default() };
        assert_eq!(info.json().pointer(at), Some(&zero), "{at}");
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    let s3 = proto::S3Upload {
        access_key: "{access_key}".to_owned(),
        force_path_style: true,
        metadata: [("someKey".to_owned(), "a_value".to_owned())].into(),
        ..proto::S3Upload::default()
    };
    let oss = proto::AliOssUpload { bucket: "b".to_owned(), ..proto::AliOssUpload::default() };
    let file =
        |output| proto::EncodedFileOutput { output: Some(output), ..proto::EncodedFileOutput::default() };
    let request = proto::WebEgressRequest {
        url: "https://x/".to_owned(),
        file_outputs: vec![
            file(proto::encoded_file_output::Output::S3(s3)),
            file(proto::encoded_file_output::Output::AliOss(oss)),
        ],
        options: Some(proto::web_egress_request::Options::Preset(
            proto::EncodingOptionsPreset::Passthrough.into(),
        )),
        ..proto::WebEgressRequest::default()
    };
    let info = proto::EgressInfo {
        egress_id: "EG_one".to_owned(),
        status: proto::EgressStatus::EgressComplete.into(),
        started_at: i64::MAX,
        file_results: vec![proto::FileInfo { size: 7, ..proto::FileInfo::default() }],
        stream_results: vec![proto::StreamInfo::default()],
        segment_results: vec![proto::SegmentsInfo::default()],
        image_results: vec![proto::ImagesInfo::default()],
        request: Some(egress_info::Request::Web(request)),
        ..proto::EgressInfo::default()
    };
    let written = info.json();
    assert_eq!(written["started_at"], "9223372036854775807");
    assert_eq!(written["web"]["preset"], "PASSTHROUGH");
    assert_eq!(written["web"]["file_outputs"][0]["s3"]["metadata"], json!({"someKey": "a_value"}));
    assert_eq!(written["web"]["file_outputs"][1]["aliOSS"]["bucket"], "b");
    assert_eq!(written["stream_results"][0]["status"], "ACTIVE");
    assert_eq!(written["file_results"][0]["duration"], "0");
    assert_eq!(serde_json::from_value::<proto::EgressInfo>(written).unwrap(), info);

    let token = proto::TokenPagination { token: "t".to_owned() };
    let list = proto::ListEgressResponse { items: vec![info], next_page_token: Some(token) };
    let written = list.json();
    assert_eq!(written["next_page_token"]["token"], "t");
    assert_eq!(serde_json::from_value::<proto::ListEgressResponse>(written).unwrap(), list);
    let empty = proto::ListEgressResponse::default().json();
    assert_eq!(empty, json!({"items": [], "next_page_token": null}));
}
