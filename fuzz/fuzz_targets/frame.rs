//! The reader of the spool's segments, on any bytes: it never panics, always ends, and what it passes on is what was written.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/ledger.rs"]
mod ledger;
/// The clocks are no matter of the format's.
mod moment {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Moment {
        pub(crate) written: u64,
        pub(crate) uptime: u64,
        pub(crate) boot: u64,
    }
}
#[path = "../../src/spool/frame.rs"]
mod frame;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut covered = 0;
    for found in frame::frames(bytes) {
        if let frame::Found::Waiting(found) = found {
            assert!(found.offset >= covered, "frames are in order and do not overlap");
            covered = found.offset + frame::HEADER + found.payload.len();
            let again = frame::encode(found.signal, found.records, found.written, found.payload);
            assert_eq!(again[8..], bytes[found.offset + 8..covered], "it is what would be written");
        }
    }
    // A whole frame behind anything at all is found, unless what is before it claims it.
    let mut behind = bytes.to_vec();
    behind.extend(frame::encode(ledger::RecordKind::Logs, 7, moment::Moment::default(), b"payload"));
    assert!(frame::frames(&behind).count() <= behind.len());
});
