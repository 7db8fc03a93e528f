//! Names that are no longer than a file system takes: values in them are shortened, and what a
//! request spells out that is too long is refused.

use sha2::{Digest, Sha256};

use super::super::error::PlanError;

/// Bytes of one name, on every file system that recordings lie on: ext4, XFS, Btrfs, tmpfs.
const LONGEST_NAME: usize = 255;
/// Bytes that sinks add to a prefix at most: `_YYYYMMDDhhmmssmmm.jpeg`.
pub(in crate::plan) const NUMBER_AND_EXTENSION: usize = 1 + 17 + 5;
/// Values are shortened to no less than this, which a time has.
const SHORTEST_VALUE: usize = 18;
/// Maximum length of a name in an error.
const SHOWN: usize = 40;

/// The name that `build` makes with values as long as they can be. `ending`: bytes that are still
/// added to its last component.
///
/// # Errors
/// When it is too long by what the request spells out.
pub(super) fn fitted(
    field: &str,
    ending: usize,
    build: impl Fn(usize) -> String,
) -> Result<String, PlanError> {
    let whole = build(usize::MAX);
    if fits(&whole, ending) {
        return Ok(whole);
    }
    let shorter = (SHORTEST_VALUE..=LONGEST_NAME).rev().map(&build).find(|name| fits(name, ending));
    shorter.ok_or_else(|| too_long(field, &build(SHORTEST_VALUE), ending))
}

fn fits(name: &str, ending: usize) -> bool {
    longest(name, ending).1 <= LONGEST_NAME
}

/// The longest component of a path, and its bytes with all that is added to it.
fn longest(path: &str, ending: usize) -> (&str, usize) {
    let (dir, name) = split(path);
    let dirs = dir.split('/').map(|part| (part, part.len()));
    let all = dirs.chain([(name, name.len() + ending)]);
    all.max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
}

fn too_long(field: &str, path: &str, ending: usize) -> PlanError {
    let (name, bytes) = longest(path, ending);
    let head = &name[..name.floor_char_boundary(SHOWN)];
    let more = if head.len() < name.len() { "…" } else { "" };
    let help = format!(
        "`{head}{more}`: with its ending it has {bytes} bytes, and a file system takes {LONGEST_NAME}; give a shorter name"
    );
    PlanError::invalid(field, help)
}

/// Shortens a value to this many bytes. A digest keeps cut values distinct: two rooms with the same
/// long beginning have two files.
pub(super) fn shortened(value: &str, longest: usize) -> String {
    if value.len() <= longest {
        return value.to_owned();
    }
    let digest = Sha256::digest(value.as_bytes());
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let room = longest.saturating_sub(1 + digits.len());
    format!("{}-{digits}", &value[..value.floor_char_boundary(room)])
}

/// A name with an egress id in front of its extension, which may be empty; the rest is shortened
/// where that is too long. `ending`: bytes that are still added to it.
#[must_use]
pub fn with_id(name: &str, id: &str, extension: &str, ending: usize) -> String {
    let (dir, name) = split(name);
    let stem = name.strip_suffix(extension).unwrap_or(name);
    let room = LONGEST_NAME.saturating_sub(1 + id.len() + extension.len() + ending);
    format!("{dir}{}-{id}{extension}", &stem[..stem.floor_char_boundary(room)])
}

