//! Positions of measurable parts in the pages of `tests/pages`, as fractions of the frame.

/// A rectangle in fractions of the frame's width and height.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Region {
    pub(crate) const fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x, y, width, height }
    }

    /// The middle of the region: half as wide and half as high.
    pub(crate) fn middle(self) -> Self {
        Self::new(self.x + self.width / 4.0, self.y + self.height / 4.0, self.width / 2.0, self.height / 2.0)
    }
}

/// The measurable parts of a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// Frame counters. If one page has several, a frame in which they differ is torn.
    pub(crate) counters: Vec<Region>,
    /// The wall clock at drawing time, in milliseconds, in 24 bits.
    pub(crate) wall: Option<Region>,
    /// White during a beep, otherwise dark.
    pub(crate) flash: Option<Region>,
}

pub(crate) fn clock() -> Layout {
    // Rows of the strip in `clock.html`: fractions of a canvas of 0.21 of the height at 0.75.
    let row = |from: f64, to: f64| Region::new(0.05, 0.75 + 0.21 * from, 0.9, 0.21 * (to - from));
    Layout {
        counters: vec![row(0.52, 0.74)],
        wall: Some(row(0.78, 1.0)),
        flash: Some(Region::new(0.7, 0.27, 0.25, 0.42)),
    }
}

/// The patches of `clock.html` with their colours (sRGB).
pub(crate) fn clock_patches() -> [(Region, [u8; 3]); 6] {
    [[220, 50, 47], [40, 170, 80], [40, 90, 220], [255, 255, 255], [0, 0, 0], [128, 128, 128]]
        .into_iter()
        .enumerate()
        .map(|(i, colour)| (Region::new(0.05 + 0.155 * i as f64, 0.07, 0.125, 0.1), colour))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

pub(crate) fn scroll() -> Layout {
    Layout {
        counters: vec![Region::new(0.05, 0.02, 0.9, 0.04), Region::new(0.05, 0.93, 0.9, 0.05)],
        wall: Some(Region::new(0.05, 0.06, 0.9, 0.04)),
        flash: None,
    }
}

/// One synthetic frame (see `synthetic.rs`): a counter at the bottom, a flash at the top.
pub(crate) fn synthetic() -> Layout {
    Layout { counters: vec![SYNTHETIC_COUNTER], wall: Some(SYNTHETIC_WALL), flash: Some(SYNTHETIC_FLASH) }
}

pub(crate) const SYNTHETIC_COUNTER: Region = Region::new(0.05, 0.7, 0.9, 0.1);
pub(crate) const SYNTHETIC_WALL: Region = Region::new(0.05, 0.85, 0.9, 0.1);
pub(crate) const SYNTHETIC_FLASH: Region = Region::new(0.1, 0.1, 0.4, 0.4);

/// Nine synthetic videos; the first one's flash belongs to the audio.
pub(crate) fn videos() -> Layout {
    let tile = |i: usize, part: Region| {
        Region::new(
            (i % 3) as f64 / 3.0 + part.x / 3.0,
            (i / 3) as f64 / 3.0 + part.y / 3.0,
            part.width / 3.0,
            part.height / 3.0,
        )
    };
    Layout {
        counters: (0..9).map(|i| tile(i, SYNTHETIC_COUNTER)).collect(),
        wall: None,
        flash: Some(tile(0, SYNTHETIC_FLASH)),
    }
}
