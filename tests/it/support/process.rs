//! The real program as a child process, with its output.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::parse;

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    out: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// How a program ended.
pub(crate) struct ProgramExit {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
}

impl Program {
    /// Starts the program with these arguments and variables and nothing else in its environment.
    pub(crate) fn start(args: &[&str], variables: &BTreeMap<String, String>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfapi-broker"));
        command.args(args);
        Self::run(command, variables)
    }

    /// The same with a limit on open files.
    pub(crate) fn start_with_files(
        files: u32,
        args: &[&str],
        variables: &BTreeMap<String, String>,
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_cfapi-broker")).args(args);
        Self::run(command, variables)
    }

    /// Starts a copy of the program as another user; only root can.
    pub(crate) fn start_as(
        user: u32,
        program: &Path,
        variables: &BTreeMap<String, String>,
    ) -> Self {
        let mut command = Command::new(program);
        command.uid(user).gid(user);
        Self::run(command, variables)
    }

    fn run(mut command: Command, variables: &BTreeMap<String, String>) -> Self {
        let mut child = command
            .env_clear()
            .envs(variables)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let reader = |stream: Box<dyn Read + Send>| {
            let out = Arc::clone(&out);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut out = out.lock().unwrap();
                    out.push_str(&line);
                    out.push('\n');
                }
            })
        };
        let readers = streams.map(reader).into();
        Self { child, out, readers }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All output so far.
    pub(crate) fn output(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits until `find` returns a value for a printed line, and returns it.
    pub(crate) async fn wait_for<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        for _ in 0..600 {
            if let Some(found) = self.output().lines().find_map(&find) {
                return found;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "ended early:\n{}", self.output());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("not printed:\n{}", self.output());
    }

    /// The base URL that `serve` logs in its first line.
    pub(crate) async fn base(&mut self) -> String {
        self.wait_for(|line| Some(format!("http://{}", parse(line)["address"].as_str()?))).await
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(mut self) -> ProgramExit {
        self.stop();
        self.ended().await
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ProgramExit {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                // The pipes are closed, so the reader threads end now.
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
                return ProgramExit { code: status.code(), out: self.output() };
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("does not end:\n{}", self.output());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
