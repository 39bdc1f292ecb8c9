//! Repeats recorded requests to a real Cloud Controller and compares the sandbox's answers. Each
//! file starts with a fresh world. A line with a lever pulls it at that place. CC's guids are
//! mapped to ours as answers arrive. Called by `bin/replay` and by tests.

mod compare;
mod exchange;
mod guids;
mod http_client;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use self::exchange::{Bearers, Exchange, RecordedLever, RecordedLine};
use self::guids::Guids;
use self::http_client::HttpAnswer;
use crate::capi::{UNCOVERED, router};
use crate::token::CfTokens;
use crate::world::CfWorld;

/// Recorded exchanges that are not imitated: file, name, reason.
const LIST: &str = include_str!("../../replay-uncovered.txt");
/// The address of the UAA in the replay's tokens. It is never called.
const UAA: &str = "http://uaa.replay.invalid";

/// The result of a replay.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<String>,
    compared: usize,
    differ: usize,
    uncovered: usize,
    wrong_entries: usize,
}

/// One file on its way through a world.
struct FileRun<'a> {
    file: &'a str,
    world: &'a CfWorld,
    address: String,
    bearers: Bearers,
    guids: Guids,
    listed: &'a BTreeMap<(String, String), String>,
    report: &'a mut Report,
}

/// Replays every `cc-*.jsonl` of the folder.
///
/// # Errors
/// The folder cannot be read or holds no recording, or a recording has the wrong format or a lever
/// that cannot be pulled.
pub async fn run(folder: &Path) -> Result<Report, String> {
    let listed = listed()?;
    let mut report = Report::default();
    for path in recordings(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        let in_file = |fault: String| format!("{name}: {fault}");
        let lines = exchange::read(&text).map_err(in_file)?;
        replay(name, &lines, &listed, &mut report).await.map_err(in_file)?;
    }
    Ok(report)
}

impl Report {
    /// Returns one line for each difference, and for each wrong line of the list.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the summary line.
    pub fn summary(&self) -> String {
        format!(
            "replay: {} compared, {} differ, {} uncovered",
            self.compared, self.differ, self.uncovered
        )
    }

    /// Tells whether nothing differs and the list of uncovered calls is right.
    pub fn passed(&self) -> bool {
        self.differ == 0 && self.wrong_entries == 0
    }
}

impl FileRun<'_> {
    async fn play(mut self, lines: &[RecordedLine]) -> Result<(), String> {
        self.world.job_delay(Duration::ZERO);
        for line in lines {
            match line {
                RecordedLine::Exchange(exchange) => self.repeat(exchange).await?,
                RecordedLine::Lever(lever) => self.pull(lever)?,
            }
        }
        Ok(())
    }

    async fn repeat(&mut self, exchange: &Exchange) -> Result<(), String> {
        // The recorded worker was slow: a job is done only when the recording says so.
        if exchange.shows_a_finished_job() {
            self.world.resume_jobs();
        } else {
            self.world.pause_jobs();
        }
        let request = exchange.request(&self.address, &self.bearers, &self.guids);
        let answer = http_client::ask(&self.address, &request).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", exchange.name))?;
        self.compare_answer(exchange, &answer);
        Ok(())
    }

    fn pull(&self, RecordedLever { lever, args, line }: &RecordedLever) -> Result<(), String> {
        match self.world.pull(lever, args) {
            Some(Ok(_)) => Ok(()),
            Some(Err(fault)) => Err(format!("line {line}: lever {lever}: {fault}")),
            None => {
                let known: Vec<&str> = CfWorld::levers().iter().map(|(name, _)| *name).collect();
                let known = known.join(", ");
                Err(format!("line {line}: no lever {lever} of the CF API: known are {known}"))
            }
        }
    }

    fn compare_answer(&mut self, exchange: &Exchange, answer: &HttpAnswer) {
        let key = (self.file.to_owned(), exchange.name.clone());
        let is_listed = self.listed.contains_key(&key);
        if answer.header(UNCOVERED).is_some() {
            self.report.uncovered += 1;
            if !is_listed {
                self.report.wrong_entries += 1;
                self.note(exchange, "is not covered, and replay-uncovered.txt does not say why");
            }
            return;
        }
        self.report.compared += 1;
        if is_listed {
            self.report.wrong_entries += 1;
            self.note(exchange, "is covered by now: take it out of replay-uncovered.txt");
        }
        let base = format!("http://{}", self.address);
        let differences = compare::differences(exchange, answer, &base, &mut self.guids);
        self.report.differ += usize::from(!differences.is_empty());
        for difference in differences {
            self.note(exchange, &difference);
        }
    }

    fn note(&mut self, exchange: &Exchange, text: &str) {
        let line = format!("{} {}: {text}", self.file, exchange.name);
        self.report.lines.push(line);
    }
}

async fn replay(
    file: &str,
    lines: &[RecordedLine],
    listed: &BTreeMap<(String, String), String>,
    report: &mut Report,
) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("loopback: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?.to_string();
    let tokens = Arc::new(CfTokens::new(UAA.to_owned()));
    let bearers = Bearers::mint(&tokens);
    let world = CfWorld::recorded(format!("http://{address}"), UAA.to_owned(), tokens);
    let world = Arc::new(world);
    let served = axum::serve(listener, router(Arc::clone(&world)));
    let run =
        FileRun { file, world: &world, address, bearers, guids: Guids::default(), listed, report };
    tokio::select! {
        done = run.play(lines) => done,
        ended = served => Err(format!("the sandbox ended: {ended:?}")),
    }
}

fn recordings(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_recording = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("cc-") && path.extension().is_some_and(|end| end == "jsonl")
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(is_recording).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: no cc-*.jsonl here", folder.display()));
    }
    Ok(paths)
}

/// Reads the list of calls that are not imitated. A line without a reason is an error.
fn listed() -> Result<BTreeMap<(String, String), String>, String> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            match (words.next(), words.next(), words.next()) {
                (Some(file), Some(name), Some(reason)) => Ok(((file, name), reason)),
                _ => Err(format!("replay-uncovered.txt: no reason in `{line}`")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
