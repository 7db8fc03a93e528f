//! Tests with a display and an audio server.

use super::*;

/// A busy machine takes no longer than this for what does not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(30);

#[test]
fn every_size_has_its_colours_up_to_the_edges() {
    for (width, height) in [(16, 16), (854, 480), (720, 1280), (1922, 1082), (1280, 720), (18, 30)] {
        let rig = rig(CaptureKind::Framebuffer, width, height, as_drawn());
        let painter = Painter::new(&rig.screen);
        rig.context.timeline.begin();
        assert_quarters(&painter, &rig);
    }
}

#[test]
fn the_pointer_is_not_in_the_picture() {
    let rig = rig(CaptureKind::Framebuffer, 640, 360, as_drawn());
    let painter = Painter::new(&rig.screen);
    painter.show_pointer();
    painter.fill(RED, [0, 0, 640, 360]);
    painter.sync();
    rig.context.timeline.begin();
    let red = |sample: &gst::Sample| yuv_at(sample, 9, 9)[0].abs_diff(bt709(RED)[0]) <= 2;
    let pictures = rig.kept.until(|samples| samples.iter().any(red));
    let picture = pictures.iter().find(|sample| red(sample)).unwrap();
    for (x, y) in (300..340).flat_map(|x| (160..200).map(move |y| (x, y))) {
        assert_near(yuv_at(picture, x, y), RED);
    }
}

#[test]
fn ximagesrc_has_the_same_colours() {
    let mut rig = rig(CaptureKind::XImageSrc, 854, 480, as_drawn());
    let painter = Painter::new(&rig.screen);
    rig.context.timeline.begin();
    assert_quarters(&painter, &rig);
    assert_eq!(*rig.capture.failure().borrow_and_update(), None);
    // The capture has to go before its display does: Xlib would end the process.
    drop(rig.capture);
    rig.server.kill();
}

#[test]
fn a_picture_has_the_time_it_was_drawn() {
    let rig = rig(CaptureKind::Framebuffer, 1280, 720, as_drawn());
    let (painter, timeline) = (Painter::new(&rig.screen), &rig.context.timeline);
    timeline.begin();
    let (begun, clock) = (timeline.begun().unwrap(), gst::SystemClock::obtain());
    let earlier = gst::ClockTime::try_from(alignment::earlier(CaptureKind::Framebuffer, 30)).unwrap();
    let mut drawn = Vec::new();
    for n in 0..20u32 {
        wait_until(clock.time() + 45 * gst::ClockTime::MSECOND);
        let before = timeline.now();
        painter.fill(0x0010_1010 * (1 + n % 14), [0, 0, 1280, 720]);
        painter.sync();
        drawn.push((before, timeline.now(), bt709(0x0010_1010 * (1 + n % 14))[0]));
    }
    rig.kept.until(|samples| samples.len() > 20);
    let pictures = rig.kept.all();
    let mut late = Vec::new();
    for (before, after, luma) in drawn {
        let stamped = |sample: &gst::Sample| begun + pts(sample) + earlier;
        let picture = pictures
            .iter()
            .filter(|sample| stamped(sample) + gst::ClockTime::MSECOND >= before)
            .find(|sample| yuv_at(sample, 640, 360)[0].abs_diff(luma) <= 1);
        let Some(picture) = picture else { continue };
        late.push(stamped(picture).saturating_sub(after));
    }
    late.sort();
    // Drawn one after the other with more than a frame's length between: each is there and has its
    // time, but for those that a busy machine is too late for. A wrong time is wrong for all of
    // them.
    assert!(late.len() >= 4, "{} of 20", late.len());
    assert!(late[late.len() / 4] <= 40 * gst::ClockTime::MSECOND, "{late:?}");
}

