//! The parent's side: starts the program, tells it what to do, ends it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;

use super::program::{Setup, VARIABLE};

/// A hang is a failure; this is how long one takes to be called that.
const HANGS: Duration = Duration::from_secs(150);

pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stderr: String,
}

impl Program {
    pub fn start(setup: &Setup) -> Self {
        Self::start_as(setup, |_| {})
    }

    /// Through another program, which runs it: `strace`, `prlimit`.
    pub fn start_under(setup: &Setup, tool: &str, arguments: &[&str]) -> Self {
        Self::start_as(setup, |command| {
            let mut outer = Command::new(tool);
            outer.args(arguments).arg(command.get_program()).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
            outer.envs(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
            outer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            *command = outer;
        })
    }

    pub fn start_as(setup: &Setup, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command.env_clear().env(VARIABLE, serde_json::to_string(setup).expect("a setup"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let (lines, stderr) = (mpsc::channel(), mpsc::channel());
        let out: ChildStdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| lines.0.send(line)));
        let errors = child.stderr.take();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.map(|mut errors| errors.read_to_end(&mut text));
            let _ = stderr.0.send(String::from_utf8_lossy(&text).into_owned());
        });
        let program = Self { input: child.stdin.take(), child, lines: lines.1, stderr: stderr.1 };
        if let Some(said) = program.line() {
            assert!(said.contains("started") || said.contains("refused"), "the program says {said:?}");
        }
        program
    }

    /// Does one thing and waits for the answer; `None` if it died of it.
    pub fn try_ask(&mut self, command: &str) -> Option<Value> {
        self.tell(command);
        let line = self.line()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    pub fn ask(&mut self, command: &str) -> Value {
        self.try_ask(command).unwrap_or_else(|| {
            let said = self.stderr.recv_timeout(HANGS).unwrap_or_default();
            panic!("the program died of {command:?}: {:?}: {said}", self.child.try_wait())
        })
    }

    /// Does not wait for the answer.
    pub fn tell(&mut self, command: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{command}");
        }
    }

    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(HANGS) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program hangs"),
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Closes its input, so that `main` returns, and waits.
    pub fn end(mut self) -> Ended {
        drop(self.input.take());
        self.wait()
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self) -> Ended {
        let status = self.child.wait().expect("our child");
        let stderr = self.stderr.recv_timeout(HANGS).unwrap_or_default();
        Ended { code: status.code(), signal: status.signal(), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
