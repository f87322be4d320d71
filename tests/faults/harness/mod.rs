mod disk;
mod network;
mod outage;
mod process;
pub mod program;
mod remote;
pub mod report;
mod schedule;
mod secrets;
mod stock;
mod world;

pub fn cases() -> Vec<report::Case> {
    [outage::cases(), network::cases(), disk::cases(), process::cases(), secrets::cases(), schedule::cases()].concat()
}
