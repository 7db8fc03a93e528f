//! The header of the file in which Xvfb keeps its screen (`-fbdir`): X Window Dump, version 7.
//! Pure.

/// Position of a screen's pixels in its file: BGRx, four bytes each, rows from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes before the first row.
    pub(super) offset: usize,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Bytes of the header that are looked at.
pub(super) const HEADER: usize = 25 * 4;

/// Reads a header.
///
/// # Errors
/// What is unlike the screens we can read.
pub(super) fn layout(header: &[u8; HEADER]) -> Result<Layout, String> {
    // All numbers are 32 bits, the most significant byte first; the order is that of
    // `XWDFileHeader`.
    let word = |at: usize| -> u32 {
        let bytes = header.get(at * 4..at * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    let expect = |at: usize, name: &str, wanted: u32| match word(at) {
        found if found == wanted => Ok(()),
        found => Err(format!("its {name} is {found:#x} instead of {wanted:#x}")),
    };
    expect(1, "version", 7)?;
    expect(2, "pixmap format", 2)?;
    expect(7, "byte order", 0)?;
    expect(11, "number of bits per pixel", 32)?;
    expect(14, "red mask", 0x00ff_0000)?;
    expect(15, "green mask", 0x0000_ff00)?;
    expect(16, "blue mask", 0x0000_00ff)?;

    let size = |at: usize| usize::try_from(word(at)).map_err(|error| error.to_string());
    let colours = size(19)?.checked_mul(12).ok_or("its colour table has no end")?;
    let offset = size(0)?.checked_add(colours).ok_or("its colour table has no end")?;
    let layout = Layout { offset, stride: size(12)?, width: word(4), height: word(5) };
    if layout.stride < size(4)?.saturating_mul(4) {
        return Err(format!("its rows of {} bytes can't hold {} pixels", layout.stride, layout.width));
    }
    Ok(layout)
}

impl Layout {
    /// Whether an area of this size at the upper left is inside the screen and inside a file of
    /// `bytes`.
    pub(super) fn holds(&self, width: u32, height: u32, bytes: usize) -> bool {
        let rows = usize::try_from(height).ok().and_then(|rows| rows.checked_mul(self.stride));
        width <= self.width
            && height <= self.height
            && rows.and_then(|rows| rows.checked_add(self.offset)).is_some_and(|end| end <= bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(words: &[(usize, u32)]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let common = [(0, 160), (1, 7), (2, 2), (3, 24), (4, 1282), (5, 722), (11, 32), (12, 1282 * 4)];
        let masks = [(14, 0xff_0000), (15, 0xff00), (16, 0xff), (19, 256)];
        for (at, value) in common.iter().chain(&masks).chain(words) {
            header[at * 4..at * 4 + 4].copy_from_slice(&value.to_be_bytes());
        }
        header
    }

    #[test]
    fn finds_the_pixels_behind_header_and_colours() {
        let layout = layout(&header(&[])).unwrap();
        assert_eq!(layout, Layout { offset: 160 + 256 * 12, stride: 5128, width: 1282, height: 722 });
        let bytes = layout.offset + 5128 * 722;
        assert!(layout.holds(1282, 722, bytes));
        assert!(!layout.holds(1282, 722, bytes - 1));
        assert!(!layout.holds(1284, 2, bytes));
    }

    #[test]
    fn names_what_it_can_not_read() {
        let sixteen = layout(&header(&[(11, 16)])).unwrap_err();
        assert!(sixteen.contains("bits per pixel"), "{sixteen}");
        assert!(layout(&header(&[(1, 6)])).unwrap_err().contains("version"));
        assert!(layout(&header(&[(14, 0xff)])).unwrap_err().contains("red"));
        assert!(layout(&header(&[(12, 100)])).unwrap_err().contains("rows"));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in proptest::array::uniform32(any::<u8>()), at in 0usize..68) {
            let mut header = header(&[]);
            header[at..at + 32].copy_from_slice(&bytes);
            if let Ok(layout) = layout(&header) {
                layout.holds(u32::MAX, u32::MAX, usize::MAX);
            }
        }
    }
}
