//! Bar codes in video frames. `tests/pages/barcode.js` draws them and describes their form.

/// Two guard cells, 24 bits of value, 8 check bits.
pub(crate) const CELLS: usize = 34;

/// The cells of a value, `true` for white.
pub(crate) fn cells(value: u32) -> [bool; CELLS] {
    let value = value & 0x00ff_ffff;
    let word = value << 8 | check(value);
    let mut cells = [false; CELLS];
    cells[0] = true;
    for (i, cell) in cells[2..].iter_mut().enumerate() {
        *cell = word >> (31 - i) & 1 == 1;
    }
    cells
}

/// Reads a row of luma across the bar's width. `None` if the row has no bar, or the bar was
/// captured while it changed.
pub(crate) fn read(row: &[u8]) -> Option<u32> {
    // The middle half of each cell: its edges are smeared by scaling and encoding.
    let cell = |i: usize| {
        let (from, to) = (row.len() * (4 * i + 1) / (4 * CELLS), row.len() * (4 * i + 3) / (4 * CELLS));
        let part = &row[from..to.max(from + 1)];
        part.iter().map(|&v| u32::from(v)).sum::<u32>() as f64 / part.len() as f64
    };
    let (white, black) = (cell(0), cell(1));
    if white - black < 80.0 {
        return None;
    }
    let mut word = 0u32;
    for i in 2..CELLS {
        // A value between black and white is a mixture of two frames.
        word = word << 1
            | match (cell(i) - black) / (white - black) {
                level if level > 0.65 => 1,
                level if level < 0.35 => 0,
                _ => return None,
            };
    }
    let value = word >> 8;
    (word & 0xff == check(value)).then_some(value)
}

fn check(value: u32) -> u32 {
    value.wrapping_mul(2_654_435_769) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: u32) -> Vec<u8> {
        cells(value).iter().flat_map(|&white| [if white { 235 } else { 16 }; 8]).collect()
    }

    #[test]
    fn a_bar_code_reads_as_what_was_written() {
        for value in [0, 1, 2, 0x0055_5555, 0x00aa_aaaa, 0x00ff_ffff] {
            assert_eq!(read(&row(value)), Some(value));
        }
    }

    #[test]
    fn a_bar_code_that_is_damaged_is_not_read() {
        let good = row(4711);
        for i in 2..CELLS {
            let mut bad = good.clone();
            bad[i * 8..(i + 1) * 8].iter_mut().for_each(|v| *v = 251 - *v);
            assert_eq!(read(&bad), None, "cell {i} turned over");
        }
        let mixed: Vec<u8> = good.iter().zip(row(4712)).map(|(a, b)| a / 2 + b / 2).collect();
        assert_eq!(read(&mixed), None, "two pictures in one");
        assert_eq!(read(&[128; 272]), None, "no bar");
    }
}
