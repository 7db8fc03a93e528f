//! Parts of names that several sinks give.

/// `YYYYMMDDhhmmssmmm` in local time, as the reference names segments and images
/// (docs/reference/media.md).
pub(super) fn timestamp(at: jiff::Timestamp) -> String {
    let local = at.to_zoned(jiff::tz::TimeZone::system());
    let milliseconds = local.subsec_nanosecond() / 1_000_000;
    format!("{}{milliseconds:03}", local.strftime("%Y%m%d%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_has_seventeen_digits_and_its_milliseconds_last() {
        let name = timestamp("2026-11-22T10:00:04.007999Z".parse().unwrap());
        assert_eq!(name.len(), 17);
        assert!(name.starts_with("202611") && name.ends_with("04007"), "{name}");
    }
}
