//! Stacks. The caller captures raw return addresses; the worker gives them names.

pub(crate) mod in_app;
mod maps;
mod modules;
pub(crate) mod read_only;
pub(crate) mod resolve;
pub(crate) mod symbols;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod trim;
mod vtable;

pub(crate) use self::vtable::TypeAddress;

/// Frames of one stack at most.
const MAX_FRAMES: usize = 96;

/// Return addresses, innermost first, of the calling thread. Resolves nothing, reads no file; about
/// 0.1 µs a frame.
pub(crate) fn capture() -> Box<[usize]> {
    let mut frames = [0usize; MAX_FRAMES];
    let mut count = 0;
    backtrace::trace(|frame| {
        frames[count] = frame.ip().addr();
        count += 1;
        count < MAX_FRAMES
    });
    Box::from(&frames[..count])
}
