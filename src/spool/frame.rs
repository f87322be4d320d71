//! The format of a segment: frames, one after the other.
//!
//! ```text
//! offset  bytes
//!      0      4  magic "CtF2"
//!      4      4  state: 0 while it waits, the complement of the checksum once it is acknowledged
//!      8      4  CRC-32C of the bytes from 12 on
//!     12      4  length of the payload
//!     16      1  signal: 0 exceptions, 1 logs, 2 spans, 3 metrics
//!     17      3  0
//!     20      4  records in the payload
//!     24      8  when it was written, nanoseconds since the Unix epoch
//!     32      8  how long the machine had been up then, nanoseconds
//!     40      8  which start of the machine that was; 0: not known
//!     48      …  payload: an encoded OTLP export request
//! ```
//!
//! Numbers are little-endian. What is not a valid frame is skipped up to the next one that is, and
//! reported; zeros (room that was reserved and never written) are skipped silently, and so is a
//! frame of which only whole pages were written: its writer was killed meanwhile, and it never was
//! a frame. No single byte turns a waiting frame into a acknowledged one.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::moment::Moment;
use crate::ledger::RecordKind;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 48;
/// Bytes of a payload at most; what claims to be longer is damaged.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"CtF2";
/// Where the state is.
pub(crate) const STATE: u64 = 4;

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a segment holds at some offset.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// A request that waits.
    Waiting(Frame<'a>),
    /// One that has been delivered, or given up.
    Acknowledged,
    /// Bytes that are no frame.
    Damaged { bytes: usize },
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) offset: usize,
    pub(crate) signal: RecordKind,
    pub(crate) records: u32,
    pub(crate) written: Moment,
    pub(crate) payload: &'a [u8],
    pub(crate) checksum: u32,
}

/// A frame with this payload, waiting.
pub(crate) fn encode(signal: RecordKind, records: u32, written: Moment, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&[signal as u8, 0, 0, 0]);
    frame.extend_from_slice(&records.to_le_bytes());
    for part in [written.written, written.uptime, written.boot] {
        frame.extend_from_slice(&part.to_le_bytes());
    }
    frame.extend_from_slice(payload);
    let checksum = CRC.checksum(&frame[12..]);
    frame[8..12].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The state of a acknowledged frame.
pub(crate) fn acknowledged(checksum: u32) -> [u8; 4] {
    (!checksum).to_le_bytes()
}

/// The checksum an encoded frame carries.
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    word(frame, 8).unwrap_or_default()
}

/// Everything in a segment, in order. Never panics, whatever the bytes.
pub(crate) fn frames(segment: &[u8]) -> Frames<'_> {
    Frames { segment, at: 0 }
}

pub(crate) struct Frames<'a> {
    segment: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        // Zeros at a frame's place are room nobody wrote to.
        self.at += self.segment.get(self.at..)?.iter().take_while(|byte| **byte == 0).count();
        if self.at >= self.segment.len() {
            return None;
        }
        if let Some((frame, state)) = read(self.segment, self.at) {
            self.at += HEADER + frame.payload.len();
            return Some(if state == acknowledged(frame.checksum) { Found::Acknowledged } else { Found::Waiting(frame) });
        }
        let from = self.at;
        self.at = (from + 1..self.segment.len()).find(|at| read(self.segment, *at).is_some()).unwrap_or(self.segment.len());
        if is_torn(self.segment, from, self.at) {
            return self.next();
        }
        Some(Found::Damaged { bytes: self.at - from })
    }
}

/// The frame at an offset with its state, if there is a valid one.
pub(crate) fn read(segment: &[u8], offset: usize) -> Option<(Frame<'_>, [u8; 4])> {
    let bytes = segment.get(offset..)?;
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    if header[..4] != MAGIC || header[17..20] != [0; 3] {
        return None;
    }
    let length = word(header, 12)? as usize;
    let payload = rest.get(..length).filter(|_| length <= MAX_PAYLOAD)?;
    let checksum = word(header, 8)?;
    if CRC.checksum(&bytes[12..HEADER + length]) != checksum {
        return None;
    }
    let signal = *RecordKind::ALL.get(usize::from(header[16]))?;
    let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let written = Moment { written: long(24)?, uptime: long(32)?, boot: long(40)? };
    let frame = Frame { offset, signal, records: word(header, 20)?, written, payload, checksum };
    Some((frame, header[4..8].try_into().ok()?))
}

/// The kernel gives up the write of a process that is killed between two pages.
const PAGE: usize = 4096;
/// Zeros that are room nobody wrote to, and no end of a payload.
const MANY_ZEROS: usize = 64;