#[test]
fn no_picture_is_torn() {
    const STRIPS: u32 = 12;
    let rig = rig(CaptureKind::Framebuffer, 1280, 720, as_drawn());
    let (painter, clock) = (Painter::new(&rig.screen), gst::SystemClock::obtain());
    rig.context.timeline.begin();
    let begun = clock.time();
    // Whole screens at 60 Hz, in strips that are sent one by one.
    for n in 0..180u64 {
        wait_until(begun + n * gst::ClockTime::from_useconds(16_667));
        // The server is grabbed meanwhile, so that a test held up in the middle does not show half
        // a screen for long. (A browser draws its frame with one request.)
        painter.hold();
        for strip in 0..STRIPS {
            painter.fill([RED, GREEN, BLUE, WHITE][n as usize % 4], [0, strip * 720 / STRIPS, 1280, 60]);
            painter.flush();
        }
        painter.release();
    }
    let pictures = rig.kept.until(|samples| samples.len() >= 45);
    let is_torn = |picture: &&gst::Sample| {
        let first = yuv_at(picture, 0, 0);
        (0..720).step_by(30).any(|y| yuv_at(picture, 640, y) != first)
    };
    let torn: Vec<_> = pictures.iter().skip(1).filter(is_torn).map(pts).collect();
    // A test that is held up between two strips has drawn half a screen. If frames were taken at
    // any moment, most would be torn.
    assert!(torn.len() * 6 <= pictures.len(), "{} of {} are torn, at {torn:?}", torn.len(), pictures.len());
    // Not more than asked for.
    let counted = rig.context.counters.pictures.load(Ordering::Relaxed);
    let span = pts(pictures.last().unwrap()).mseconds();
    assert!(counted <= span * 30 / 1000 + 3, "{counted} pictures in {span} ms");
}

#[test]
fn nothing_is_taken_where_nothing_changes_and_what_moves_again_is_there_at_once() {
    let rig = rig(CaptureKind::Framebuffer, 640, 360, as_drawn());
    let painter = Painter::new(&rig.screen);
    painter.fill(RED, [0, 0, 640, 360]);
    painter.sync();
    rig.context.timeline.begin();
    rig.kept.until(|samples| samples.len() >= 3);
    // Drawn once more as it was, and beside the recorded area: nothing to see.
    painter.fill(RED, [100, 100, 50, 50]);
    painter.sync();
    let pictures = rig.kept.until(|samples| samples.len() >= 5);
    let counters = &rig.context.counters;
    assert_eq!(counters.pictures.load(Ordering::Relaxed), 1);
    // The same memory each time.
    let memory = |sample: &gst::Sample| sample.buffer().unwrap().peek_memory(0).as_ptr();
    assert!(pictures.windows(2).all(|pair| memory(&pair[0]) == memory(&pair[1])));
    let times: Vec<u64> = pictures.iter().map(|sample| pts(sample).mseconds()).collect();
    assert_eq!(times, [0, 500, 1000, 1500, 2000]);

    // Several times, as a busy machine may hold one up.
    let late = [BLUE, GREEN, BLUE, GREEN].map(|colour| {
        painter.fill(colour, [0, 0, 640, 360]);
        painter.sync();
        let drawn = rig.context.timeline.elapsed().unwrap();
        let is_it = |sample: &gst::Sample| yuv_at(sample, 9, 9)[0].abs_diff(bt709(colour)[0]) <= 2;
        let pictures = rig.kept.until(|samples| is_it(samples.last().unwrap()));
        pts(pictures.last().unwrap()).saturating_sub(drawn)
    });
    assert!(late.iter().any(|late| *late < 50 * gst::ClockTime::MSECOND), "{late:?}");
    assert_eq!(counters.pictures.load(Ordering::Relaxed), 5);
}

#[test]
fn what_stood_there_before_the_capture_came_is_taken_and_black_where_nothing_was() {
    let (_server, screen) = xvfb(320, 240, 30);
    let painter = Painter::new(&screen);
    let (feed, kept) = (Feed::new("raw video"), Kept::default());
    let _attached = feed.attach(Box::new(kept.clone()));
    let context = context(Some(feed), Cadence::Grid, 30);
    let pacer = Pacer::start(&context, 320, 240).unwrap();
    context.timeline.begin();
    let pictures = kept.until(|samples| samples.len() >= 3);
    assert!(pictures.iter().all(|picture| yuv_at(picture, 10, 10) == [16, 128, 128]));
    assert_eq!(context.counters.pictures.load(Ordering::Relaxed), 0);

    painter.fill(GREEN, [0, 0, 320, 240]);
    painter.sync();
    let kind = CaptureKind::Framebuffer;
    let capture = VideoCapture::start(kind, &screen, pacer.slot(), &context.timeline).unwrap();
    let pictures = kept.until(|samples| yuv_at(samples.last().unwrap(), 10, 10) != [16, 128, 128]);
    assert_near(yuv_at(pictures.last().unwrap(), 319, 239), GREEN);
    drop(capture);
    // The grid goes on without a capture.
    let so_far = pictures.len();
    let pictures = kept.until(|samples| samples.len() > so_far + 5);
    for (n, picture) in (0..).zip(&pictures) {
        assert_eq!(pts(picture).nseconds(), n * 1_000_000_000 / 30);
    }
}

