//! One file of frames, and the tickets to them. Frames are added at the end, by any thread and
//! without a lock, and marked in place.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Adopted, Entry, Moment,
    dir::{RunDir, Unusable},
    frame::{self, HEADER},
};
use crate::{failpoint::step, ledger::RecordKind, rlimit};

pub(super) struct Segment {
    run: Arc<RunDir>,
    name: String,
    file: File,
    /// Device and number of the file: a descriptor may be closed behind our back, and its number
    /// given to another file.
    identity: (u64, u64),
    /// Where the next frame goes.
    tail: AtomicU64,
    /// Frames that wait.
    waiting: AtomicU64,
    /// Nothing is added any more.
    sealed: AtomicBool,
    /// Of all segments of the chain.
    bytes: Arc<AtomicU64>,
}

/// No frame goes beyond this, however many threads add at once.
const MAX: u64 = 16 << 20;

impl Segment {
    pub(super) fn create(run: Arc<RunDir>, signal: RecordKind, number: u32, bytes: Arc<AtomicU64>) -> Result<Self, Unusable> {
        let name = format!("{}-{number:08}.seg", signal.as_str());
        step("spool::segment::create");
        let file = run.create(&name)?;
        Self::new(run, name, file, 0, false, bytes)
    }

    /// One that another process has written.
    pub(super) fn adopt(run: Arc<RunDir>, name: String) -> Result<Self, Unusable> {
        let file = run.open(&name)?;
        let length = file.metadata()?.len();
        if length > 2 * frame::MAX_PAYLOAD as u64 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{length} bytes are more than a segment has")).into());
        }
        Self::new(run, name, file, length, true, Arc::new(AtomicU64::new(length)))
    }

    fn new(run: Arc<RunDir>, name: String, file: File, tail: u64, sealed: bool, bytes: Arc<AtomicU64>) -> Result<Self, Unusable> {
        let metadata = file.metadata()?;
        Ok(Self {
            run,
            name,
            file,
            identity: (metadata.dev(), metadata.ino()),
            tail: AtomicU64::new(tail),
            waiting: AtomicU64::new(0),
            sealed: AtomicBool::new(sealed),
            bytes,
        })
    }

    /// Adds a frame. One write; no lock, no wait for the disk.
    pub(super) fn append(self: &Arc<Self>, signal: RecordKind, entry: Entry<'_>, age: Duration) -> io::Result<Ticket> {
        let Entry { payload, records, written } = entry;
        let frame = frame::encode(signal, u32::try_from(records).unwrap_or(u32::MAX), written, payload);
        // Before the look at `sealed`: either this sees that the segment is sealed, or who seals it sees that a frame waits.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let offset = self.write(&frame).inspect_err(|_| self.one_less())?;
        let checksum = frame::checksum(&frame);
        Ok(Ticket { segment: self.clone(), offset, length: frame.len(), checksum, written, expires: Expiry::of(written, age) })
    }

    fn write(&self, frame: &[u8]) -> io::Result<u64> {
        if self.sealed.load(Ordering::SeqCst) {
            return Err(io::Error::other("the segment is sealed"));
        }
        self.is_still_ours()?;
        let length = frame.len() as u64;
        // Room that was taken is not given back: another thread may have taken what is behind it.
        let offset = self.tail.fetch_add(length, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        let end = offset + length;
        if end > MAX.max(length) || end > rlimit::file_size() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        step("spool::append::before");
        if let Err(error) = self.file.write_all_at(frame, offset) {
            // What got there must not look like a frame.
            let _ = self.file.write_all_at(&[0; HEADER], offset);
            return Err(error);
        }
        step("spool::append::after");
        Ok(offset)
    }

    /// Passes on every frame that waits, and every place that is damaged. What holds no frame that
    /// waits goes.
    pub(super) fn adopted(self: &Arc<Self>, age: Duration, take: &mut dyn FnMut(RecordKind, Adopted)) -> io::Result<()> {
        let mut content = vec![0; self.tail.load(Ordering::Relaxed) as usize];
        self.file.read_exact_at(&mut content, 0)?;
        let waits = |found: &frame::Found<'_>| matches!(found, frame::Found::Waiting(_));
        // All are counted before the first is passed on: one that is acknowledged at once must not take the file from under the others.
        self.waiting.store(frame::frames(&content).filter(waits).count() as u64, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            self.remove();
        }
        let of_file = RecordKind::ALL.into_iter().find(|signal| self.name.starts_with(signal.as_str())).unwrap_or(RecordKind::Exceptions);
        for found in frame::frames(&content) {
            match found {
                frame::Found::Waiting(frame) => {
                    let ticket = Ticket {
                        segment: self.clone(),
                        offset: frame.offset as u64,
                        length: HEADER + frame.payload.len(),
                        checksum: frame.checksum,
                        written: frame.written,
                        expires: Expiry::of(frame.written, age),
                    };
                    take(frame.signal, Adopted::Request(ticket, u64::from(frame.records)));
                }
                frame::Found::Acknowledged => {}
                frame::Found::Damaged { .. } => take(of_file, Adopted::Damaged(1)),
            }
        }
        Ok(())
    }

    /// Nothing waits in it.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    pub(super) fn length(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    /// No frame is added any more: once nothing waits in it, it goes.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            self.remove();
        }
    }

    /// A frame less waits; the last one of a sealed segment takes it along.
    fn one_less(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 && self.sealed.load(Ordering::SeqCst) {
            self.remove();
        }
    }

    fn remove(&self) {
        step("spool::segment::remove");
        if self.run.remove(&self.name).is_ok() {
            self.bytes.fetch_sub(self.tail.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn is_still_ours(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        if (metadata.dev(), metadata.ino()) != self.identity {
            return Err(io::Error::other("the file was closed and its descriptor reused"));
        }
        if metadata.nlink() == 0 { Err(io::Error::other("the file was deleted")) } else { Ok(()) }
    }
}

/// A place on disk where a request waits. What is dropped without being acknowledged waits for the next
/// process.
pub(crate) struct Ticket {
    segment: Arc<Segment>,
    offset: u64,
    length: usize,
    checksum: u32,
    written: Moment,
    expires: Expiry,
}

impl Ticket {
    /// The request; `None` if it cannot be read, or is not what was written.
    pub(crate) fn read(&self) -> Option<Bytes> {
        let mut frame = vec![0; self.length];
        self.segment.is_still_ours().ok()?;
        self.segment.file.read_exact_at(&mut frame, self.offset).ok()?;
        let (read, _) = frame::read(&frame, 0)?;
        (read.checksum == self.checksum && read.payload.len() + HEADER == self.length).then(|| Bytes::from(frame).slice(HEADER..))
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expires.is_over()
    }

    /// When it was written, as this start of the machine counts.
    pub(crate) fn written(&self) -> Moment {
        self.written.ago(self.expires.age())
    }

    /// Bytes of the request.
    pub(crate) fn bytes(&self) -> usize {
        self.length - HEADER
    }

    /// Tells files apart.
    pub(crate) fn file(&self) -> usize {
        Arc::as_ptr(&self.segment).addr()
    }

    /// The request is delivered or given up: nobody is to send it again.
    pub(crate) fn acknowledge(self) {
        step("spool::acknowledge::before");
        if self.segment.is_still_ours().is_ok() {
            let _ = self.segment.file.write_all_at(&frame::acknowledged(self.checksum), self.offset + frame::STATE);
        }
        step("spool::acknowledge::after");
        self.segment.one_less();
    }
}

/// When a request is of no use any more, by a clock that does not jump.
#[derive(Clone, Copy)]
struct Expiry {
    /// Its age when it became known here.
    age: Duration,
    since: Instant,
    limit: Duration,
}

impl Expiry {
    fn of(written: Moment, limit: Duration) -> Self {
        Self { age: written.age(limit), since: Instant::now(), limit }
    }

    fn age(self) -> Duration {
        self.age.saturating_add(self.since.elapsed())
    }

    fn is_over(self) -> bool {
        self.age() > self.limit
    }
}
