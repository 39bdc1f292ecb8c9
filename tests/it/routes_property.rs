//! Random histories: subscriptions, unsubscriptions, crashes and faults, and what must be left at their end.
//!
//! On the way the ledger keeps what each tenant was told and compares it with the world. Of a tenant that nothing
//! definite is known of, the model takes the route as it lies when the faults end, and says what one last wish of
//! each tenant makes of it.

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
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
use ledger::{Ledger, is_whole};

/// Each is one history; a new one is worth adding whenever it finds something.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=24;
/// Names other seeds for a longer hunt: `1000-1999`, or the one that failed, `1234-1234`.
const MORE_SEEDS: &str = "PROPERTY_SEEDS";
/// Histories at once: they mostly wait.
const AT_ONCE: usize = 24;
/// Steps of a history.
const STEPS: usize = 12;
/// No answer may take longer: the broker's own deadline is 5 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(12);
/// An answer of CF that is out for so long never comes.
const SILENCE: Duration = Duration::from_millis(400);
/// Without a new call to CF for so long nothing goes on behind the answers; longer than a silence.
const QUIET: Duration = Duration::from_millis(700);
/// How long a last wish may need while the broker says that a repeat helps.
const LAST_WISH: Duration = Duration::from_secs(60);

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
    /// One after the other, with jobs that take so many milliseconds.
    Return {
        acts: [Act; 3],
        delay: u16,
    },
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
            let snapshot = EnvSnapshot::from_vars(variables);
            let loaded = config::load(&snapshot, &Flags::default()).unwrap();
            let app = app::Broker::build(loaded.settings, &snapshot).await.unwrap();
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
    /// The tenant that was drawn last.
    last: usize,
    /// The step in which jobs were paused last.
    paused: usize,
    /// Nothing went wrong since all that CF was asked for was last seen to an end.
    calm: bool,
    /// A job may have failed since then.
    jobs_fail: bool,
    ledger: Ledger,
    begun: Instant,
    told: String,
}

/// `last`: a tenant that was asked for just now is asked for again half of the time.
fn draw_act(rng: &mut Rng, last: &mut usize) -> Act {
    let what = match rng.u8(0..8) {
        0..5 => What::Put,
        5 | 6 => What::Delete,
        _ => What::DeleteAsync,
    };
    if rng.bool() {
        *last = rng.usize(..TENANTS.len());
    }
    Act { tenant: *last, broker: rng.usize(..2), what }
}

