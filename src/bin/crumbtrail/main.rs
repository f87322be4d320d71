//! The program `crumbtrail`: for what a running service does not do by itself.

mod replay;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "crumbtrail", version, about = "Tools for crumbtrail's data on disk")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Empties a spool: what processes that are gone could not deliver is sent, or written out.
    /// What running processes have there is left alone.
    Replay {
        /// The state directory (CRUMBTRAIL_STATE_DIR of the service).
        directory: PathBuf,
        /// An endpoint such as http://localhost:4318, or `jsonl` for a line of OTLP JSON each on
        /// standard output. For an endpoint, OTEL_EXPORTER_OTLP_* say the rest: PROTOCOL, HEADERS,
        /// CERTIFICATE, …
        #[arg(long)]
        to: String,
        /// Seconds after which to give up; what is left stays.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
}

fn main() -> ExitCode {
    let Command::Replay { directory, to, timeout } = Arguments::parse().command;
    match replay::replay(&directory, &to, std::time::Duration::from_secs(timeout)) {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("crumbtrail: {error}");
            ExitCode::FAILURE
        }
    }
}
