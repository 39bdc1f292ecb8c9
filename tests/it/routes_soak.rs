//! Three instances that are killed at random, and random requests for many tenants: each answer and
//! the routes are those of a serial order, as the requests left them and after a last request of
//! each tenant.
//!
//! By hand, for five minutes:
//! `SOAK_SECONDS=300 SOAK_SEED=7 cargo test --test it routes_soak:: -- --nocapture`

mod serial_order;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cfapi_sandbox::{Sandbox, world::RouteView};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{APP, client, parse, process::Program, pull, sandbox, variables};
use serial_order::{Effect, Performed, State};

const INSTANCES: usize = 3;
const TENANTS: usize = 200;
/// Tenants whose last delete fails in CF once, after its answer.
const FAILING: usize = 8;
const WORKERS: usize = 16;
/// Of the short run in the test suite.
const SECONDS: u64 = 15;
/// How long no request is sent before the routes are judged: as long as the broker follows a job,
/// and a few seconds in the short run, where all jobs end at once.
const SETTLING: Duration = Duration::from_secs(30);
const SHORT_SETTLING: Duration = Duration::from_secs(4);
/// The broker's own deadline is 55 s.
const LONGEST_ANSWER: Duration = Duration::from_secs(70);
const STATE: &str = "cfapi-broker.internal/state";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Delete,
    DeleteAsync,
}

/// The base URLs of the instances; `None` while one is started.
type Bases = Mutex<[Option<String>; INSTANCES]>;

struct Soak {
    sandbox: Sandbox,
    bases: Bases,
    performed: Mutex<BTreeMap<usize, Vec<Performed>>>,
    /// By tenant: the instance that said last that CF is still deleting, and its operation.
    following: Mutex<BTreeMap<usize, (String, String)>>,
    /// Tenants whose delete failed in CF after its instance was killed. The next call finishes it.
    left_by_a_kill: AtomicUsize,
    /// Tenants whose delete failed twice in CF after its answer. The operation says so.
    failed_later: AtomicUsize,
    /// The tenant that was chosen last, so that requests for one tenant meet.
    last: AtomicUsize,
    answers: Mutex<BTreeMap<String, usize>>,
    violations: Mutex<Vec<String>>,
    started: Instant,
}

/// A number of this run, from the environment.
fn number(name: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    let named = std::env::var(name);
    named.map_or(default, |text| text.parse().expect("a number"))
}

impl Soak {
    fn base(&self, instance: usize) -> Option<String> {
        self.bases.lock().unwrap()[instance].clone()
    }

    /// The tenant's routes, of any host.
    fn routes_of(&self, tenant: usize) -> Vec<RouteView> {
        let host = format!("soak{tenant}-{APP}");
        self.sandbox.world().routes().into_iter().filter(|route| route.host == host).collect()
    }

    async fn perform(&self, http: &reqwest::Client, (tenant, what): (usize, What), base: &str) {
        let marked = self.routes_of(tenant).into_iter();
        let marked = marked.filter(|route| route.labels.contains_key(STATE));
        let marked = marked.map(|route| route.guid).next();
        let begun = self.started.elapsed();
        let answered = self.ask(http, (tenant, what), base).await;
        let word = match &answered {
            Some((status, body)) => {
                let detail = body["outcome"].as_str().or(body["code"].as_str());
                format!("{what:?} {status} {}", detail.unwrap_or_default())
            }
            None => format!("{what:?} lost"),
        };
        *self.answers.lock().unwrap().entry(word.clone()).or_default() += 1;
        let effect = effect(what, answered.as_ref());
        match &answered {
            Some((202, body)) => {
                let operation = body["location"].as_str().unwrap_or_default().to_owned();
                self.following.lock().unwrap().insert(tenant, (base.to_owned(), operation));
            }
            Some((200 | 201 | 204, _)) => _ = self.following.lock().unwrap().remove(&tenant),
            _ => {}
        }
        if let (Effect::Found(guid), Some(marked)) = (&effect, &marked)
            && guid == marked
        {
            let text = format!("tenant {tenant} at {begun:?}: {word} of a marked route {guid}");
            self.violations.lock().unwrap().push(text);
        }
        if let Some((status, body)) = &answered
            && *status >= 400
            && body["retryable"] != true
        {
            let text = format!("tenant {tenant} at {begun:?}: {word} is no answer to this request");
            self.violations.lock().unwrap().push(text);
        }
        // A create whose route is deleted meanwhile ends with that answer.
        let is_over = answered.is_some_and(|(_, body)| body["code"] == "route_being_deleted");
        let ended = (is_over || !effect.is_unknown()).then(|| self.started.elapsed());
        let done = Performed { begun, ended, effect };
        self.performed.lock().unwrap().entry(tenant).or_default().push(done);
    }

