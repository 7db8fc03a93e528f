//! The tables of an MPEG transport stream, kept to begin each segment with (RFC 8216 §3.2).

use gstreamer as gst;

pub(super) const PACKET: usize = 188;

/// The program tables as they were sent last.
///
/// Sent again at the head of a segment they are, number and all, what ISO/IEC 13818-1 §2.4.3.3
/// calls a duplicate packet: the segments put together are one flawless stream, and each plays by
/// itself.
#[derive(Debug, Default)]
pub(super) struct Tables {
    packets: Vec<[u8; PACKET]>,
}

impl Tables {
    /// Learns which packets are tables, from the caps that the muxer gives its stream.
    pub(super) fn learn(&mut self, caps: &gst::CapsRef) {
        if !self.packets.is_empty() {
            return;
        }
        let Some(headers) = caps.structure(0).and_then(|s| s.get::<gst::Array>("streamheader").ok()) else {
            return;
        };
        let buffers = headers.iter().filter_map(|value| value.get::<gst::Buffer>().ok());
        self.packets = buffers.filter_map(|buffer| packet(&buffer.map_readable().ok()?)).collect();
    }

    /// Keeps the newer of a table.
    pub(super) fn see(&mut self, data: &[u8]) {
        for seen in data.chunks_exact(PACKET) {
            if let Some(table) = self.packets.iter_mut().find(|table| pid(*table) == pid(seen)) {
                table.copy_from_slice(seen);
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.packets.as_flattened()
    }

    /// Whether `data` begins with the first of the tables.
    pub(super) fn lead(&self, data: &[u8]) -> bool {
        self.packets.first().is_some_and(|table| data.len() >= PACKET && pid(table) == pid(data))
    }
}

fn packet(data: &[u8]) -> Option<[u8; PACKET]> {
    data.try_into().ok()
}

/// The packet identifier, from a packet's second and third byte.
fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: u8, counter: u8) -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        packet[..4].copy_from_slice(&[0x47, 0x40, pid, 0x10 | counter]);
        packet
    }

    #[test]
    fn the_newest_of_each_table_is_kept() {
        crate::media::init().unwrap();
        let headers = [of(0, 0), of(32, 0)].map(gst::Buffer::from_slice);
        let caps = gst::Caps::builder("video/mpegts").field("streamheader", gst::Array::new(headers)).build();
        let mut tables = Tables::default();
        tables.learn(&caps);
        tables.see(&[of(65, 3), of(0, 7), of(66, 1), of(32, 8)].concat());
        tables.learn(&caps);
        assert_eq!(tables.bytes(), [of(0, 7), of(32, 8)].concat());
        assert!(tables.lead(&of(0, 9)));
        assert!(!tables.lead(&of(32, 9)));
        assert!(!tables.lead(&[]));
    }
}
