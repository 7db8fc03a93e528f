//! Out of the mapped framebuffer into a buffer of NV12, in one pass.

use gstreamer as gst;
use gstreamer::prelude::*;
use yuv::{BufferStoreMut, YuvBiPlanarImageMut, YuvConversionMode, YuvRange, YuvStandardMatrix};

use super::CaptureError;
use super::mapping::Mapping;
use super::xwd::Layout;
use crate::source::pacing::{Format, FormatError};

/// Rows that are copied out of the mapping at a time and converted while they are in the
/// processor's cache. Even, so that a band holds whole rows of chroma.
const BAND: u32 = 8;

/// Converts frames to one format.
#[derive(Debug)]
pub(super) struct Converter {
    format: Format,
    pool: gst::BufferPool,
    band: Vec<u8>,
    /// Bytes of a row that belong to the frame.
    row: usize,
}

impl Converter {
    pub(super) fn new(format: &Format) -> Result<Self, CaptureError> {
        let row = size(format.width()) * 4;
        let band = vec![0; row * size(BAND)];
        Ok(Self { pool: format.pool()?, format: format.clone(), band, row })
    }

    /// Converts the current content of the screen.
    pub(super) fn convert(&mut self, screen: &Mapping, layout: &Layout) -> Result<gst::Buffer, CaptureError> {
        let info = self.format.info();
        let memory = |_| FormatError::Memory { bytes: info.size() };
        let mut buffer =
            self.pool.acquire_buffer(None).map_err(|_| FormatError::Memory { bytes: info.size() })?;
        {
            let writable = buffer.get_mut().expect("a buffer just acquired has one owner");
            let mut map = writable.map_writable().map_err(memory)?;
            let [y_stride, uv_stride] = [stride(info, 0), stride(info, 1)];
            let (y, uv) = map.as_mut_slice().split_at_mut(info.offset()[1]);
            let (width, height) = (self.format.width(), self.format.height());
            let luma = y.chunks_mut(y_stride as usize * size(BAND));
            let chroma = uv.chunks_mut(uv_stride as usize * size(BAND / 2));
            for (n, (y, uv)) in (0..height).step_by(BAND as usize).zip(luma.zip(chroma)) {
                let rows = BAND.min(height - n);
                let band = &mut self.band[..self.row * size(rows)];
                for (row, into) in (n..).zip(band.chunks_mut(self.row)) {
                    if !screen.copy(layout.offset + size(row) * layout.stride, into) {
                        return Err(CaptureError::Conversion {
                            what: "the framebuffer is too short".to_owned(),
                        });
                    }
                }
                let mut image = YuvBiPlanarImageMut {
                    y_plane: BufferStoreMut::Borrowed(y),
                    y_stride,
                    uv_plane: BufferStoreMut::Borrowed(uv),
                    uv_stride,
                    width,
                    height: rows,
                };
                yuv::bgra_to_yuv_nv12(
                    &mut image,
                    band,
                    width * 4,
                    YuvRange::Limited,
                    YuvStandardMatrix::Bt709,
                    YuvConversionMode::Balanced,
                )
                .map_err(|error| CaptureError::Conversion { what: error.to_string() })?;
            }
        }
        Ok(buffer)
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        // An active pool keeps its buffers. Those still held downstream go when they come back.
        if self.pool.set_active(false).is_err() {
            tracing::debug!("buffer pool not closed");
        }
    }
}

fn stride(info: &gstreamer_video::VideoInfo, plane: usize) -> u32 {
    // `VideoInfo` says strides as `i32` for layouts upside down; ours are positive.
    info.stride().get(plane).and_then(|stride| u32::try_from(*stride).ok()).unwrap_or(0)
}

const fn size(n: u32) -> usize {
    n as usize
}
