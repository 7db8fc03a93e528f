//! The format of all raw frames of a recording: NV12, bt709, limited range.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// Reasons for an unusable format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{width}x{height}: unsupported frame size; both must be even, and from 2 to 16384")]
    Size { width: u32, height: u32 },
    #[error("no memory for a frame of {bytes} bytes")]
    Memory { bytes: usize },
}

/// Size, caps and memory layout of all frames of a recording.
#[derive(Debug, Clone)]
pub(in crate::source) struct Format {
    info: gst_video::VideoInfo,
    caps: gst::Caps,
}

impl Format {
    pub(in crate::source) fn new(width: u32, height: u32, fps: u32) -> Result<Self, FormatError> {
        let unusable = || FormatError::Size { width, height };
        // Chroma has half the size each way; and nobody's screen is larger.
        if width < 2
            || height < 2
            || !width.is_multiple_of(2)
            || !height.is_multiple_of(2)
            || width > 16384
            || height > 16384
        {
            return Err(unusable());
        }
        let fps = i32::try_from(fps.max(1)).map_err(|_| unusable())?;
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Nv12, width, height)
            .fps(gst::Fraction::new(fps, 1))
            .par(gst::Fraction::new(1, 1))
            .interlace_mode(gst_video::VideoInterlaceMode::Progressive)
            .colorimetry(&bt709())
            .build()
            .map_err(|_| unusable())?;
        let caps = info.to_caps().map_err(|_| unusable())?;
        Ok(Self { info, caps })
    }

    /// `video/x-raw, format=NV12, …, framerate=fps/1`.
    pub(in crate::source) const fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    pub(in crate::source) const fn info(&self) -> &gst_video::VideoInfo {
        &self.info
    }

    pub(in crate::source) fn width(&self) -> u32 {
        self.info.width()
    }

    pub(in crate::source) fn height(&self) -> u32 {
        self.info.height()
    }

    /// A black frame, shown before the first one.
    pub(in crate::source) fn black(&self) -> Result<gst::Buffer, FormatError> {
        let mut bytes = vec![16; self.info.size()];
        if let Some(chroma) = bytes.get_mut(self.info.offset()[1]..) {
            chroma.fill(128);
        }
        Ok(gst::Buffer::from_mut_slice(bytes))
    }

    /// A pool of buffers with this layout. It grows with what is held downstream, which the queues
    /// there bound.
    pub(in crate::source) fn pool(&self) -> Result<gst::BufferPool, FormatError> {
        let refused = |_| FormatError::Memory { bytes: self.info.size() };
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        let size = u32::try_from(self.info.size())
            .map_err(|_| FormatError::Size { width: self.width(), height: self.height() })?;
        config.set_params(Some(&self.caps), size, 2, 0);
        pool.set_config(config).map_err(refused)?;
        pool.set_active(true).map_err(refused)?;
        Ok(pool)
    }
}

/// The conversion's colorimetry as caps.
pub(in crate::source) fn bt709() -> gst_video::VideoColorimetry {
    gst_video::VideoColorimetry::new(
        gst_video::VideoColorRange::Range16_235,
        gst_video::VideoColorMatrix::Bt709,
        gst_video::VideoTransferFunction::Bt709,
        gst_video::VideoColorPrimaries::Bt709,
    )
}