#[tokio::test]
async fn a_display_that_dies_is_noticed_and_the_recording_goes_on_with_the_next_one() {
    let mut rig = rig(CaptureKind::Framebuffer, 320, 240, as_drawn());
    let painter = Painter::new(&rig.screen);
    painter.fill(RED, [0, 0, 320, 240]);
    painter.sync();
    tokio::time::timeout(DEADLINE, rig.pacer.first_frame()).await.unwrap();
    rig.context.timeline.begin();
    let mut failure = rig.capture.failure();
    let killed = Instant::now();
    rig.server.kill();
    let why =
        tokio::time::timeout(DEADLINE, failure.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert!(killed.elapsed() < AT_ONCE, "{:?}", killed.elapsed());
    assert!(why.unwrap().contains(&rig.screen.display));
    drop(rig.capture);
    let gone = rig.kept.all().len();

    let (_server, screen) = xvfb(320, 240, 30);
    let painter = Painter::new(&screen);
    let (kind, timeline) = (CaptureKind::Framebuffer, &rig.context.timeline);
    let _capture = VideoCapture::start(kind, &screen, rig.pacer.slot(), timeline).unwrap();
    painter.fill(BLUE, [0, 0, 320, 240]);
    painter.sync();
    let kept = rig.kept.clone();
    let pictures = tokio::task::spawn_blocking(move || {
        kept.until(|samples| samples.len() > gone + 2 && yuv_at(samples.last().unwrap(), 9, 9)[1] > 150)
    });
    let pictures = pictures.await.unwrap();
    let times: Vec<_> = pictures.iter().map(pts).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 520 * gst::ClockTime::MSECOND), "{times:?}");
}

