//! Writes an MP4's AV1 configuration (AV1 Codec ISO Media File Format Binding §2.3).
//!
//! GStreamer 1.22 writes a draft's `av1C`: five zeros without information about the stream, and
//! with an invalid version. The configuration is read from the first sequence header of the media.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use mp4_atom::{Av1c, Codec, Moov};
use scuffle_av1::seq::SequenceHeaderObu;
use scuffle_av1::{ObuHeader, ObuType};

use super::scan::Piece;

/// Sequence headers stand at the beginning of a key frame, which the first sample is.
const WITHIN: u64 = 4096;
/// Size and name of the draft's box, and what is in it.
const DRAFT: &[u8] = b"\x00\x00\x00\x0dav1C\0\0\0\0\0";
/// Marker and version; the main profile with 4:2:0 in 8 bits.
const READABLE: &[u8] = b"\x00\x00\x00\x0dav1C\x81\x00\x0c\x00\x00";

/// Puts something in the draft's place, so that the `moov` can be read.
pub(super) fn make_readable(moov: &mut [u8]) {
    for at in 0..moov.len() {
        if let Some(found) = moov.get_mut(at..at + DRAFT.len()).filter(|found| *found == DRAFT) {
            found.copy_from_slice(READABLE);
        }
    }
}

/// Has every AV1 track say what it is. One whose media does not tell keeps what it said.
pub(super) fn configure(
    moov: &mut Moov,
    pieces: &[Piece],
    source: &mut (impl Read + Seek),
) -> io::Result<()> {
    for (track, trak) in moov.trak.iter_mut().enumerate() {
        for codec in &mut trak.mdia.minf.stbl.stsd.codecs {
            let Codec::Av01(codec) = codec else { continue };
            let Some(first) = pieces.iter().find(|piece| piece.track == track) else { continue };
            let mut media = Vec::new();
            source.seek(SeekFrom::Start(first.offset))?;
            source.take(first.len.min(WITHIN)).read_to_end(&mut media)?;
            match configuration(&media) {
                Ok(found) => codec.av1c = found,
                Err(error) => tracing::warn!(%error, "AV1 without a sequence header at its beginning"),
            }
        }
    }
    Ok(())
}

/// The configuration of a track whose media begins so.
fn configuration(media: &[u8]) -> io::Result<Av1c> {
    let mut cursor = Cursor::new(media);
    loop {
        let start = cursor.position();
        let header = ObuHeader::parse(&mut cursor)?;
        // Without a size it would go on to the sample's end; in a file all have one (§2.4).
        let end = header.size.and_then(|size| cursor.position().checked_add(size));
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a unit without a size"))?;
        if header.obu_type != ObuType::SequenceHeader {
            cursor.set_position(end);
            continue;
        }
        let unit = media.get(to_place(start)..to_place(end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        let sequence = SequenceHeaderObu::parse(header, &mut cursor)?;
        let (level, tier) = sequence
            .operating_points
            .first()
            .map_or((0, false), |point| (point.seq_level_idx, point.seq_tier));
        let colours = sequence.color_config;
        return Ok(Av1c {
            seq_profile: sequence.seq_profile,
            seq_level_idx_0: level,
            seq_tier_0: tier,
            high_bitdepth: colours.bit_depth > 8,
            twelve_bit: colours.bit_depth == 12,
            monochrome: colours.mono_chrome,
            chroma_subsampling_x: colours.subsampling_x,
            chroma_subsampling_y: colours.subsampling_y,
            chroma_sample_position: colours.chroma_sample_position,
            initial_presentation_delay: None,
            config_obus: unit.to_vec(),
        });
    }
}

fn to_place(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A temporal delimiter, and libaom's sequence header of 320x240, as FFmpeg has it in `av1C`.
    const MEDIA: &[u8] = b"\x12\x00\x0a\x0c\x00\x00\x00\x04\x3c\xff\xbf\x81\xb5\xf2\x00\x80\x32\x02\x00\x00";

    #[test]
    fn the_first_sequence_header_tells_it() {
        let found = configuration(MEDIA).unwrap();
        assert_eq!((found.seq_profile, found.seq_level_idx_0, found.seq_tier_0), (0, 0, false));
        assert_eq!((found.high_bitdepth, found.twelve_bit, found.monochrome), (false, false, false));
        assert_eq!((found.chroma_subsampling_x, found.chroma_subsampling_y), (true, true));
        assert_eq!(found.config_obus, MEDIA[2..16]);
        for cut in 0..16 {
            assert!(configuration(&MEDIA[..cut]).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn a_drafts_box_is_made_readable_and_others_stay() {
        let mut both = [b"moov".as_slice(), DRAFT, b"\x00\x00\x00\x0dav1C\x81\x01\x02\x03\x04"].concat();
        let other = both[17..].to_vec();
        make_readable(&mut both);
        assert_eq!((&both[4..17], &both[17..]), (READABLE, other.as_slice()));
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error(media in prop::collection::vec(any::<u8>(), 0..200)) {
            configuration(&media).ok();
            // A sequence header of rubbish.
            let size = u8::try_from(media.len() % 128).unwrap();
            configuration(&[&[0x0a, size], media.as_slice()].concat()).ok();
        }
    }
}
