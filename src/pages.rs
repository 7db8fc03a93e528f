//! The pages that are in the binary: the one that shows a room, and the operator's console.
//!
//! They are written in `web/` and `templates/` and built by `make web`; here they are files to be
//! handed out by whoever has a server. All their addresses are relative, so each can be served
//! under any path.
//!
//! A debug build without `web/dist` embeds a stub in place of each page (see `build.rs`).

use std::borrow::Cow;

use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[cfg_attr(weir_pages, folder = "web/dist/layout")]
#[cfg_attr(not(weir_pages), folder = "src/pages/stub")]
struct Layout;

#[derive(RustEmbed)]
#[cfg_attr(weir_pages, folder = "web/dist/console")]
#[cfg_attr(not(weir_pages), folder = "src/pages/stub")]
struct Console;

/// Whether this build has the pages. Otherwise each is a stub that says how to build them.
pub const ARE_BUILT: bool = cfg!(weir_pages);

/// The page that shows a room. It takes the query that LiveKit's templates take: `layout`, `url`,
/// `token`.
pub const fn layout() -> Site {
    Site { get: Layout::get }
}

/// The operator's page of a service.
pub const fn console() -> Site {
    Site { get: Console::get }
}

/// A page with its assets.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    get: fn(&str) -> Option<EmbeddedFile>,
}

impl Site {
    /// The file at a path below the page's own: `assets/index-1a2b3c4d.js`. An empty path is the
    /// page, and a slash in front changes nothing. There are no folders, and nothing but what was
    /// embedded can be had.
    pub fn lookup(self, path: &str) -> Option<File> {
        let path = match path.trim_start_matches('/') {
            "" => "index.html",
            path => path,
        };
        let content_type = content_type(path)?;
        let cache_control = if path.starts_with("assets/") {
            // Their names have a hash of what is in them.
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let file = (self.get)(path)?;
        Some(File { bytes: file.data, content_type, cache_control })
    }
}

/// A file as it goes out.
#[derive(Debug, Clone)]
pub struct File {
    pub bytes: Cow<'static, [u8]>,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// For `Cache-Control`.
    pub cache_control: &'static str,
}

/// The type of a file by its name; a test sees to it that every embedded file has one.
fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