/// Whether what lies between two offsets is a frame whose writer was killed, and no more than that:
/// its first pages are there.
fn is_torn(segment: &[u8], from: usize, next: usize) -> bool {
    let is_last = next == segment.len() && segment.len().is_multiple_of(PAGE);
    let Some(bytes) = segment.get(from..next).filter(|bytes| bytes.starts_with(&MAGIC)) else { return false };
    let length = word(bytes, 12).filter(|_| bytes.len() >= HEADER);
    let Some(claimed) = length.map(|length| from + HEADER + length as usize).filter(|claimed| *claimed <= next) else { return is_last };
    // Another thread has written behind it.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(from, |last| from + last + 1);
    claimed.checked_sub(written.next_multiple_of(PAGE)).is_some_and(|room| room >= MANY_ZEROS)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..12)
    }

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        payloads
            .iter()
            .enumerate()
            .flat_map(|(number, payload)| {
                encode(RecordKind::Exceptions, 1, Moment { written: number as u64, ..Moment::default() }, payload)
            })
            .collect()
    }

    fn waiting(segment: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let frames = frames(segment).filter_map(|found| match found {
            Found::Waiting(frame) => Some((frame.written.written, frame.payload.to_vec())),
            _ => None,
        });
        frames.collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in payloads(), gap in 0usize..64) {
            let mut bytes = segment(&payloads);
            bytes.extend(std::iter::repeat_n(0, gap));
            let read: Vec<_> = waiting(&bytes).into_iter().map(|(_, payload)| payload).collect();
            prop_assert_eq!(read, payloads);
        }

        #[test]
        fn a_damaged_byte_costs_one_frame_and_is_noticed(payloads in payloads(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = segment(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let read = waiting(&bytes);
            let noticed = frames(&bytes).any(|found| matches!(found, Found::Damaged { .. }));
            // A byte of the state changes nothing: the frame still waits.
            prop_assert!(read.len() == payloads.len() || (read.len() == payloads.len() - 1 && noticed));
            for (number, payload) in read {
                prop_assert_eq!(&payload, &payloads[number as usize], "nothing wrong is passed on");
            }
        }

        /// A process was killed while it wrote: nothing that was ever there is lost.
        #[test]
        fn a_frame_of_which_whole_pages_were_written_is_no_damage(
            payloads in payloads(), last in proptest::collection::vec(1u8.., 5_000..20_000), pages in 1usize..6, is_followed: bool,
        ) {
            let mut bytes = segment(&payloads);
            let from = bytes.len();
            bytes.extend(encode(RecordKind::Exceptions, 1, Moment::default(), &last));
            let (end, cut) = (bytes.len(), pages * PAGE);
            prop_assume!(cut > from && cut + MANY_ZEROS <= end);
            let mut expected = payloads.len();
            if is_followed {
                bytes[cut..].fill(0);
                bytes.extend(encode(RecordKind::Exceptions, 1, Moment::default(), b"behind it"));
                expected += 1;
            } else {
                bytes.truncate(cut);
            }
            let is_damaged = |bytes: &[u8]| frames(bytes).any(|found| matches!(found, Found::Damaged { .. }));
            prop_assert!(!is_damaged(&bytes));
            prop_assert_eq!(waiting(&bytes).len(), expected);
            // Anywhere else it is.
            if !is_followed {
                bytes.pop();
                prop_assert!(cut - from <= 1 || is_damaged(&bytes));
            }
        }

        #[test]
        fn a_cut_segment_keeps_what_is_whole(payloads in payloads(), at in any::<prop::sample::Index>()) {
            let bytes = segment(&payloads);
            let at = at.index(bytes.len());
            let read = waiting(&bytes[..at]);
            let mut end = 0;
            let whole = payloads.iter().take_while(|payload| { end += HEADER + payload.len(); end <= at }).count();
            prop_assert_eq!(read.len(), whole);
        }

        #[test]
        fn acknowledged_frames_stay_so(payloads in payloads(), which in any::<prop::sample::Index>()) {
            let mut bytes = segment(&payloads);
            let which = which.index(payloads.len());
            let offset: usize = payloads[..which].iter().map(|payload| HEADER + payload.len()).sum();
            let state = acknowledged(checksum(&bytes[offset..]));
            bytes[offset + 4..offset + 8].copy_from_slice(&state);
            prop_assert_eq!(waiting(&bytes).len(), payloads.len() - 1);
            let damaged = frames(&bytes).any(|found| matches!(found, Found::Damaged { .. }));
            prop_assert!(!damaged);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let all: usize = frames(&bytes).count();
            prop_assert!(all <= bytes.len());
        }
    }
}
