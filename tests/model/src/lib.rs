//! Loom models of the two rings. The source files are the library's own, compiled here with loom's
//! atomics in place of the standard library's; loom then runs every interleaving the memory model
//! allows.
#![cfg(test)]
#![allow(dead_code, unreachable_pub)]

mod outbox;
mod trail;
