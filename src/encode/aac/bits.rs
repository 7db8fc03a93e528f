//! Reader and writer of bit fields, most significant bit first, as in MPEG bit streams. Pure.

/// Reads bit fields of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() * 8 }
    }

    /// The number of unread bits.
    pub(super) const fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// Cuts off the last `count` bits; `None` if fewer are left.
    pub(super) fn shorten(&mut self, count: usize) -> Option<()> {
        self.end = self.end.checked_sub(count).filter(|end| *end >= self.at)?;
        Some(())
    }

    /// Skips `count` bits; `None` if fewer are left.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.end)?;
        Some(())
    }

    /// Reads the next `count` bits, at most 32, as a number; `None` if fewer are left.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            if self.at >= self.end {
                return None;
            }
            let byte = *self.bytes.get(self.at / 8)?;
            let bit = (byte >> (7 - self.at % 8)) & 1;
            value = (value << 1) | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }
}

/// Writes bit fields into bytes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits used of the last byte; 0: all of them.
    taken: u32,
}

impl Writer {
    /// Appends the lowest `count` bits, at most 32, of a number.
    pub(super) fn write(&mut self, count: u32, value: u32) {
        for bit in (0..count).rev() {
            if self.taken == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from((value >> bit) & 1 == 1) << (7 - self.taken);
            }
            self.taken = (self.taken + 1) % 8;
        }
    }

    /// Appends the unread bits of a reader.
    pub(super) fn copy(&mut self, mut from: Reader<'_>) {
        while from.left() > 0 {
            let count = u32::try_from(from.left()).unwrap_or(8).min(8);
            let Some(bits) = from.read(count) else { return };
            self.write(count, bits);
        }
    }

    /// The bytes; the last one is padded with zeros.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        for (count, value) in [(3, 0b110), (4, 0b1111), (8, 0xa5), (32, 0xdead_beef), (1, 1)] {
            writer.write(count, value);
        }
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 6);
        let mut reader = Reader::new(&bytes);
        let read: Vec<_> = [3, 4, 8, 32, 1].map(|count| reader.read(count).unwrap()).to_vec();
        assert_eq!(read, [0b110, 0b1111, 0xa5, 0xdead_beef, 1]);
        assert_eq!((reader.left(), reader.read(0), reader.read(1), reader.skip(1)), (0, Some(0), None, None));
    }

    #[test]
    fn a_rest_is_copied_to_its_last_bit() {
        let bytes = [0b1010_1010, 0b1100_1100, 0b1111_0000];
        let mut reader = Reader::new(&bytes);
        reader.skip(5).unwrap();
        reader.shorten(6).unwrap();
        assert_eq!(reader.left(), 13);
        let mut writer = Writer::default();
        writer.copy(reader);
        assert_eq!(writer.finish(), [0b0101_1001, 0b1001_1000]);
        assert_eq!(reader.shorten(14), None);
    }
}
