//! Random histories: subscriptions, unsubscriptions, crashes and faults, and what must be left at their end.
//!
//! The model knows nothing of what happened on the way. It takes the routes as they lie when the faults end,
//! and says what one last wish of each tenant makes of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use cfapi_broker::{
    app::App,
    config::{self, Flags, env::Snapshot},
};
use cfapi_sandbox::{Part, Sandbox, world::RouteView};
use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{APP, Answer, answer, client, pull, sandbox, variables};

/// Each is one history; a new one is worth adding whenever it finds something.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=40;
/// Histories at once: they mostly wait.
const AT_ONCE: usize = 16;
/// Steps of a history.
const STEPS: usize = 14;
/// No answer may take longer: the broker's own deadline is 5 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(12);
/// An answer of CF that is out for so long never comes.
const SILENCE: Duration = Duration::from_millis(400);
/// How long a last wish may need while the broker says that a repeat helps.
const LAST_WISH: Duration = Duration::from_secs(30);

const DOMAIN: &str = "cfapps.example.test";
const BOOKSHOP: &str = "sb-bookshop!t4711";
const ORDERS: &str = "sb-orders!t4712";

/// Owner, tenant, subdomain. Two tenants of one owner and two owners want the same host.
const TENANTS: [(&str, &str, &str); 5] = [
    (BOOKSHOP, "t1", "acme"),
    (BOOKSHOP, "t2", "beta"),
    (BOOKSHOP, "t3", "acme"),
    (ORDERS, "t1", "omega"),
    (ORDERS, "t2", "beta"),
];

/// Calls that a fault is for.
const CALLS: [&str; 9] = [
    "POST /v3/routes",
    "POST /v3/routes",
    "POST /v3/routes/",
    "DELETE /v3/routes/",
    "DELETE /v3/routes/",
    "PATCH /v3/routes/",
    "GET /v3/routes",
    "GET /v3/routes/",
    "GET /v3/jobs/",
];