/// A tenant that comes, goes, and comes back while CF still deletes.
fn draw_return(rng: &mut Rng, last: &mut usize) -> Step {
    let come = Act { what: What::Put, ..draw_act(rng, last) };
    let go = Act { what: What::DeleteAsync, broker: rng.usize(..2), ..come };
    let back = Act { broker: rng.usize(..2), ..come };
    Step::Return { acts: [come, go, back], delay: rng.u16(100..1500) }
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

fn draw_step(rng: &mut Rng, last: &mut usize) -> Step {
    match rng.u8(0..20) {
        0..8 => Step::Act(draw_act(rng, last)),
        8..11 => Step::Pair(draw_act(rng, last), draw_act(rng, last)),
        11 => draw_return(rng, last),
        12 => {
            let lever = if rng.bool() { "hang" } else { "commit_then_hang" };
            Step::Crash { act: draw_act(rng, last), lever, call: CALLS[rng.usize(..CALLS.len())] }
        }
        13..15 => draw_trick(rng),
        15 | 16 => draw_world(rng),
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
        let ledger = Ledger::new(sandbox.world().routes());
        Self {
            rng,
            sandbox,
            brokers,
            _guard: guard,
            revoked: false,
            last: 0,
            paused: STEPS,
            calm: true,
            jobs_fail: false,
            ledger,
            begun: Instant::now(),
            told: String::new(),
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        for number in 0..STEPS {
            let step = draw_step(&mut self.rng, &mut self.last);
            // Each answer under paused jobs takes as long as the broker is patient.
            if number > self.paused + 2 {
                self.sandbox.world().resume_jobs();
            }
            _ = writeln!(self.told, "{number:>3} {:?} {step:?}", self.begun.elapsed());
            if matches!(step, Step::World { lever: "pause_jobs", .. }) {
                self.paused = number;
            }
            self.step(step).await?;
        }
        self.end().await
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Act(act) => self.asked(act).await.map(drop),
            Step::Pair(one, two) => self.asked_both(one, two).await,
            Step::Return { acts, delay } => {
                self.sandbox.world().job_delay(Duration::from_millis(delay.into()));
                for act in acts {
                    self.asked(act).await?;
                }
                Ok(())
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
                if lever == "fail_jobs" {
                    (self.calm, self.jobs_fail) = (false, true);
                }
                // A host that is taken stays so.
                let done = self.sandbox.pull(lever, &args);
                if lever == "take_host" && done.is_ok() {
                    // The newest one stands last.
                    self.sandbox
                        .world()
                        .routes()
                        .pop()
                        .into_iter()
                        .for_each(|route| self.ledger.bystander(route));
                }
                Ok(())
            }
            Step::Settle => self.settle().await,
        }
    }

    async fn asked(&mut self, act: Act) -> Result<Answer, String> {
        self.ledger.begin(act);
        let before = self.sandbox.world().routes();
        let answer = self.brokers[act.broker].ask(&self.sandbox, act).await?;
        self.note(act, &answer)?;
        let after = self.sandbox.world().routes();
        self.ledger.told(act, &answer, self.calm, [&before, &after])?;
        Ok(answer)
    }

    async fn asked_both(&mut self, one: Act, two: Act) -> Result<(), String> {
        self.ledger.begin(one);
        self.ledger.begin(two);
        let (first, second) = tokio::join!(
            self.brokers[one.broker].ask(&self.sandbox, one),
            self.brokers[two.broker].ask(&self.sandbox, two),
        );
        let (first, second) = (first?, second?);
        self.note(one, &first)?;
        self.note(two, &second)?;
        let after = self.sandbox.world().routes();
        self.ledger.told_both([(one, &first), (two, &second)], self.calm, &after)
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

    async fn crash(&mut self, act: Act, lever: &str, call: &str) -> Result<(), String> {
        self.calm = false;
        self.ledger.begin(act);
        self.ledger.lost(act);
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

    /// Lets everything end that CF was asked for; then what is known must be so.
    async fn settle(&mut self) -> Result<(), String> {
        pull(&self.sandbox, "clear", &json!({"part": "cf"}));
        self.sandbox.world().fail_jobs(0, "");
        self.sandbox.world().resume_jobs();
        self.sandbox.world().job_delay(Duration::from_millis(50));
        let settled = timeout(Duration::from_secs(10), quiet(&self.sandbox)).await;
        settled.map_err(|_| "it does not come to rest".to_owned())?;
        self.ledger.settled(!self.jobs_fail);
        (self.calm, self.jobs_fail) = (true, false);
        self.ledger.compare(&self.sandbox.world().routes())
    }

    /// One last wish of each tenant without any fault, compared with the model.
    async fn end(&mut self) -> Result<(), String> {
        self.settle().await?;
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
        let routes = self.sandbox.world().routes();
        model.compare(&routes)?;
        self.ledger.compare(&routes)
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

fn host_of(tenant: usize) -> String {
    format!("{}-{APP}", TENANTS[tenant].2)
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
        let hosts = (0..TENANTS.len()).map(host_of).collect::<BTreeSet<_>>();
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
        let host = host_of(act.tenant);
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
        let whole = |route: &RouteView| owner_of(route).is_none() || is_whole(route);
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

/// Waits until no route is being deleted and CF hears nothing new.
async fn quiet(sandbox: &Sandbox) {
    let (mut heard, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        sleep(Duration::from_millis(20)).await;
        let now = sandbox.journal().len();
        let busy = sandbox.world().routes().iter().any(|route| route.deleting);
        if busy || now != heard {
            (heard, since) = (now, Instant::now());
        }
    }
}

/// Returns how many promises were compared with the world.
async fn history(seed: u64, places: Arc<Semaphore>) -> Result<usize, String> {
    let _place = places.acquire_owned().await.unwrap();
    let mut history = History::new(seed).await;
    let done = history.run().await;
    done.map_err(|error| format!("seed {seed}\n{}{error}", history.told))?;
    // Shown by `--nocapture`.
    println!("seed {seed}: {} promises\n{}", history.ledger.kept, history.told);
    Ok(history.ledger.kept)
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    let named = std::env::var(MORE_SEEDS);
    let Ok(named) = named else { return SEEDS };
    let (first, last) = named.split_once('-').expect("first-last");
    first.parse().unwrap()..=last.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happened_promises_are_kept_and_the_last_wish_of_each_tenant_comes_true() {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut set = JoinSet::new();
    let seeds = seeds();
    for seed in seeds.clone() {
        set.spawn(history(seed, Arc::clone(&places)));
    }
    let done = set.join_all().await;
    let failed = done.iter().filter_map(|done| done.as_ref().err()).cloned().collect::<Vec<_>>();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // Each history ends with a promise to each tenant, and more are to be kept on the way.
    let kept = done.iter().flatten().sum::<usize>();
    assert!(kept > seeds.count() * 2 * TENANTS.len(), "{kept} promises");
}