/// Directory with its `/`, and name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::super::{Naming, Room, Subject, file, image_prefix, segments};
    use super::*;
    use crate::plan::codec::Container;

    const OWN: usize = 130;

    fn naming(room: &str, identity: &str) -> Naming {
        let subject = Subject::Publisher { room: Room { name: room, id: "RM_x" }, identity };
        Naming::new(subject, &"2022-10-04T01:13:06.012[UTC]".parse().unwrap(), 0)
    }

    fn parts_fit(name: &str) -> bool {
        name.split('/').all(|part| part.len() <= 255)
    }

    #[test]
    fn values_are_shortened_and_what_a_request_spells_out_stays() {
        let (room, identity) = ("r".repeat(OWN), "ü".repeat(OWN));
        let naming = naming(&room, &identity);
        let mp4 = Container::Mp4.row();
        for (path, begins, ends) in [
            ("{room_name}-{publisher_identity}.mp4", "rrrr", ".mp4"),
            ("{room_name}-{publisher_identity}", "rrrr", ".mp4"),
            ("{room_name}-{publisher_identity}-{time}", "rrrr", "-2022-10-04T011306.mp4"),
            ("recs/{publisher_identity}{room_name}/{utc}", "recs/ü", "/20221004011306012.mp4"),
            ("{room_name}{room_name}{room_name}/", "rrrr", "-2022-10-04T011306.mp4"),
        ] {
            let name = file("f", path, mp4, &naming).unwrap().as_str().to_owned();
            assert!(parts_fit(&name) && name.starts_with(begins) && name.ends_with(ends), "{path}: {name}");
        }
        // A value that fits is unchanged.
        let whole = file("f", "{room_name}", mp4, &naming).unwrap();
        assert_eq!(whole.as_str(), format!("{room}.mp4"));
    }

    #[test]
    fn numbers_times_and_extensions_fit_behind_a_shortened_prefix() {
        let (room, identity) = ("r".repeat(OWN), "i".repeat(OWN));
        let naming = naming(&room, &identity);
        let both = "d/{room_name}-{publisher_identity}";
        for (prefix, playlist) in [(both, ""), ("", both), (both, "list"), ("d/", "")] {
            let names =
                segments("f", (prefix, playlist, "{room_name}-{publisher_identity}-live"), &naming).unwrap();
            let segment = format!("{}{}_20221004011306012.ts", names.dir, names.prefix);
            let live = names.live_playlist.unwrap();
            assert!(live.ends_with("-live.m3u8") && names.playlist.ends_with(".m3u8"), "{live}");
            for name in [segment.as_str(), names.playlist.as_str(), live.as_str()] {
                assert!(parts_fit(name), "{prefix:?} {playlist:?}: {name}");
            }
        }
        let images = image_prefix("f", both, &naming).unwrap();
        assert!(parts_fit(&format!("{images}_20221004011306012.jpeg")), "{images}");
    }

    #[test]
    fn two_rooms_whose_names_begin_alike_have_two_files() {
        let names = ["a", "b"].map(|last| {
            let naming = naming(&format!("{}{last}", "r".repeat(300)), "x");
            file("f", "{room_name}", Container::Mp4.row(), &naming).unwrap().as_str().to_owned()
        });
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() == 255), "{names:?}");
    }

    #[test]
    fn what_a_request_spells_out_is_refused_where_it_is_too_long() {
        let naming = naming("room", "x");
        let mp4 = Container::Mp4.row();
        let of = |bytes: usize| "n".repeat(bytes);
        assert!(file("f", &of(251), mp4, &naming).is_ok());
        assert!(file("f", &format!("{}.mp4", of(251)), mp4, &naming).is_ok());
        assert!(file("f", &format!("{}.ogg", of(251)), mp4, &naming).is_ok());
        let prefix = |bytes| segments("f", (&*of(bytes), "", ""), &naming);
        assert!(prefix(255 - NUMBER_AND_EXTENSION).is_ok());
        let refused = [
            file("f", &of(252), mp4, &naming).map(|_| ()),
            file("f", &format!("{}.mp4", of(252)), mp4, &naming).map(|_| ()),
            file("f", &format!("{}/a.mp4", of(256)), mp4, &naming).map(|_| ()),
            // Nothing in it can be shortened far enough.
            file("f", &format!("{}{{room_name}}", of(250)), mp4, &naming).map(|_| ()),
            prefix(256 - NUMBER_AND_EXTENSION).map(|_| ()),
            segments("f", ("p", &*of(251), ""), &naming).map(|_| ()),
            segments("f", ("p", "l", &*of(251)), &naming).map(|_| ()),
            image_prefix("f", &of(256 - NUMBER_AND_EXTENSION), &naming).map(|_| ()),
        ];
        for refused in refused {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("a file system takes 255") && text.len() < 300, "{text}");
        }
    }

    #[test]
    fn an_egress_id_fits_into_every_name() {
        assert_eq!(with_id("a/b.mp4", "EG_x", ".mp4", 0), "a/b-EG_x.mp4");
        let long = with_id(&format!("a/{}.mp4", "ü".repeat(125)), "EG_0123456789ab", ".mp4", 0);
        assert!(parts_fit(&long) && long.ends_with("ü-EG_0123456789ab.mp4"), "{long}");
        let prefix = with_id(&"p".repeat(232), "EG_0123456789ab", "", NUMBER_AND_EXTENSION);
        assert_eq!(prefix.len() + NUMBER_AND_EXTENSION, 255);
    }
}
