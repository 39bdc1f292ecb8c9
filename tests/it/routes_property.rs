//! Random histories: subscriptions, unsubscriptions, crashes and faults, and the expected routes at
//! their end.
//!
//! During a history the expectations record what each tenant was answered, and compare it with the
//! sandbox. For a tenant without a definite answer, the model starts from the route that exists
//! when the faults end. It predicts the result of one last request of each tenant.

mod expectations;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cfapi_broker::{
    app,
    config::{self, Flags, env::EnvSnapshot},
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
use expectations::{Expectations, is_complete};

/// Each seed is one history. Add a seed that found a bug.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=24;
/// Environment variable for other seeds: `1000-1999`, or `1234-1234` for one that failed.
const MORE_SEEDS: &str = "PROPERTY_SEEDS";
/// Histories that run together: they mostly wait.
const AT_ONCE: usize = 24;
/// Steps of a history.
const STEPS: usize = 12;
/// No answer may take longer: the broker's own deadline is 5 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(12);
/// A call to CF without an answer for so long never gets one.
const SILENCE: Duration = Duration::from_millis(400);
/// Without a new call to CF for so long, nothing runs in the background. Longer than [`SILENCE`].
const IDLE: Duration = Duration::from_millis(700);
/// How long a last request may take while the broker says that a repeat helps.
const LAST_REQUEST: Duration = Duration::from_secs(60);

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

/// Calls that a fault can hit.
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

/// Valid error answers while there are faults.
const VALID: [(u16, &str); 15] = [
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
    // The login server has no faults here, but the way to it may fail.
    (503, "uaa_unavailable"),
    (503, "destination_unavailable"),
    (503, "draining"),
    (503, "keys_unavailable"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Put,
    Delete,
    DeleteAsync,
}

#[derive(Clone, Copy, Debug)]
struct Mutation {
    tenant: usize,
    broker: usize,
    what: Operation,
}

#[derive(Clone, Debug)]
enum Event {
    Mutation(Mutation),
    /// Both at once.
    Pair(Mutation, Mutation),
    /// One after the other, with jobs that take this many milliseconds.
    Return {
        mutations: [Mutation; 3],
        delay: u16,
    },
    /// The broker stops while CF processes this call, or before.
    Crash {
        mutation: Mutation,
        lever: &'static str,
        call: &'static str,
    },
    Fault {
        lever: &'static str,
        args: Value,
    },
    Lever {
        lever: &'static str,
        args: Value,
    },
    Settle,
}

/// A broker with its own runtime: it can stop like a process.
struct Broker {
    base: String,
    runtime: Option<Runtime>,
}

impl Broker {
    async fn start(sandbox: &Sandbox) -> Self {
        let mut variables = variables(sandbox);
        // The shortest valid time-out keeps the test short.
        variables.insert("CFAPI_SERVER__REQUEST_TIMEOUT".to_owned(), "5s".to_owned());
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (send_base, base) = oneshot::channel();
        runtime.spawn(async move {
            let snapshot = EnvSnapshot::from_vars(variables);
            let loaded = config::load(&snapshot, &Flags::default()).unwrap();
            let app = app::Broker::build(loaded.settings, &snapshot).await.unwrap();
            send_base.send(format!("http://{}", app.address())).unwrap();
            app.run().await;
        });
        Self { base: base.await.unwrap(), runtime: Some(runtime) }
    }

    async fn ask(&self, sandbox: &Sandbox, mutation: Mutation) -> Result<Answer, String> {
        let (owner, tenant, subdomain) = TENANTS[mutation.tenant];
        let token = sandbox.caller_token(owner, &["Routes.Read", "Routes.Write"]);
        let url = format!("{}/routes/{tenant}", self.base);
        let request = match mutation.what {
            Operation::Put => {
                let body = json!({"subdomain": subdomain, "app": APP}).to_string();
                let put = client().request(Method::PUT, url);
                put.header("content-type", "application/json").body(body)
            }
            Operation::Delete => client().delete(url),
            Operation::DeleteAsync => client().delete(url).header("prefer", "respond-async"),
        };
        let answering = answer(request.bearer_auth(token));
        let answered = timeout(LONGEST_ANSWER, answering).await;
        answered.map_err(|_| format!("no answer within {LONGEST_ANSWER:?} to {mutation:?}"))
    }
}

impl Drop for Broker {
    /// Everything is dropped at once.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A sandbox, two brokers, and what happened so far.
struct History {
    rng: Rng,
    sandbox: Arc<Sandbox>,
    brokers: [Broker; 2],
    /// Ends the connections without an answer. It must not stop between closing CF's port and
    /// opening it.
    _guard: JoinSet<()>,
    revoked: bool,
    /// The tenant that was chosen last.
    last: usize,
    /// The step in which jobs were paused last.
    paused: usize,
    /// No fault was pulled since all calls to CF had ended.
    calm: bool,
    /// Connections to CF were ended since then.
    ended: Arc<AtomicBool>,
    /// A job may have failed since then.
    jobs_fail: bool,
    expectations: Expectations,
    begun: Instant,
    log: String,
}

/// Half of the time the last tenant is chosen again.
fn draw_mutation(rng: &mut Rng, last: &mut usize) -> Mutation {
    let what = match rng.u8(0..8) {
        0..5 => Operation::Put,
        5 | 6 => Operation::Delete,
        _ => Operation::DeleteAsync,
    };
    if rng.bool() {
        *last = rng.usize(..TENANTS.len());
    }
    Mutation { tenant: *last, broker: rng.usize(..2), what }
}

/// A tenant that subscribes, unsubscribes, and subscribes again while CF still deletes.
fn draw_return(rng: &mut Rng, last: &mut usize) -> Event {
    let come = Mutation { what: Operation::Put, ..draw_mutation(rng, last) };
    let go = Mutation { what: Operation::DeleteAsync, broker: rng.usize(..2), ..come };
    let back = Mutation { broker: rng.usize(..2), ..come };
    Event::Return { mutations: [come, go, back], delay: rng.u16(100..1500) }
}

fn draw_fault(rng: &mut Rng) -> Event {
    let call = CALLS[rng.usize(..CALLS.len())];
    let n = rng.u8(1..=3);
    let fail = |status: u16, headers: Value, body: &str| {
        let args = json!({"part": "cf", "n": n, "status": status, "headers": headers, "body": body, "only": call});
        Event::Fault { lever: "fail_next", args }
    };
    let json = json!({"content-type": "application/json"});
    let error = r#"{"errors":[{"code":10001,"title":"UnknownError","detail":"x"}]}"#;
    match rng.u8(0..10) {
        0 => fail(500, json, error),
        1 => fail(500, json!({}), ""),
        2 => fail(502, json!({"content-type": "text/html"}), "<html></html>"),
        3 => fail(404, json!({"x-cf-routererror": "unknown_route"}), "404 Not Found"),
        4 => fail(429, json!({"retry-after": "1"}), "{}"),
        5 | 6 => Event::Fault { lever: "cut", args: json!({"part": "cf", "n": n, "only": call}) },
        7 => Event::Fault { lever: "truncate", args: json!({"part": "cf", "n": n, "only": call}) },
        8 => Event::Fault { lever: "hang", args: json!({"part": "cf", "only": call}) },
        _ => Event::Fault { lever: "commit_then_hang", args: json!({"part": "cf", "only": call}) },
    }
}

fn draw_lever(rng: &mut Rng) -> Event {
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
    Event::Lever { lever, args }
}

fn draw_event(rng: &mut Rng, last: &mut usize) -> Event {
    match rng.u8(0..20) {
        0..8 => Event::Mutation(draw_mutation(rng, last)),
        8..11 => Event::Pair(draw_mutation(rng, last), draw_mutation(rng, last)),
        11 => draw_return(rng, last),
        12 => {
            let lever = if rng.bool() { "hang" } else { "commit_then_hang" };
            Event::Crash {
                mutation: draw_mutation(rng, last),
                lever,
                call: CALLS[rng.usize(..CALLS.len())],
            }
        }
        13..15 => draw_fault(rng),
        15 | 16 => draw_lever(rng),
        _ => Event::Settle,
    }
}

impl History {
    async fn new(seed: u64) -> Self {
        let sandbox = Arc::new(sandbox().await);
        let mut guard = JoinSet::new();
        let ended = Arc::default();
        guard.spawn(end_silences(Arc::clone(&sandbox), Arc::clone(&ended)));
        let brokers = [Broker::start(&sandbox).await, Broker::start(&sandbox).await];
        let rng = Rng::with_seed(seed);
        let expectations = Expectations::new(sandbox.world().routes());
        Self {
            rng,
            sandbox,
            brokers,
            _guard: guard,
            revoked: false,
            last: 0,
            paused: STEPS,
            calm: true,
            ended,
            jobs_fail: false,
            expectations,
            begun: Instant::now(),
            log: String::new(),
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        for number in 0..STEPS {
            let step = draw_event(&mut self.rng, &mut self.last);
            // While jobs are paused, each answer takes the complete request time.
            if number > self.paused + 2 {
                self.sandbox.world().resume_jobs();
            }
            _ = writeln!(self.log, "{number:>3} {:?} {step:?}", self.begun.elapsed());
            if matches!(step, Event::Lever { lever: "pause_jobs", .. }) {
                self.paused = number;
            }
            self.run_event(step).await?;
        }
        self.end().await
    }

    async fn run_event(&mut self, step: Event) -> Result<(), String> {
        match step {
            Event::Mutation(mutation) => self.run_mutation(mutation).await.map(drop),
            Event::Pair(one, two) => self.run_both(one, two).await,
            Event::Return { mutations, delay } => {
                self.sandbox.world().job_delay(Duration::from_millis(delay.into()));
                for mutation in mutations {
                    self.run_mutation(mutation).await?;
                }
                Ok(())
            }
            Event::Crash { mutation, lever, call } => self.crash(mutation, lever, call).await,
            Event::Fault { lever, args } => {
                self.calm = false;
                pull(&self.sandbox, lever, &args);
                Ok(())
            }
            Event::Lever { lever, args } => {
                // One forced renewal in 30 s: the broker correctly refuses a second one.
                if lever == "revoke_all" && std::mem::replace(&mut self.revoked, true) {
                    return Ok(());
                }
                if lever == "fail_jobs" {
                    (self.calm, self.jobs_fail) = (false, true);
                }
                // A host that is already taken is not taken again.
                let done = self.sandbox.pull(lever, &args);
                if lever == "take_host" && done.is_ok() {
                    // The newest route is the last one.
                    self.sandbox
                        .world()
                        .routes()
                        .pop()
                        .into_iter()
                        .for_each(|route| self.expectations.add_foreign(route));
                }
                Ok(())
            }
            Event::Settle => self.settle().await,
        }
    }

    /// No fault since all calls to CF had ended.
    fn is_calm(&self) -> bool {
        self.calm && !self.ended.load(Ordering::Relaxed)
    }

    async fn run_mutation(&mut self, mutation: Mutation) -> Result<Answer, String> {
        self.expectations.begin(mutation);
        let before = self.sandbox.world().routes();
        let answer = self.brokers[mutation.broker].ask(&self.sandbox, mutation).await?;
        self.note(mutation, &answer)?;
        let after = self.sandbox.world().routes();
        self.expectations.record(mutation, &answer, self.is_calm(), [&before, &after])?;
        Ok(answer)
    }

    async fn run_both(&mut self, one: Mutation, two: Mutation) -> Result<(), String> {
        self.expectations.begin(one);
        self.expectations.begin(two);
        let (first, second) = tokio::join!(
            self.brokers[one.broker].ask(&self.sandbox, one),
            self.brokers[two.broker].ask(&self.sandbox, two),
        );
        let (first, second) = (first?, second?);
        self.note(one, &first)?;
        self.note(two, &second)?;
        let after = self.sandbox.world().routes();
        self.expectations.record_both([(one, &first), (two, &second)], self.is_calm(), &after)
    }

    /// Records the answer. Fails if it is not a valid one.
    fn note(&mut self, mutation: Mutation, answer: &Answer) -> Result<(), String> {
        let code = if answer.status < 400 { String::new() } else { answer.code() };
        _ = writeln!(self.log, "    {mutation:?}: {} {code}", answer.status);
        let valid = match (answer.status, mutation.what) {
            (200 | 201, Operation::Put)
            | (202 | 204, Operation::Delete | Operation::DeleteAsync) => true,
            (status, Operation::Put | Operation::Delete | Operation::DeleteAsync) => {
                VALID.contains(&(status, code.as_str()))
            }
        };
        let retryable = answer.json()["retryable"] == json!(true);
        let consistent = answer.status < 400
            || retryable == (answer.status > 500 && code != "upstream_auth_failed");
        if valid && consistent {
            return Ok(());
        }
        Err(format!("invalid answer to {mutation:?}: {} {}", answer.status, answer.text))
    }

    async fn crash(&mut self, mutation: Mutation, lever: &str, call: &str) -> Result<(), String> {
        self.calm = false;
        self.expectations.begin(mutation);
        self.expectations.lost(mutation);
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        pull(&self.sandbox, lever, &json!({"part": "cf", "only": call}));
        let before = silent(&self.sandbox).len();
        tokio::select! {
            answer = self.brokers[mutation.broker].ask(&self.sandbox, mutation) => drop(answer?),
            () = async {
                while silent(&self.sandbox).len() == before {
                    sleep(Duration::from_millis(5)).await;
                }
                // Time for CF to process the call, if it does.
                sleep(Duration::from_millis(20)).await;
            } => {}
        }
        self.brokers[mutation.broker] = Broker::start(&self.sandbox).await;
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        Ok(())
    }

    /// Waits until all work of CF has ended, then compares what is known.
    async fn settle(&mut self) -> Result<(), String> {
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        self.sandbox.world().fail_jobs(0, "");
        self.sandbox.world().resume_jobs();
        self.sandbox.world().job_delay(Duration::from_millis(50));
        let settled = timeout(Duration::from_secs(10), wait_until_idle(&self.sandbox)).await;
        settled.map_err(|_| "the calls to CF do not end".to_owned())?;
        self.expectations.settled(!self.jobs_fail);
        (self.calm, self.jobs_fail) = (true, false);
        self.ended.store(false, Ordering::Relaxed);
        self.expectations.compare(&self.sandbox.world().routes())
    }

    /// One last request of each tenant without faults, compared with the model.
    async fn end(&mut self) -> Result<(), String> {
        self.settle().await?;
        let mut model = Model::of(&self.sandbox.world().routes());
        let mut order = (0..TENANTS.len()).collect::<Vec<_>>();
        self.rng.shuffle(&mut order);
        for tenant in order {
            let what = if self.rng.u8(0..3) == 0 { Operation::Delete } else { Operation::Put };
            let mutation = Mutation { tenant, broker: self.rng.usize(..2), what };
            _ = writeln!(self.log, "end {mutation:?}");
            let expected = model.take(mutation);
            let answer = self.last_request(mutation).await?;
            if answer.status / 100 * 100 != expected {
                let text =
                    format!("{mutation:?} expects {expected}: {} {}", answer.status, answer.text);
                return Err(text);
            }
        }
        let routes = self.sandbox.world().routes();
        model.compare(&routes)?;
        self.expectations.compare(&routes)
    }

    /// Repeats while the broker says that a repeat helps.
    async fn last_request(&mut self, mutation: Mutation) -> Result<Answer, String> {
        let end = Instant::now() + LAST_REQUEST;
        loop {
            let answer = self.run_mutation(mutation).await?;
            let again = answer.status == 202 || answer.json()["retryable"] == json!(true);
            if !again {
                return Ok(answer);
            }
            if Instant::now() > end {
                return Err(format!("{mutation:?} never ends: {}", answer.text));
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

/// The tenant whose labels and annotations a route has, all of them.
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

fn host_of(tenant: usize) -> String {
    format!("{}-{APP}", TENANTS[tenant].2)
}

/// Who has a host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostHolder {
    Tenant(usize),
    /// Without labels: it may be adopted.
    Unclaimed,
    /// Someone else's: it must stay unchanged.
    Foreign(Box<RouteView>),
}

/// The routes by host.
#[derive(Debug)]
struct Model(BTreeMap<String, HostHolder>);

impl Model {
    fn of(routes: &[RouteView]) -> Self {
        let hosts = (0..TENANTS.len()).map(host_of).collect::<BTreeSet<_>>();
        let held = routes.iter().filter(|route| hosts.contains(&route.host)).map(|route| {
            let holder = match owner_of(route) {
                Some(tenant) => HostHolder::Tenant(tenant),
                None if route.space == "dev" => HostHolder::Unclaimed,
                None => HostHolder::Foreign(Box::new(route.clone())),
            };
            (route.host.clone(), holder)
        });
        Self(held.collect())
    }

    /// Applies the request and returns the class of its answer.
    fn take(&mut self, mutation: Mutation) -> u16 {
        let host = host_of(mutation.tenant);
        let mine = HostHolder::Tenant(mutation.tenant);
        let holder = self.0.get(&host);
        match (mutation.what, holder) {
            (Operation::Delete | Operation::DeleteAsync, Some(holder)) if *holder == mine => {
                self.0.remove(&host);
                200
            }
            (Operation::Delete | Operation::DeleteAsync, _) => 200,
            (Operation::Put, None | Some(HostHolder::Unclaimed)) => {
                self.0.insert(host, mine);
                200
            }
            (Operation::Put, Some(holder)) if *holder == mine => 200,
            (Operation::Put, Some(HostHolder::Tenant(_) | HostHolder::Foreign(_))) => 400,
        }
    }

    /// Each expected route exists once and is complete. There is no other route.
    fn compare(&self, routes: &[RouteView]) -> Result<(), String> {
        let found = Self::of(routes);
        let mut seen = BTreeSet::new();
        let complete = |route: &RouteView| owner_of(route).is_none() || is_complete(route);
        // A tenant without a successful last PUT keeps its route, complete or not.
        let broken = routes.iter().find(|route| !complete(route));
        let twice = routes.iter().find(|route| !seen.insert((&route.host, &route.domain)));
        if found.0 == self.0 && broken.is_none() && twice.is_none() {
            return Ok(());
        }
        Err(format!("wanted {:#?}\nfound {routes:#?}", self.0))
    }
}

/// Calls to CF that have no answer, by their index in the journal.
fn silent(sandbox: &Sandbox) -> Vec<usize> {
    let journal = sandbox.journal().into_iter().enumerate();
    let silent = journal.filter(|(_, entry)| entry.part == Part::Cf && entry.status.is_none());
    silent.map(|(index, _)| index).collect()
}

/// Repeatedly ends the connections on which CF does not answer. Sets `ended` then: on a loaded
/// machine that may also hit a call without a fault.
async fn end_silences(sandbox: Arc<Sandbox>, ended: Arc<AtomicBool>) {
    let mut known = BTreeMap::new();
    loop {
        sleep(Duration::from_millis(50)).await;
        let now_silent = silent(&sandbox);
        known.retain(|index, _| now_silent.contains(index));
        for index in now_silent {
            known.entry(index).or_insert_with(|| Some(Instant::now()));
        }
        let over = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > SILENCE);
        if known.values().any(over) {
            ended.store(true, Ordering::Relaxed);
            sandbox.stop_part(Part::Cf).await;
            sandbox.start_part(Part::Cf).await.unwrap();
            for since in known.values_mut() {
                *since = None;
            }
        }
    }
}

/// Waits until no route is being deleted and CF gets no new call.
async fn wait_until_idle(sandbox: &Sandbox) {
    let (mut heard, mut since) = (0, Instant::now());
    while since.elapsed() < IDLE {
        sleep(Duration::from_millis(20)).await;
        let now = sandbox.journal().len();
        let busy = sandbox.world().routes().iter().any(|route| route.deleting);
        if busy || now != heard {
            (heard, since) = (now, Instant::now());
        }
    }
}

/// Returns how many answers were compared with the routes.
async fn history(seed: u64, permits: Arc<Semaphore>) -> Result<usize, String> {
    let _permit = permits.acquire_owned().await.unwrap();
    let mut history = History::new(seed).await;
    let done = history.run().await;
    done.map_err(|error| format!("seed {seed}\n{}{error}", history.log))?;
    // Shown with `--nocapture`.
    println!("seed {seed}: {} comparisons\n{}", history.expectations.kept, history.log);
    Ok(history.expectations.kept)
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    let named = std::env::var(MORE_SEEDS);
    let Ok(named) = named else { return SEEDS };
    let (first, last) = named.split_once('-').expect("first-last");
    first.parse().unwrap()..=last.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_hold_after_any_faults_and_the_last_request_of_each_tenant_succeeds() {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut set = JoinSet::new();
    let seeds = seeds();
    for seed in seeds.clone() {
        set.spawn(history(seed, Arc::clone(&permits)));
    }
    let done = set.join_all().await;
    let failed = done.iter().filter_map(|done| done.as_ref().err()).cloned().collect::<Vec<_>>();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // Each history ends with one comparison for each tenant, and there are more before.
    let kept = done.iter().flatten().sum::<usize>();
    assert!(kept > seeds.count() * 2 * TENANTS.len(), "{kept} comparisons");
}
