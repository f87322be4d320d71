//! The cause chain of an error: `source()` by `source()`, bounded, safe against cycles and panics.

use std::error::Error;

use crate::unwind::guarded;

/// Links followed at most.
const MAX_DEPTH: usize = 32;

/// An error and its causes, outermost first. `source()` is user code: a cycle ends the chain, a
/// panic too.
pub(crate) fn links<'a>(error: &'a (dyn Error + 'a)) -> Vec<&'a (dyn Error + 'a)> {
    let mut chain = vec![error];
    while chain.len() < MAX_DEPTH {
        let last = chain[chain.len() - 1];
        let Some(Some(next)) = guarded(|| last.source()) else { break };
        // Zero-sized errors may share an address with another; only a whole repeat of type and place is a cycle.
        if chain.iter().any(|link| std::ptr::eq(*link, next)) {
            break;
        }
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Endless(Option<Box<Endless>>);

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("again")
        }
    }

    impl Error for Endless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            match &self.0 {
                Some(next) => Some(&**next),
                None => panic!("source() panics"),
            }
        }
    }

    #[derive(Debug)]
    struct Cycle;

    static CYCLE: Cycle = Cycle;

    impl fmt::Display for Cycle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round and round")
        }
    }

    impl Error for Cycle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&CYCLE)
        }
    }

    #[test]
    fn a_chain_is_bounded() {
        let deep = (0..10_000).fold(Endless(None), |next, _| Endless(Some(Box::new(next))));
        assert_eq!(links(&deep).len(), MAX_DEPTH);
        std::mem::forget(deep); // its own drop would recurse 10,000 deep
        assert_eq!(links(&Endless(None)).len(), 1);
        assert_eq!(links(&CYCLE).len(), 1);
    }
}
