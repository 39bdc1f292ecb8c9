//! The levers of the CF world by name, with JSON arguments: `POST /{lever}`. Called only by
//! `levers`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{CfWorld, Role};

/// The arguments of one call.
struct CfLeverArgs<'a>(&'a Value);

impl CfWorld {
    /// Returns the levers of the CF world: the name, and one line with effect and arguments.
    pub fn levers() -> &'static [(&'static str, &'static str)] {
        &[
            ("pause_jobs", "stops the job worker: deletes stay PROCESSING"),
            ("resume_jobs", "lets the job worker go on"),
            ("fail_jobs", "lets the next jobs end FAILED: {\"n\":1,\"detail\":\"…\"}"),
            ("job_delay", "sets how long jobs take: {\"ms\":200}"),
            (
                "label_race",
                "sets what a label PATCH during a delete job becomes: {\"status\":200|404|500,\"job_fails\":true}",
            ),
            ("map_race", "one of two equal maps at the same moment is 500: {\"on\":true}"),
            ("take_host", "puts a foreign route in the way: {\"host\",\"domain\",\"space\"}"),
            (
                "quota",
                "sets the route quota: {\"org\",\"n\":1} or {\"space\",\"n\":1}; null = none",
            ),
            (
                "rate_limit",
                "limits requests: {\"n\":100,\"retry_after\":60} of users, {\"unauthenticated\":n} by address, or both; null = off",
            ),
            ("older_release", "leaves newer fields out: {\"on\":true}"),
            ("add_app", "adds an app: {\"name\",\"space\"}"),
            ("add_domain", "adds a domain: {\"name\",\"org\"}; without org it is shared"),
            ("reserve_host", "reserves a host for the platform: {\"host\",\"domain\"}"),
            (
                "set_role",
                "replaces a user's role: {\"user\",\"space\",\"role\":\"developer|supporter|manager|auditor|org_manager|org_auditor|none\"}",
            ),
            ("suspend", "suspends: {\"org\",\"on\":true} or {\"space\",\"on\":true}"),
            ("space_deleting", "marks a space as being deleted: {\"space\",\"on\":true}"),
            (
                "feature",
                "sets a feature flag: {\"name\":\"route_creation\",\"on\":false,\"message\"}",
            ),
        ]
    }

    /// Pulls a lever by name. `None` if the name is not a lever of the CF world, an error if the
    /// arguments are wrong.
    pub fn pull(&self, lever: &str, args: &Value) -> Option<Result<Value, String>> {
        let args = CfLeverArgs(args);
        let made = match lever {
            "take_host" => self.pull_take_host(&args),
            "add_app" => args.text("name").and_then(|name| self.add_app(name, args.text("space")?)),
            "add_domain" => {
                args.text("name").and_then(|name| self.add_domain(name, args.text("org").ok()))
            }
            _ => return Some(self.pull_plain(lever, &args)?.map(|()| json!({}))),
        };
        Some(made.map(|guid| json!({ "guid": guid })))
    }

    /// Pulls a lever that creates nothing.
    fn pull_plain(&self, lever: &str, args: &CfLeverArgs<'_>) -> Option<Result<(), String>> {
        match lever {
            "pause_jobs" => self.pause_jobs(),
            "resume_jobs" => self.resume_jobs(),
            "older_release" => self.older_release(args.on()),
            "map_race" => self.map_race(args.on()),
            "fail_jobs" => {
                let detail = args.text("detail").unwrap_or("The job execution has timed out.");
                self.fail_jobs(args.number("n").unwrap_or(1), detail);
            }
            "job_delay" => return Some(self.pull_job_delay(args)),
            "label_race" => return Some(self.pull_label_race(args)),
            "quota" => return Some(self.pull_quota(args)),
            "rate_limit" => return Some(self.pull_rate_limit(args)),
            "reserve_host" => return Some(self.pull_reserve_host(args)),
            "set_role" => return Some(self.pull_set_role(args)),
            "suspend" => return Some(self.pull_suspend(args)),
            "feature" => return Some(self.pull_feature(args)),
            "space_deleting" => {
                let space = args.text("space");
                return Some(space.and_then(|space| self.space_deleting(space, args.on())));
            }
            _ => return None,
        }
        Some(Ok(()))
    }

    fn pull_job_delay(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        self.job_delay(Duration::from_millis(args.number("ms")?));
        Ok(())
    }

    fn pull_label_race(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        let job_fails = args.0.get("job_fails").and_then(Value::as_bool);
        self.label_race(args.optional_number("status")?.unwrap_or(200), job_fails)
    }

    fn pull_feature(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        self.feature(args.text("name")?, args.on(), args.text("message").ok());
        Ok(())
    }

    fn pull_take_host(&self, args: &CfLeverArgs<'_>) -> Result<String, String> {
        let domain = args.text("domain").unwrap_or("cfapps.example.test");
        let space = args.text("space").unwrap_or("fspace");
        self.take_host(args.text("host")?, domain, space)
    }

    fn pull_quota(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        let routes = args.optional_number("n")?;
        let routes = routes.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match args.text("space") {
            Ok(space) => self.space_quota(space, routes),
            Err(_) => self.quota(args.text("org")?, routes),
        }
    }

    fn pull_rate_limit(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        let retry_after = args.number("retry_after").unwrap_or(60);
        let by_address = args.0.get("unauthenticated").is_some();
        if by_address {
            self.rate_limit_addresses(args.optional_number("unauthenticated")?, retry_after);
        }
        if !by_address || args.0.get("n").is_some() {
            self.rate_limit(args.optional_number("n")?, retry_after);
        }
        Ok(())
    }

    fn pull_reserve_host(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        self.reserve_host(args.text("host")?, args.text("domain")?);
        Ok(())
    }

    fn pull_set_role(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        let resource = args.text("space").or_else(|_| args.text("org"))?;
        let role = match args.text("role").unwrap_or("none") {
            "none" => None,
            name => Some(Role::parse(name).ok_or("no such role")?),
        };
        self.set_role(args.text("user")?, resource, role)
    }

    fn pull_suspend(&self, args: &CfLeverArgs<'_>) -> Result<(), String> {
        match args.text("space") {
            Ok(space) => self.suspend_space(space, args.on()),
            Err(_) => self.suspend(args.text("org")?, args.on()),
        }
    }
}

impl CfLeverArgs<'_> {
    fn text(&self, key: &str) -> Result<&str, String> {
        let value = self.0.get(key).and_then(Value::as_str);
        value.ok_or_else(|| format!("`{key}` must be a text"))
    }

    fn number(&self, key: &str) -> Result<u64, String> {
        let value = self.0.get(key).and_then(Value::as_u64);
        value.ok_or_else(|| format!("`{key}` must be a whole number"))
    }

    /// Reads a number that may be absent or null.
    fn optional_number(&self, key: &str) -> Result<Option<u64>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.number(key).map(Some),
        }
    }

    /// Reads `on`. The default is true.
    fn on(&self) -> bool {
        self.0.get("on").and_then(Value::as_bool).unwrap_or(true)
    }
}