    /// Sends a request; `None` if the instance was killed.
    async fn ask(
        &self,
        http: &reqwest::Client,
        (tenant, what): (usize, What),
        base: &str,
    ) -> Option<(u16, Value)> {
        let url = format!("{base}/routes/t{tenant}");
        let request = match what {
            What::Put => {
                let body = json!({"subdomain": format!("soak{tenant}"), "app": APP}).to_string();
                http.put(url).header("content-type", "application/json").body(body)
            }
            What::Delete => http.delete(url),
            What::DeleteAsync => http.delete(url).header("prefer", "respond-async"),
        };
        let request = request.bearer_auth(self.sandbox.provider_token()).timeout(LONGEST_ANSWER);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").cloned();
        #[expect(clippy::disallowed_methods, reason = "the tests' own client")]
        let bytes = response.bytes().await.ok()?;
        let mut body = parse(&String::from_utf8_lossy(&bytes));
        if let (202, Some(location)) = (status, location) {
            body["location"] = location.to_str().unwrap().into();
        }
        Some((status, body))
    }

    /// Sends random requests until the end.
    async fn work(&self, mut rng: Rng, end: Instant) {
        let http = client();
        while Instant::now() < end {
            if rng.u8(0..3) == 0 {
                self.last.store(rng.usize(..TENANTS), Ordering::Relaxed);
            }
            let what = match rng.u8(0..10) {
                0..6 => What::Put,
                6..8 => What::Delete,
                _ => What::DeleteAsync,
            };
            let tenant = self.last.load(Ordering::Relaxed);
            match self.base(rng.usize(..INSTANCES)) {
                Some(base) => self.perform(&http, (tenant, what), &base).await,
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Kills instances at random and starts them again. Returns how many, and those that run.
    async fn kill(
        &self,
        mut rng: Rng,
        mut programs: Vec<Program>,
        end: Instant,
    ) -> (usize, Vec<Program>) {
        let mut killed = 0;
        loop {
            sleep(Duration::from_millis(rng.u64(1000..5000))).await;
            if Instant::now() >= end {
                return (killed, programs);
            }
            let instance = rng.usize(..INSTANCES);
            self.bases.lock().unwrap()[instance] = None;
            programs[instance] = start(&self.sandbox);
            killed += 1;
            let base = programs[instance].base().await;
            self.bases.lock().unwrap()[instance] = Some(base);
        }
    }

    /// Changes how long jobs take, and who loses a race.
    async fn disturb(&self, mut rng: Rng, end: Instant) {
        while Instant::now() < end {
            self.sandbox.world().job_delay(Duration::from_millis(rng.u64(20..3000)));
            let races = [(200, true), (500, true), (500, false), (404, false)];
            let (status, fails) = races[rng.usize(..races.len())];
            self.sandbox.world().label_race(status, Some(fails)).unwrap();
            pull(&self.sandbox, "latency", &json!({"part": "cf", "ms": rng.u64(0..30)}));
            self.sandbox.clear_journal();
            sleep(Duration::from_millis(700)).await;
        }
    }

    /// Lets the jobs of some tenants fail after their last delete was answered, and then waits
    /// until nothing happens any more, without any request.
    async fn settle(&self, mut rng: Rng, time: Duration) {
        self.sandbox.world().job_delay(Duration::from_millis(50));
        pull(&self.sandbox, "latency", &json!({"part": "cf", "ms": 0}));
        let http = client();
        for tenant in 0..FAILING {
            self.until_answered(&http, (tenant, What::Put), &mut rng).await;
            self.wait_for_jobs().await;
            self.sandbox.world().fail_jobs(1, "The job failed.");
            self.until_answered(&http, (tenant, What::DeleteAsync), &mut rng).await;
        }
        self.wait_for_jobs().await;
        sleep(time).await;
        self.wait_for_jobs().await;
    }

    async fn wait_for_jobs(&self) {
        let idle = async {
            while self.sandbox.world().routes().iter().any(|route| route.deleting) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), idle).await.expect("CF's jobs end");
    }

    /// One last request of each tenant, repeated while that helps, and the end of CF's work.
    async fn finish(self: &Arc<Self>, mut rng: Rng) {
        let mut set = JoinSet::new();
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..WORKERS {
            let (this, next, mut rng) = (Arc::clone(self), Arc::clone(&next), rng.fork());
            set.spawn(async move {
                let http = client();
                loop {
                    let tenant = next.fetch_add(1, Ordering::Relaxed);
                    if tenant >= TENANTS {
                        return;
                    }
                    this.last_request(&http, tenant, &mut rng).await;
                }
            });
        }
        set.join_all().await;
        self.wait_for_jobs().await;
    }

    async fn last_request(&self, http: &reqwest::Client, tenant: usize, rng: &mut Rng) {
        let what = if rng.bool() { What::Put } else { What::Delete };
        self.until_answered(http, (tenant, what), rng).await;
    }

    /// Repeats a request while that helps.
    async fn until_answered(
        &self,
        http: &reqwest::Client,
        (tenant, what): (usize, What),
        rng: &mut Rng,
    ) {
        for _ in 0..20 {
            let base = self.base(rng.usize(..INSTANCES)).expect("all instances run");
            self.perform(http, (tenant, what), &base).await;
            if self.is_answered(tenant) {
                return;
            }
            sleep(Duration::from_millis(300)).await;
        }
        let text = format!("tenant {tenant}: the last {what:?} never succeeds");
        self.violations.lock().unwrap().push(text);
    }

    /// Whether the tenant's last request did what it asked for.
    fn is_answered(&self, tenant: usize) -> bool {
        let performed = self.performed.lock().unwrap();
        performed[&tenant].last().is_some_and(|done| {
            matches!(done.effect, Effect::Created(_) | Effect::Found(_) | Effect::Deleted)
        })
    }

    /// Compares each tenant's answers with the routes as its requests left them. A route that is
    /// marked or not mapped is served all the same, or not yet: it stands only where a request
    /// without an answer explains it.
    async fn judge_what_is_left(&self) {
        let all = self.performed.lock().unwrap().clone();
        for (tenant, performed) in &all {
            let routes = self.routes_of(*tenant);
            let state = match routes.as_slice() {
                [] => State::Absent,
                [route] => State::Route(route.guid.clone()),
                other => {
                    let text = format!("tenant {tenant} has several routes: {other:#?}");
                    self.violations.lock().unwrap().push(text);
                    continue;
                }
            };
            let is_partly_made = routes.first().is_some_and(|route| route.apps != [APP]);
            let is_clear = performed.iter().all(|done| done.ended.is_some());
            if serial_order::exists(performed, &state) && !(is_partly_made && is_clear) {
                continue;
            }
            let is_marked = routes.first().is_some_and(|route| route.labels.contains_key(STATE));
            let following = self.following.lock().unwrap().get(tenant).cloned();
            let told = match following {
                Some((follower, _)) if is_marked && self.is_killed(&follower) => {
                    Some(&self.left_by_a_kill)
                }
                Some((_, operation)) if !is_marked && self.has_failed(&operation).await => {
                    self.take_back_delete(*tenant);
                    Some(&self.failed_later)
                }
                _ => None,
            };
            if let Some(count) = told {
                count.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let text = format!("tenant {tenant} is left with {routes:#?} after {performed:#?}");
            self.violations.lock().unwrap().push(text);
        }
    }

    /// A delete whose operation says that it failed deleted nothing.
    fn take_back_delete(&self, tenant: usize) {
        let mut performed = self.performed.lock().unwrap();
        let of_tenant = performed.get_mut(&tenant).expect("it was asked for");
        let last = of_tenant.iter_mut().rfind(|done| done.effect == Effect::Deleted);
        last.expect("it was answered").effect = Effect::Nothing;
    }

    fn is_killed(&self, base: &str) -> bool {
        !self.bases.lock().unwrap().iter().flatten().any(|running| running == base)
    }

    /// Whether an operation says that it failed. Its instance may have been killed since then.
    async fn has_failed(&self, operation: &str) -> bool {
        let request = client().get(operation).bearer_auth(self.sandbox.provider_token());
        let Ok(response) = request.send().await else { return false };
        #[expect(clippy::disallowed_methods, reason = "the tests' own client")]
        let bytes = response.bytes().await.unwrap_or_default();
        parse(&String::from_utf8_lossy(&bytes))["status"] == "failed"
    }

    /// Compares each tenant's answers with the routes at the end.
    fn judge(&self) {
        for (tenant, performed) in &*self.performed.lock().unwrap() {
            let routes = self.routes_of(*tenant);
            let state = match routes.as_slice() {
                [] => State::Absent,
                [route] if is_complete(route) => State::Route(route.guid.clone()),
                other => {
                    let text = format!("tenant {tenant} is left with {other:#?}");
                    self.violations.lock().unwrap().push(text);
                    continue;
                }
            };
            if !serial_order::exists(performed, &state) {
                let text =
                    format!("tenant {tenant}: no serial order ends with {state:?}: {performed:#?}");
                self.violations.lock().unwrap().push(text);
            }
        }
    }
}

fn is_complete(route: &RouteView) -> bool {
    route.apps == [APP] && !route.labels.contains_key(STATE)
}

/// What an answer says about the tenant's route.
fn effect(what: What, answered: Option<&(u16, Value)>) -> Effect {
    let maybe = if what == What::Put { Effect::MayCreate } else { Effect::MayDelete };
    let Some((status, body)) = answered else { return maybe };
    let guid = body["route"]["guid"].as_str().unwrap_or_default().to_owned();
    match (what, status, body["outcome"].as_str()) {
        (What::Put, 200 | 201, Some("created")) => Effect::Created(guid),
        (What::Put, 200 | 201, Some("unchanged" | "repaired")) => Effect::Found(guid),
        (What::Delete | What::DeleteAsync, 202 | 204, _) => Effect::Deleted,
        _ if did_nothing(*status, body) => Effect::Nothing,
        _ => maybe,
    }
}

/// Whether an answer says that nothing was begun. The bound of calls to CF may also be reached in
/// the middle.
fn did_nothing(status: u16, body: &Value) -> bool {
    let is_of_cf = body["detail"].as_str().is_some_and(|detail| detail.contains("CF API"));
    match body["code"].as_str() {
        Some("draining") => true,
        Some("overloaded") => !is_of_cf,
        _ => status == 429,
    }
}

fn start(sandbox: &Sandbox) -> Program {
    let mut variables = variables(sandbox);
    for (name, value) in
        [("REQUESTS_PER_SECOND", "10000"), ("BURST", "10000"), ("MAX_IN_FLIGHT", "200")]
    {
        variables.insert(format!("CFAPI_AUTH__{name}"), value.to_owned());
    }
    Program::start(&["--log", "json"], &variables)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_and_the_routes_at_the_end_are_those_of_a_serial_order() {
    let seed = number("SOAK_SEED", 1);
    let seconds = number("SOAK_SECONDS", SECONDS);
    let mut rng = Rng::with_seed(seed);
    let sandbox = sandbox().await;
    sandbox.world().quota("provider-org", None).unwrap();
    let mut programs: Vec<_> = (0..INSTANCES).map(|_| start(&sandbox)).collect();
    let mut bases = [const { None }; INSTANCES];
    for (base, program) in bases.iter_mut().zip(&mut programs) {
        *base = Some(program.base().await);
    }
    let soak = Arc::new(Soak {
        sandbox,
        bases: Mutex::new(bases),
        performed: Mutex::default(),
        following: Mutex::default(),
        left_by_a_kill: AtomicUsize::new(0),
        failed_later: AtomicUsize::new(0),
        last: AtomicUsize::new(0),
        answers: Mutex::default(),
        violations: Mutex::default(),
        started: Instant::now(),
    });
    soak.sandbox.world().map_race(true);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut set = JoinSet::new();
    for _ in 0..WORKERS {
        let (soak, rng) = (Arc::clone(&soak), rng.fork());
        set.spawn(async move { soak.work(rng, end).await });
    }
    let (disturbing, disturbed) = (Arc::clone(&soak), rng.fork());
    set.spawn(async move { disturbing.disturb(disturbed, end).await });
    let (killed, programs) = soak.kill(rng.fork(), programs, end).await;
    set.join_all().await;
    let settling = if seconds > SECONDS { SETTLING } else { SHORT_SETTLING };
    soak.settle(rng.fork(), settling).await;
    soak.judge_what_is_left().await;
    soak.finish(rng.fork()).await;
    soak.judge();
    drop(programs);
    let answers = soak.answers.lock().unwrap().clone();
    let violations = soak.violations.lock().unwrap().clone();
    let requests: usize = answers.values().sum();
    let performed = soak.performed.lock().unwrap().clone();
    let open = performed.values().flatten().filter(|done| done.ended.is_none()).count();
    // Shown with `--nocapture`.
    println!(
        "seed {seed}, {seconds} s: {requests} requests for {} tenants, {open} without a definite answer, {killed} kills, {} deletes left by a kill, {} failed later, {} violations\n{answers:#?}",
        performed.len(),
        soak.left_by_a_kill.load(Ordering::Relaxed),
        soak.failed_later.load(Ordering::Relaxed),
        violations.len(),
    );
    assert!(violations.is_empty(), "seed {seed}\n{}", violations.join("\n"));
}
