//! Replays recorded exchanges against the sandbox: `replay FOLDER`. Exit code 1: an answer differs,
//! or `replay-uncovered.txt` (the list of calls that are not imitated) is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people and for CI")]
async fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: replay FOLDER");
        return ExitCode::from(2);
    };
    match cfapi_sandbox::replay::run(&folder).await {
        Ok(report) => {
            for line in report.lines() {
                println!("{line}");
            }
            println!("{}", report.summary());
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fault) => {
            eprintln!("replay: {fault}");
            ExitCode::from(2)
        }
    }
}
