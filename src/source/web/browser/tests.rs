use url::Url;

use super::*;
use crate::config::ChromeFlag;
use crate::plan::page::Page;
use crate::plan::source::{BrowserTerms, StartRule};

fn given(terms: BrowserTerms, is_heard: bool) -> Vec<String> {
    let plan = WebPlan {
        page: Page::Address(Url::parse("https://example.com").unwrap()),
        start: StartRule::OnLoad,
        capture: CaptureKind::Framebuffer,
        width: 640,
        height: 360,
        fps: 30,
        has_video: true,
        has_audio: true,
        browser: terms,
    };
    let arguments = arguments(&plan, Path::new("/run/profile"), &["--no-sandbox"], is_heard);
    arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
}

fn flags<const N: usize>(flags: [(&str, ChromeFlag); N]) -> BrowserTerms {
    let flags = flags.map(|(name, flag)| (name.to_owned(), flag)).into();
    BrowserTerms { insecure: false, flags }
}

#[test]
fn an_operators_flags_come_last_and_take_ours_away() {
    let value = |text: &str| ChromeFlag::Value(text.to_owned());
    let ours = given(BrowserTerms::default(), true);
    let theirs = given(
        flags([
            ("disable-gpu", ChromeFlag::Switch(false)),
            ("--force-color-profile", ChromeFlag::Switch(false)),
            ("lang", value("de")),
            ("no-sandbox", ChromeFlag::Switch(false)),
            ("use-gl", value("egl")),
            ("window-size", value("1,2")),
            ("disable-dinosaur", ChromeFlag::Switch(true)),
        ]),
        true,
    );
    let (kept, added) = theirs.split_at(theirs.len() - 4);
    assert_eq!(added, ["--disable-dinosaur", "--lang=de", "--use-gl=egl", "--window-size=1,2"]);
    let gone: Vec<&String> = ours.iter().filter(|flag| !kept.contains(flag)).collect();
    assert_eq!(gone, ["--force-color-profile=srgb", "--disable-gpu", "--no-sandbox"]);
    assert!(kept.iter().all(|flag| ours.contains(flag)));
    assert!(kept.contains(&"--user-data-dir=/run/profile".to_owned()));
}

#[test]
fn pages_are_kept_apart_unless_they_need_not_be() {
    let ours = given(BrowserTerms::default(), true);
    let insecure = given(BrowserTerms { insecure: true, ..BrowserTerms::default() }, true);
    let more: Vec<&String> = insecure.iter().filter(|flag| !ours.contains(flag)).collect();
    assert_eq!(more, ["--disable-web-security", "--allow-running-insecure-content"]);
    let silent = given(BrowserTerms::default(), false);
    assert!(!ours.contains(&"--disable-audio-output".to_owned()));
    assert!(silent.contains(&"--disable-audio-output".to_owned()));
}