/// A page that does not change and a display that is stopped look alike.
#[tokio::test]
async fn a_display_that_is_stopped_is_noticed_though_nothing_is_drawn() {
    let rig = rig(CaptureKind::Framebuffer, 320, 240, as_drawn());
    let painter = Painter::new(&rig.screen);
    painter.fill(RED, [0, 0, 320, 240]);
    painter.sync();
    tokio::time::timeout(DEADLINE, rig.pacer.first_frame()).await.unwrap();
    let mut failure = rig.capture.failure();
    assert_eq!(*failure.borrow_and_update(), None);
    rig.server.stop();
    let why = tokio::time::timeout(DEADLINE, failure.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert!(why.as_ref().unwrap().contains("no answer within"), "{why:?}");
}

#[tokio::test]
async fn a_recording_ends_with_what_was_drawn_last_and_has_its_length() {
    let rig = rig(CaptureKind::Framebuffer, 320, 240, as_drawn());
    let painter = Painter::new(&rig.screen);
    rig.context.timeline.begin();
    painter.fill(RED, [0, 0, 320, 240]);
    painter.sync();
    let length = rig.context.timeline.end();
    let ending = Instant::now();
    rig.pacer.finish().await;
    assert!(ending.elapsed() < AT_ONCE, "{:?}", ending.elapsed());
    assert!(rig.kept.has_ended());
    let pictures = rig.kept.all();
    let last = pictures.last().unwrap();
    assert_near(yuv_at(last, 100, 100), RED);
    assert_eq!(pts(last) + last.buffer().unwrap().duration().unwrap(), length);
    let stopping = Instant::now();
    drop(rig.capture);
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn a_recording_that_never_began_has_nothing_in_it() {
    let rig = rig(CaptureKind::Framebuffer, 320, 240, as_drawn());
    Painter::new(&rig.screen).fill(RED, [0, 0, 320, 240]);
    rig.context.timeline.end();
    rig.pacer.finish().await;
    assert!(rig.kept.has_ended() && rig.kept.all().is_empty());
}

#[test]
fn what_can_not_be_captured_says_what_to_do() {
    let (_server, screen) = xvfb(320, 240, 30);
    let context = context(Some(Feed::new("raw video")), as_drawn(), 30);
    let start = |screen: &ScreenArea, width, height| {
        let pacer = Pacer::start(&context, width, height)?;
        VideoCapture::start(CaptureKind::Framebuffer, screen, pacer.slot(), &context.timeline)
    };
    let mut nowhere = screen.clone();
    nowhere.display = ":4242".to_owned();
    assert!(matches!(start(&nowhere, 320, 240), Err(CaptureError::Connect { .. })));
    let mut other = screen.clone();
    other.framebuffer = "/nonexistent".into();
    let error = start(&other, 320, 240).unwrap_err();
    assert!(matches!(&error, CaptureError::Framebuffer { .. }) && error.to_string().contains("-fbdir"));
    other.framebuffer = "/proc/self/exe".into();
    let error = start(&other, 320, 240).unwrap_err();
    assert!(matches!(error, CaptureError::Header { .. }), "{error}");
    let mut large = screen.clone();
    (large.width, large.height) = (640, 480);
    let error = start(&large, 640, 480).unwrap_err();
    assert!(error.to_string().contains("322x242"), "{error}");
    assert!(matches!(start(&screen, 640, 480), Err(CaptureError::SizesDiffer { .. })));
    assert!(matches!(start(&screen, 321, 240), Err(CaptureError::Format(FormatError::Size { .. }))));
}

#[tokio::test]
async fn sound_is_whole_and_as_long_as_the_recording_and_its_loss_is_noticed() {
    let (mut server, socket, device) = pulseaudio();
    let context = context(None, as_drawn(), 30);
    let (feed, kept) = (Feed::new("raw audio"), Kept::default());
    let _attached = feed.attach(Box::new(kept.clone()));
    let capture =
        AudioCapture::start(&socket, device, Duration::from_millis(15), feed, &context.timeline).unwrap();

    // A tone, played by a program of its own.
    let tone = crate::media::MediaPipeline::new("tone");
    let (src, sink) = (tone.add("audiotestsrc").unwrap(), tone.add("pulsesink").unwrap());
    src.set_property("volume", 0.5);
    sink.set_property("server", format!("unix:{}", socket.display()));
    tone.link(&[&src, &sink]).unwrap();
    tone.play().unwrap();

    let loud = |sample: &gst::Sample| {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        map.chunks_exact(2).any(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 15_000)
    };
    context.timeline.begin();
    let waiting = kept.clone();
    let second = move |samples: &[gst::Sample]| {
        samples.iter().filter(|sample| loud(sample)).count() >= 25
            && pts(samples.last().unwrap()).mseconds() > 1500
    };
    tokio::task::spawn_blocking(move || waiting.until(second)).await.unwrap();
    let length = context.timeline.end();
    capture.finish().await;
    assert!(kept.has_ended());
    let samples = kept.all();
    let mut at = pts(&samples[0]);
    assert!(at < 5 * gst::ClockTime::SECOND, "the first sound at {at}");
    let mut gaps = Vec::new();
    for sample in &samples {
        let buffer = sample.buffer().unwrap();
        let apart = pts(sample).nseconds().abs_diff(at.nseconds());
        if apart > 25_000_000 {
            gaps.push((at, apart));
        }
        assert_eq!(buffer.size() as u64 * 1_000_000_000 / 192_000, buffer.duration().unwrap().nseconds());
        at = pts(sample) + buffer.duration().unwrap();
    }
    // A machine that stalls the audio server leaves one; a capture that loses audio leaves many.
    assert!(gaps.len() <= 2, "gaps, in nanoseconds: {gaps:?}");
    assert!(at.nseconds().abs_diff(length.nseconds()) <= 1_000_000, "{at} of {length}");

    let timeline = &context.timeline;
    let capture =
        AudioCapture::start(&socket, device, Duration::from_millis(15), Feed::new("raw audio"), timeline)
            .unwrap();
    let mut failure = capture.failure();
    tokio::task::spawn_blocking(move || drop(tone)).await.unwrap();
    let killed = Instant::now();
    server.kill();
    let why = tokio::time::timeout(DEADLINE, failure.wait_for(Option::is_some)).await.unwrap().is_ok();
    assert!(why && killed.elapsed() < AT_ONCE, "{:?}", killed.elapsed());
    assert!(
        AudioCapture::start(&socket, device, Duration::from_millis(15), Feed::new("raw audio"), timeline)
            .is_err()
    );
    let stopping = Instant::now();
    drop(capture);
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
}
