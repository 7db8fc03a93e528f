//! An SRT address as GStreamer reads it.
//!
//! In an address here a `#` is part of the options, as SRT's access control has it
//! (`streamid=#!::r=live/room,m=publish`). In GStreamer's URIs it ends the query, and a `%` that
//! begins no escape empties the whole option.

/// The address with those characters escaped, so that `srtsink` gets every option byte for byte.
/// Escapes stay as they are.
pub(super) fn srt_uri(address: &str) -> String {
    let Some((place, query)) = address.split_once('?') else { return address.to_owned() };
    let mut uri = String::with_capacity(address.len() + 8);
    uri.push_str(place);
    uri.push('?');
    for (at, c) in query.char_indices() {
        match c {
            '#' => uri.push_str("%23"),
            ' ' => uri.push_str("%20"),
            '%' if !is_escape(&query[at + 1..]) => uri.push_str("%25"),
            c => uri.push(c),
        }
    }
    uri
}

/// Whether the text behind a `%` makes an escape of it, of a character that a text may have.
fn is_escape(behind: &str) -> bool {
    match behind.as_bytes() {
        [b'0', b'0', ..] => false,
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media;
    use gstreamer::prelude::*;

    #[test]
    fn what_gstreamer_would_take_for_something_else_is_escaped() {
        for (address, uri) in [
            ("srt://h:9000", "srt://h:9000"),
            ("srt://h:9000?latency=200", "srt://h:9000?latency=200"),
            ("srt://h:9000?streamid=#!::r=a/b,m=publish", "srt://h:9000?streamid=%23!::r=a/b,m=publish"),
            ("srt://h:9000?streamid=%23!::r=a&mode=caller", "srt://h:9000?streamid=%23!::r=a&mode=caller"),
            ("srt://h:9000?streamid=100%&x=%zz%0", "srt://h:9000?streamid=100%25&x=%25zz%250"),
            ("srt://h:9000?passphrase=a b%00ü%", "srt://h:9000?passphrase=a%20b%2500ü%25"),
        ] {
            assert_eq!(srt_uri(address), uri);
        }
    }

    /// By what the sink itself has understood.
    #[test]
    fn a_stream_id_reaches_the_sink_byte_for_byte() {
        media::init().unwrap();
        for (written, understood) in [
            ("#!::r=live/room,m=publish", "#!::r=live/room,m=publish"),
            ("%23!::r=live%2Froom,m=publish", "#!::r=live/room,m=publish"),
            ("publish:room?token=a+b", "publish:room?token=a+b"),
            ("50%#1 ü", "50%#1 ü"),
        ] {
            let sink = media::make("srtsink").unwrap();
            let address = srt_uri(&format!("srt://127.0.0.1:9000?streamid={written}&latency=321"));
            sink.dynamic_cast_ref::<gstreamer::URIHandler>().unwrap().set_uri(&address).unwrap();
            assert_eq!(sink.property::<Option<String>>("streamid").as_deref(), Some(understood), "{written}");
            assert_eq!(sink.property::<i32>("latency"), 321);
        }
    }
}
