use url::Url;

use super::*;
use crate::config::ChromeFlag;
use crate::plan::source::BrowserSettings;

fn given(terms: BrowserSettings, is_heard: bool) -> Vec<String> {
    let url = Url::parse("https://example.com").unwrap();
    let plan = WebPlan { browser: terms, ..crate::source::web::tests::plan(&url) };
    let way_out = ["--proxy-server=socks5://127.0.0.1:1".to_owned(), "--proxy-bypass-list=a".to_owned()];
    let way_out = if plan.browser.refuse_link_local { way_out.as_slice() } else { &[] };
    let arguments = arguments(&plan, Path::new("/run/profile"), &["--no-sandbox"], is_heard, way_out);
    arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
}

fn flags<const N: usize>(flags: [(&str, ChromeFlag); N]) -> BrowserSettings {
    let flags = flags.map(|(name, flag)| (name.to_owned(), flag)).into();
    BrowserSettings { flags, ..BrowserSettings::default() }
}

#[test]
fn an_operators_flags_come_last_and_take_ours_away() {
    let value = |text: &str| ChromeFlag::Value(text.to_owned());
    let ours = given(BrowserSettings::default(), true);
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
    let ours = given(BrowserSettings::default(), true);
    let insecure = given(BrowserSettings { insecure: true, ..BrowserSettings::default() }, true);
    let more: Vec<&String> = insecure.iter().filter(|flag| !ours.contains(flag)).collect();
    assert_eq!(more, ["--disable-web-security", "--allow-running-insecure-content"]);
    let guarded = given(BrowserSettings { refuse_link_local: true, ..BrowserSettings::default() }, true);
    let more: Vec<&String> = guarded.iter().filter(|flag| !ours.contains(flag)).collect();
    assert_eq!(more, ["--proxy-server=socks5://127.0.0.1:1", "--proxy-bypass-list=a"]);
    let silent = given(BrowserSettings::default(), false);
    assert!(!ours.contains(&"--disable-audio-output".to_owned()));
    assert!(silent.contains(&"--disable-audio-output".to_owned()));
}

#[test]
fn nothing_of_the_browsers_own_covers_the_page() {
    let preferences: serde_json::Value = serde_json::from_str(PREFERENCES).unwrap();
    assert_eq!(preferences["printing"]["enabled"], false);
    assert_eq!(preferences["hardware"]["screen_capture_enabled"], false);
    let settings = &preferences["profile"]["default_content_setting_values"];
    assert_eq!(settings, &json!({"notifications": 2, "payment_handler": 2, "webid_api": 2}));
    let ours = given(BrowserSettings::default(), true);
    // `Notification` is defined, and denied by the preference.
    assert!(!ours.contains(&"--disable-notifications".to_owned()));
    assert!(ours.contains(&"--deny-permission-prompts".to_owned()));
}

#[test]
fn pages_have_webgl_and_reach_loopback() {
    let ours = given(BrowserSettings::default(), true);
    assert!(ours.contains(&"--enable-unsafe-swiftshader".to_owned()));
    let features = ours.iter().find_map(|flag| flag.strip_prefix("--disable-features=")).unwrap();
    assert!(!features.contains(char::is_whitespace), "{features}");
    let features: Vec<&str> = features.split(',').collect();
    assert!(features.contains(&"LocalNetworkAccessChecks"), "{features:?}");
    assert!(features.contains(&"LocalNetworkAccessChecksWebSockets"), "{features:?}");
}

#[test]
fn a_password_is_given_to_the_origin_of_the_address_alone() {
    let state = |address: &str| {
        let plan = crate::source::web::tests::plan(&Url::parse(address).unwrap());
        let state: serde_json::Value = serde_json::from_str(&local_state(&plan)).unwrap();
        (state["auth"].clone(), state["performance_tuning"]["battery_saver_mode"]["state"].clone())
    };
    let saver = json!(3);
    assert_eq!(state("https://example.com/"), (json!({"schemes": "negotiate"}), saver.clone()));
    let allowed = |origin: &str| json!({"schemes": "negotiate", "http_auth_allowed_for_origins": [origin]});
    for (address, origin) in [
        ("http://ann:s3cret@127.0.0.1:8700/basic/?a=b#c", "http://127.0.0.1:8700"),
        ("https://ann@example.com/", "https://example.com"),
        ("https://:s3cret@[::1]:8443/", "https://[::1]:8443"),
    ] {
        assert_eq!(state(address), (allowed(origin), saver.clone()), "{address}");
    }
    assert_eq!(state("file:///srv/a.html").0, json!({"schemes": "negotiate"}));
}

#[test]
fn the_browser_is_spoken_to_over_pipes_and_listens_nowhere() {
    let ours = given(BrowserSettings::default(), true);
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
