use url::Url;

use super::*;
use crate::config::ChromeFlag;
use crate::plan::source::BrowserTerms;

fn given(terms: BrowserTerms, is_heard: bool) -> Vec<String> {
    let url = Url::parse("https://example.com").unwrap();
    let plan = WebPlan { browser: terms, ..crate::source::web::tests::plan(&url) };
    let way_out = ["--proxy-server=socks5://127.0.0.1:1".to_owned(), "--proxy-bypass-list=a".to_owned()];
    let way_out = if plan.browser.refuse_link_local { way_out.as_slice() } else { &[] };
    let arguments = arguments(&plan, Path::new("/run/profile"), &["--no-sandbox"], is_heard, way_out);
    arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
}

fn flags<const N: usize>(flags: [(&str, ChromeFlag); N]) -> BrowserTerms {
    let flags = flags.map(|(name, flag)| (name.to_owned(), flag)).into();
    BrowserTerms { flags, ..BrowserTerms::default() }
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
    let guarded = given(BrowserTerms { refuse_link_local: true, ..BrowserTerms::default() }, true);
    let more: Vec<&String> = guarded.iter().filter(|flag| !ours.contains(flag)).collect();
    assert_eq!(more, ["--proxy-server=socks5://127.0.0.1:1", "--proxy-bypass-list=a"]);
    let silent = given(BrowserTerms::default(), false);
    assert!(!ours.contains(&"--disable-audio-output".to_owned()));
    assert!(silent.contains(&"--disable-audio-output".to_owned()));
}

#[test]
fn the_browser_is_spoken_to_over_pipes_and_listens_nowhere() {
    let ours = given(BrowserTerms::default(), true);
    assert!(ours.contains(&"--remote-debugging-pipe".to_owned()));
    assert!(!ours.iter().any(|flag| flag.contains("remote-debugging-port")), "{ours:?}");
}

#[test]
fn a_page_smaller_than_any_window_is_laid_out_by_itself() {
    let url = Url::parse("https://example.com").unwrap();
    let of = |width, height, has_video| {
        emulated_size(&WebPlan { width, height, has_video, ..crate::source::web::tests::plan(&url) })
    };
    assert_eq!(of(320, 180, true), Some((320, 180)));
    assert_eq!(of(498, 1080, true), Some((498, 1080)));
    assert_eq!(of(1920, 108, true), Some((1920, 108)));
    assert_eq!(of(500, 300, true), None);
    assert_eq!(of(1920, 1080, true), None);
    assert_eq!(of(16, 16, false), None, "nobody sees it");
}
