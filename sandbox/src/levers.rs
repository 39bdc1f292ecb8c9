//! The levers: everything that a test or a person can change in a running landscape, by name, with
//! JSON arguments. Invariant: a lever is the same function over HTTP and from Rust. Mounted by
//! `lib` at its own address.

mod args;
mod cf;
mod destinations;
pub(crate) mod echo;
mod generic;
mod http;
mod methods;
pub(crate) mod part_faults;
mod tokens;
mod uaa_faults;
mod users;

use std::sync::Arc;

use serde_json::Value;

use crate::landscape::Landscape;
use crate::levers::args::LeverArgs;
use crate::listener::Listener;
use crate::part::{Part, PerPart};
use crate::world::CfWorld;

pub(crate) use crate::levers::http::router;

/// The result of a lever: JSON, or what is wrong with the arguments.
pub type LeverResult = Result<Value, String>;

/// What levers change.
#[derive(Debug)]
pub(crate) struct LeverContext {
    pub(crate) landscape: Arc<Landscape>,
    pub(crate) listeners: PerPart<Arc<Listener>>,
}

/// `stop` and `start` wait for their port. All other levers act at once.
const LISTENER_LEVERS: &[(&str, &str)] = &[
    ("stop", "{part}: the port refuses connections, open ones end"),
    ("start", "{part}: the port answers again, at the same place"),
];

impl LeverContext {
    /// Pulls a lever. `None` if there is no such lever.
    pub(crate) async fn pull(&self, lever: &str, args: &Value) -> Option<LeverResult> {
        match lever {
            "stop" | "start" => Some(self.switch_listener(lever, args).await),
            _ => pull(&self.landscape, lever, args),
        }
    }

    async fn switch_listener(&self, lever: &str, args: &Value) -> LeverResult {
        let part = LeverArgs::read(args, &["part"])?.part()?;
        let listener = self.listeners.of(part);
        if lever == "stop" {
            listener.close().await;
            return Ok(Value::Null);
        }
        listener.open().await.map(|()| Value::Null).map_err(|error| error.to_string())
    }
}

/// Pulls a lever that does not have to wait.
pub(crate) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    generic::pull(landscape, lever, args)
        .or_else(|| users::pull(landscape, lever, args))
        .or_else(|| uaa_faults::pull(landscape, lever, args))
        .or_else(|| tokens::pull(landscape, lever, args))
        .or_else(|| destinations::pull(landscape, lever, args))
        .or_else(|| landscape.cf.pull(lever, args))
}

/// Lists every lever with its arguments.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = [
        generic::LEVERS,
        LISTENER_LEVERS,
        users::LEVERS,
        uaa_faults::LEVERS,
        tokens::LEVERS,
        destinations::LEVERS,
    ];
    own.into_iter().flatten().chain(CfWorld::levers()).copied()
}

/// Lists the names of all parts, for messages.
fn part_names() -> String {
    Part::ALL.map(Part::name).join(", ")
}