/// What a caller may be told while faults are about.
const LAWFUL: [(u16, &str); 15] = [
    (409, "host_taken"),
    (409, "host_taken_elsewhere"),
    (409, "host_of_other_tenant"),
    (502, "cf_error"),
    (502, "cf_job_failed"),
    (502, "upstream_auth_failed"),
    (503, "cf_unavailable"),
    (503, "cf_rate_limited"),
    (503, "route_being_deleted"),
    (503, "overloaded"),
    (504, "cf_timeout"),
    // The login server is not troubled here, but the road to it may be.
    (503, "uaa_unavailable"),
    (503, "destination_unavailable"),
    (503, "draining"),
    (503, "keys_unavailable"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Delete,
    DeleteAsync,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    tenant: usize,
    broker: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum Step {
    Act(Act),
    /// Both at once.
    Pair(Act, Act),
    /// The broker dies while CF works on this call, or before it does.
    Crash {
        act: Act,
        lever: &'static str,
        call: &'static str,
    },
    Trick {
        lever: &'static str,
        args: Value,
    },
    World {
        lever: &'static str,
        args: Value,
    },
    Settle,
}

/// A broker with a runtime of its own: it can die like a process.
struct Broker {
    base: String,
    runtime: Option<Runtime>,
}

impl Broker {
    async fn start(sandbox: &Sandbox) -> Self {
        let mut variables = variables(sandbox);
        // The shortest lawful one: nothing here is worth more patience.
        variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "5s".to_owned());
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (tell, told) = oneshot::channel();
        runtime.spawn(async move {
            let snapshot = Snapshot::from_vars(variables);
            let loaded = config::load(&snapshot, &Flags::default()).unwrap();
            let app = App::build(loaded.settings, &snapshot).await.unwrap();
            tell.send(format!("http://{}", app.address())).unwrap();
            app.run().await;
        });
        Self { base: told.await.unwrap(), runtime: Some(runtime) }
    }

    async fn ask(&self, sandbox: &Sandbox, act: Act) -> Result<Answer, String> {
        let (owner, tenant, subdomain) = TENANTS[act.tenant];
        let token = sandbox.caller_token(owner, &["Routes.Read", "Routes.Write"]);
        let url = format!("{}/routes/{tenant}", self.base);
        let request = match act.what {
            What::Put => {
                let body = json!({"subdomain": subdomain, "app": APP}).to_string();
                let put = client().request(Method::PUT, url);
                put.header("content-type", "application/json").body(body)
            }
            What::Delete => client().delete(url),
            What::DeleteAsync => client().delete(url).header("prefer", "respond-async"),
        };
        let answering = answer(request.bearer_auth(token));
        let answered = timeout(LONGEST_ANSWER, answering).await;
        answered.map_err(|_| format!("no answer within {LONGEST_ANSWER:?} to {act:?}"))
    }
}

impl Drop for Broker {
    /// Everything is dropped where it stands.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A landscape, two brokers, and what happened so far.
struct History {
    rng: Rng,
    sandbox: Arc<Sandbox>,
    brokers: [Broker; 2],
    /// Ends silences; never cut off between closing CF's port and opening it.
    _guard: JoinSet<()>,
    revoked: bool,
    /// Nothing went wrong since the jobs were last seen to an end.
    calm: bool,
    told: String,
}

fn draw_act(rng: &mut Rng) -> Act {
    let what = match rng.u8(0..8) {
        0..5 => What::Put,
        5 | 6 => What::Delete,
        _ => What::DeleteAsync,
    };
    Act { tenant: rng.usize(..TENANTS.len()), broker: rng.usize(..2), what }
}

fn draw_trick(rng: &mut Rng) -> Step {
    let call = CALLS[rng.usize(..CALLS.len())];
    let n = rng.u8(1..=3);
    let fail = |status: u16, headers: Value, body: &str| {
        let args = json!({"part": "cf", "n": n, "status": status, "headers": headers, "body": body, "only": call});
        Step::Trick { lever: "fail_next", args }
    };
    let json = json!({"content-type": "application/json"});
    let error = r#"{"errors":[{"code":10001,"title":"UnknownError","detail":"x"}]}"#;
    match rng.u8(0..10) {
        0 => fail(500, json, error),
        1 => fail(500, json!({}), ""),
        2 => fail(502, json!({"content-type": "text/html"}), "<html></html>"),
        3 => fail(404, json!({"x-cf-routererror": "unknown_route"}), "404 Not Found"),
        4 => fail(429, json!({"retry-after": "1"}), "{}"),
        5 | 6 => Step::Trick { lever: "cut", args: json!({"part": "cf", "n": n, "only": call}) },
        7 => Step::Trick { lever: "truncate", args: json!({"part": "cf", "n": n, "only": call}) },
        8 => Step::Trick { lever: "hang", args: json!({"part": "cf", "only": call}) },
        _ => Step::Trick { lever: "commit_then_hang", args: json!({"part": "cf", "only": call}) },
    }
}

fn draw_world(rng: &mut Rng) -> Step {
    let (lever, args) = match rng.u8(0..7) {
        0 => ("pause_jobs", json!({})),
        1 => ("resume_jobs", json!({})),
        2 => ("fail_jobs", json!({"n": 1, "detail": "disk full"})),
        3 => ("job_delay", json!({"ms": rng.u16(0..1500)})),
        4 => ("revoke_all", Value::Null),
        _ => {
            let space = ["fspace", "other", "dev"][rng.usize(..3)];
            let (.., subdomain) = TENANTS[rng.usize(..TENANTS.len())];
            let host = format!("{subdomain}-{APP}");
            ("take_host", json!({"host": host, "domain": DOMAIN, "space": space}))
        }
    };
    Step::World { lever, args }
}

fn draw_step(rng: &mut Rng) -> Step {
    match rng.u8(0..20) {
        0..9 => Step::Act(draw_act(rng)),
        9..12 => Step::Pair(draw_act(rng), draw_act(rng)),
        12 | 13 => {
            let lever = if rng.bool() { "hang" } else { "commit_then_hang" };
            Step::Crash { act: draw_act(rng), lever, call: CALLS[rng.usize(..CALLS.len())] }
        }
        14..17 => draw_trick(rng),
        17 | 18 => draw_world(rng),
        _ => Step::Settle,
    }
}

impl History {
    async fn new(seed: u64) -> Self {
        let sandbox = Arc::new(sandbox().await);
        let mut guard = JoinSet::new();
        guard.spawn(end_silences(Arc::clone(&sandbox)));
        let brokers = [Broker::start(&sandbox).await, Broker::start(&sandbox).await];
        let rng = Rng::with_seed(seed);
        Self {
            rng,
            sandbox,
            brokers,
            _guard: guard,
            revoked: false,
            calm: true,
            told: String::new(),
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        for number in 0..STEPS {
            let step = draw_step(&mut self.rng);
            _ = writeln!(self.told, "{number:>3} {step:?}");
            self.step(step).await?;
        }
        self.end().await
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Act(act) => {
                let answer = self.asked(act).await?;
                self.promise(act, &answer)
            }
            Step::Pair(one, two) => {
                let (first, second) = tokio::join!(
                    self.brokers[one.broker].ask(&self.sandbox, one),
                    self.brokers[two.broker].ask(&self.sandbox, two),
                );
                // Two instances may have met: which order it was shows only later.
                self.calm = false;
                self.note(one, &first?)?;
                self.note(two, &second?)
            }
            Step::Crash { act, lever, call } => self.crash(act, lever, call).await,
            Step::Trick { lever, args } => {
                self.calm = false;
                pull(&self.sandbox, lever, &args);
                Ok(())
            }
            Step::World { lever, args } => {
                // One forced renewal in 30 s: a second one would be refused rightly.
                if lever == "revoke_all" && std::mem::replace(&mut self.revoked, true) {
                    return Ok(());
                }
                self.calm &= lever != "fail_jobs";
                // A host that is taken stays so.
                drop(self.sandbox.pull(lever, &args));
                Ok(())
            }
            Step::Settle => self.settle().await,
        }
    }

    async fn asked(&mut self, act: Act) -> Result<Answer, String> {
        let answer = self.brokers[act.broker].ask(&self.sandbox, act).await?;
        self.note(act, &answer)?;
        Ok(answer)
    }

    /// Writes the answer down and refuses one that no contract knows.
    fn note(&mut self, act: Act, answer: &Answer) -> Result<(), String> {
        let code = if answer.status < 400 { String::new() } else { answer.code() };
        _ = writeln!(self.told, "    {act:?}: {} {code}", answer.status);
        let lawful = match (answer.status, act.what) {
            (200 | 201, What::Put) | (202 | 204, What::Delete | What::DeleteAsync) => true,
            (status, What::Put | What::Delete | What::DeleteAsync) => {
                LAWFUL.contains(&(status, code.as_str()))
            }
        };
        let retryable = answer.json()["retryable"] == json!(true);
        let truthful = answer.status < 400
            || retryable == (answer.status > 500 && code != "upstream_auth_failed");
        if lawful && truthful {
            return Ok(());
        }
        Err(format!("unlawful answer to {act:?}: {} {}", answer.status, answer.text))
    }

    /// In calm an answer is a promise about the world at that moment.
    fn promise(&self, act: Act, answer: &Answer) -> Result<(), String> {
        if !self.calm {
            return Ok(());
        }
        let routes = self.sandbox.world().routes();
        let of_tenant = |route: &&RouteView| owner_of(route) == Some(act.tenant);
        let kept = match answer.status {
            200 | 201 => {
                let guid = answer.json()["route"]["guid"].clone();
                let route = routes.iter().find(|route| guid == route.guid.as_str());
                route.is_some_and(|route| {
                    owner_of(route) == Some(act.tenant) && route.apps == [APP] && !route.deleting
                })
            }
            204 => routes.iter().find(of_tenant).is_none(),
            _ => true,
        };
        if kept {
            Ok(())
        } else {
            Err(format!("{act:?} was answered {}: {routes:#?}", answer.text))
        }
    }

    async fn crash(&mut self, act: Act, lever: &str, call: &str) -> Result<(), String> {
        self.calm = false;
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        pull(&self.sandbox, lever, &json!({"part": "cf", "only": call}));
        let before = silent(&self.sandbox).len();
        tokio::select! {
            answer = self.brokers[act.broker].ask(&self.sandbox, act) => drop(answer?),
            () = async {
                while silent(&self.sandbox).len() == before {
                    sleep(Duration::from_millis(5)).await;
                }
                // CF does its work, if it does it at all.
                sleep(Duration::from_millis(20)).await;
            } => {}
        }
        self.brokers[act.broker] = Broker::start(&self.sandbox).await;
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        Ok(())
    }

    /// Lets all jobs end.
    async fn settle(&mut self) -> Result<(), String> {
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        self.sandbox.world().resume_jobs();
        self.sandbox.world().job_delay(Duration::from_millis(50));
        let settling = async {
            while self.sandbox.world().routes().iter().any(|route| route.deleting) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let settled = timeout(Duration::from_secs(5), settling).await;
        settled.map_err(|_| "jobs did not end".to_owned())
    }

    /// One last wish of each tenant without any fault, compared with the model.
    async fn end(&mut self) -> Result<(), String> {
        self.settle().await?;
        self.sandbox.world().fail_jobs(0, "");
        let mut model = Model::of(&self.sandbox.world().routes());
        let mut order = (0..TENANTS.len()).collect::<Vec<_>>();
        self.rng.shuffle(&mut order);
        for tenant in order {
            let what = if self.rng.u8(0..3) == 0 { What::Delete } else { What::Put };
            let act = Act { tenant, broker: self.rng.usize(..2), what };
            _ = writeln!(self.told, "end {act:?}");
            let expected = model.take(act);
            let answer = self.last_wish(act).await?;
            if answer.status / 100 * 100 != expected {
                let text = format!("{act:?} wants {expected}: {} {}", answer.status, answer.text);
                return Err(text);
            }
        }
        model.compare(&self.sandbox.world().routes())
    }

    /// Repeats while the broker says that it helps.
    async fn last_wish(&mut self, act: Act) -> Result<Answer, String> {
        let end = Instant::now() + LAST_WISH;
        loop {
            let answer = self.asked(act).await?;
            let again = answer.status == 202 || answer.json()["retryable"] == json!(true);
            if !again {
                return Ok(answer);
            }
            if Instant::now() > end {
                return Err(format!("{act:?} is put off for ever: {}", answer.text));
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

/// Which tenant's labels and annotations a route carries, all of them.
fn owner_of(route: &RouteView) -> Option<usize> {
    let annotation = |name: &str| route.annotations.get(&format!("cfapi-broker.internal/{name}"));
    let owner = annotation("owner-id")?;
    let tenant = annotation("tenant-id")?;
    let labelled = ["managed-by", "owner", "tenant"]
        .iter()
        .all(|name| route.labels.contains_key(&format!("cfapi-broker.internal/{name}")));
    let found = TENANTS.iter().position(|(client, id, _)| client == owner && id == tenant);
    found.filter(|_| labelled)
}

/// Who has a host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    Tenant(usize),
    /// Nobody's: it may be adopted.
    Unclaimed,
    /// Somebody else's, who must find it unchanged.
    Foreign(Box<RouteView>),
}

/// The routes by host.
#[derive(Debug)]
struct Model(BTreeMap<String, Holder>);

impl Model {
    fn of(routes: &[RouteView]) -> Self {
        let hosts = TENANTS.iter().map(|(.., subdomain)| format!("{subdomain}-{APP}"));
        let hosts = hosts.collect::<BTreeSet<_>>();
        let held = routes.iter().filter(|route| hosts.contains(&route.host)).map(|route| {
            let holder = match owner_of(route) {
                Some(tenant) => Holder::Tenant(tenant),
                None if route.space == "dev" => Holder::Unclaimed,
                None => Holder::Foreign(Box::new(route.clone())),
            };
            (route.host.clone(), holder)
        });
        Self(held.collect())
    }

    /// Does what the wish means and returns the class of its answer.
    fn take(&mut self, act: Act) -> u16 {
        let (.., subdomain) = TENANTS[act.tenant];
        let host = format!("{subdomain}-{APP}");
        let mine = Holder::Tenant(act.tenant);
        let holder = self.0.get(&host);
        match (act.what, holder) {
            (What::Delete | What::DeleteAsync, Some(holder)) if *holder == mine => {
                self.0.remove(&host);
                200
            }
            (What::Delete | What::DeleteAsync, _) => 200,
            (What::Put, None | Some(Holder::Unclaimed)) => {
                self.0.insert(host, mine);
                200
            }
            (What::Put, Some(holder)) if *holder == mine => 200,
            (What::Put, Some(Holder::Tenant(_) | Holder::Foreign(_))) => 400,
        }
    }

    /// Each route is there once, and whole; there is no other.
    fn compare(&self, routes: &[RouteView]) -> Result<(), String> {
        let found = Self::of(routes);
        let mut seen = BTreeSet::new();
        let whole = |route: &RouteView| {
            let dying = route.labels.contains_key("cfapi-broker.internal/state") || route.deleting;
            owner_of(route).is_none() || (route.apps == [APP] && !dying && route.space == "dev")
        };
        // A tenant without a last PUT that went through keeps what it had: whole or not.
        let broken = routes.iter().find(|route| !whole(route));
        let twice = routes.iter().find(|route| !seen.insert((&route.host, &route.domain)));
        if found.0 == self.0 && broken.is_none() && twice.is_none() {
            return Ok(());
        }
        Err(format!("wanted {:#?}\nfound {routes:#?}", self.0))
    }
}

/// Calls to CF that have no answer, by their place in the journal.
fn silent(sandbox: &Sandbox) -> Vec<usize> {
    let journal = sandbox.journal().into_iter().enumerate();
    let silent = journal.filter(|(_, entry)| entry.part == Part::Cf && entry.status.is_none());
    silent.map(|(place, _)| place).collect()
}

/// Ends the connections behind which CF is silent, again and again.
async fn end_silences(sandbox: Arc<Sandbox>) {
    let mut known = BTreeMap::new();
    loop {
        sleep(Duration::from_millis(50)).await;
        for place in silent(&sandbox) {
            known.entry(place).or_insert_with(|| Some(Instant::now()));
        }
        let over = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > SILENCE);
        if known.values().any(over) {
            sandbox.stop_part(Part::Cf).await;
            sandbox.start_part(Part::Cf).await.unwrap();
            for since in known.values_mut() {
                *since = None;
            }
        }
    }
}

async fn history(seed: u64, places: Arc<Semaphore>) -> Result<(), String> {
    let _place = places.acquire_owned().await.unwrap();
    let mut history = History::new(seed).await;
    let done = history.run().await;
    done.map_err(|error| format!("seed {seed}\n{}{error}", history.told))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happened_the_last_wish_of_each_tenant_comes_true() {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut set = JoinSet::new();
    for seed in SEEDS {
        set.spawn(history(seed, Arc::clone(&places)));
    }
    let failed = set.join_all().await.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
