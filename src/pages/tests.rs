use super::*;

fn index(site: Site) -> String {
    let page = site.lookup("").expect("the page itself");
    assert_eq!(page.content_type, "text/html; charset=utf-8");
    assert_eq!(page.cache_control, "no-cache");
    String::from_utf8(page.bytes.into_owned()).unwrap()
}

#[cfg(not(weir_pages))]
#[test]
fn a_stub_says_how_to_build_the_pages() {
    for site in [layout(), console()] {
        let html = index(site);
        assert!(html.contains("run <code>make web</code>"), "{html}");
    }
}

#[cfg(weir_pages)]
#[test]
fn a_page_is_there_with_all_that_it_names() {
    for site in [layout(), console()] {
        let html = index(site);
        let named: Vec<_> = html
            .split(['"', '\''])
            .filter(|word| word.contains("assets/"))
            .map(|word| word.strip_prefix("./").expect("addresses are relative"))
            .collect();
        assert!(named.iter().any(|path| path.ends_with(".js")), "{html}");
        for path in named {
            let file = site.lookup(path).unwrap_or_else(|| panic!("{path} of {html}"));
            assert!(!file.bytes.is_empty());
            assert_eq!(file.cache_control, "public, max-age=31536000, immutable");
            assert_eq!(file.bytes, site.lookup(&format!("/{path}")).unwrap().bytes);
        }
    }
}

#[test]
fn every_embedded_file_has_a_type() {
    for path in Layout::iter().chain(Console::iter()) {
        assert!(content_type(&path).is_some(), "{path}");
    }
}

#[test]
fn nothing_else_can_be_had() {
    for path in [
        "x.html",
        "assets",
        "assets/",
        "../layout/index.html",
        "/etc/passwd",
        "..",
        "assets/../index.html",
        "Cargo.toml",
    ] {
        assert!(layout().lookup(path).is_none(), "{path}");
    }
}

/// The page is loaded anew for each recording, and its start is the recording's.
#[cfg(weir_pages)]
#[test]
fn the_layouts_script_is_small() {
    use std::io::Write;

    const LIMIT: usize = 250 * 1000;
    let mut size = 0;
    for path in Layout::iter().filter(|path| path.ends_with(".js")) {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zipped.write_all(&Layout::get(&path).unwrap().data).unwrap();
        size += zipped.finish().unwrap().len();
    }
    assert!(size > 0 && size <= LIMIT, "{size} bytes gzipped");
}
