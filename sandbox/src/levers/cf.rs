//! The levers of the CF world by name, with JSON arguments: `POST /{lever}`, and the lines of a
//! recording.

use std::time::Duration;

use serde_json::{Value, json};

use crate::capi::is_flag;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::world::{CfWorld, Fill, Role, UaaLink};

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
                "bind_route",
                "puts a route service in front of a route: {\"host\",\"domain\",\"url\"}",
            ),
            (
                "quota",
                "sets the route quota: {\"org\",\"n\":1} or {\"space\",\"n\":1}; null = none",
            ),
            (
                "rate_limit",
                "limits requests: {\"n\":100,\"retry_after\":60} of users, {\"unauthenticated\":n} by address, or both; null = off",
            ),
            ("database_down", "CC has no database: a good token gets an empty 500: {\"on\":true}"),
            (
                "uaa_down",
                "CC does not reach its UAA: {\"on\":true}; with \"cached\":false it does not know the issuer either",
            ),
            ("older_release", "leaves newer fields out: {\"on\":true}"),
            ("add_app", "adds an app: {\"name\",\"space\"}"),
            ("add_domain", "adds a domain: {\"name\",\"org\"}; without org it is shared"),
            (
                "fill",
                "adds many: {\"spaces\":100,\"apps\":100,\"routes\":250,\"labels\":{},\"annotations\":{}}; {n} in a value is the number of the route",
            ),
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
    pub fn pull(&self, lever: &str, args: &Value) -> Option<LeverResult> {
        let known = arguments(lever)?;
        Some(LeverArgs::read(args, known).and_then(|args| self.pull_read(lever, &args)))
    }

    fn pull_read(&self, lever: &str, args: &LeverArgs<'_>) -> LeverResult {
        let guid = match lever {
            "take_host" => self.pull_take_host(args),
            "bind_route" => self.pull_bind_route(args),
            "add_app" => self.add_app(args.text("name")?, args.text("space")?),
            "add_domain" => self.add_domain(args.text("name")?, args.maybe_text("org")?),
            _ => return self.pull_plain(lever, args).map(|()| json!({})),
        };
        guid.map(|guid| json!({ "guid": guid }))
    }

    /// Pulls a lever that creates nothing.
    fn pull_plain(&self, lever: &str, args: &LeverArgs<'_>) -> Result<(), String> {
        match lever {
            "pause_jobs" => self.pause_jobs(),
            "resume_jobs" => self.resume_jobs(),
            "older_release" => self.older_release(args.is_on()?),
            "map_race" => self.map_race(args.is_on()?),
            "database_down" => self.database_down(args.is_on()?),
            "uaa_down" => self.uaa_link(uaa_link(args)?),
            "job_delay" => self.job_delay(Duration::from_millis(number(args, "ms")?)),
            "reserve_host" => self.reserve_host(args.text("host")?, args.text("domain")?),
            "feature" => {
                let name = args.text("name")?;
                if !is_flag(name) {
                    return Err(format!("no feature flag {name}"));
                }
                self.feature(name, args.is_on()?, args.maybe_text("message")?);
            }
            "fail_jobs" => {
                let detail = args.maybe_text("detail")?;
                let count = maybe_number(args, "n")?.unwrap_or(1);
                self.fail_jobs(count, detail.unwrap_or("The job execution has timed out."));
            }
            "label_race" => {
                let fails = args.get("job_fails").map(|_| args.flag("job_fails", true));
                let status = maybe_number(args, "status")?.unwrap_or(200);
                self.label_race(status, fails.transpose()?)?;
            }
            "fill" => self.pull_fill(args)?,
            "quota" => self.pull_quota(args)?,
            "rate_limit" => self.pull_rate_limit(args)?,
            "set_role" => self.pull_set_role(args)?,
            "suspend" => match args.maybe_text("space")? {
                Some(space) => self.suspend_space(space, args.is_on()?)?,
                None => self.suspend(args.text("org")?, args.is_on()?)?,
            },
            _ => self.space_deleting(args.text("space")?, args.is_on()?)?,
        }
        Ok(())
    }

    fn pull_take_host(&self, args: &LeverArgs<'_>) -> Result<String, String> {
        let domain = args.maybe_text("domain")?.unwrap_or("cfapps.example.test");
        let space = args.maybe_text("space")?.unwrap_or("fspace");
        self.take_host(args.text("host")?, domain, space)
    }

    fn pull_bind_route(&self, args: &LeverArgs<'_>) -> Result<String, String> {
        let domain = args.maybe_text("domain")?.unwrap_or("cfapps.example.test");
        let url = args.maybe_text("url")?.unwrap_or("https://route-service.example.test");
        self.bind_route(args.text("host")?, domain, url)
    }

    fn pull_fill(&self, args: &LeverArgs<'_>) -> Result<(), String> {
        let count = |name: &str| {
            let number = maybe_number(args, name)?.unwrap_or(0);
            usize::try_from(number).map_err(|_| format!("argument {name} is too large"))
        };
        let texts = |name: &str| {
            let entries = args.map(name)?.into_iter().map(|(key, value)| {
                let text = value.as_str().map(str::to_owned);
                text.map(|text| (key, text)).ok_or_else(|| format!("{name} must be texts"))
            });
            entries.collect::<Result<Vec<_>, String>>()
        };
        self.fill(&Fill {
            spaces: count("spaces")?,
            apps: count("apps")?,
            routes: count("routes")?,
            labels: texts("labels")?,
            annotations: texts("annotations")?,
        })
    }

    fn pull_quota(&self, args: &LeverArgs<'_>) -> Result<(), String> {
        let routes = maybe_number(args, "n")?;
        let routes = routes.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match args.maybe_text("space")? {
            Some(space) => self.space_quota(space, routes),
            None => self.quota(args.text("org")?, routes),
        }
    }

    fn pull_rate_limit(&self, args: &LeverArgs<'_>) -> Result<(), String> {
        let retry_after = maybe_number(args, "retry_after")?.unwrap_or(60);
        let by_address = args.is_named("unauthenticated");
        if by_address {
            self.rate_limit_addresses(maybe_number(args, "unauthenticated")?, retry_after);
        }
        if !by_address || args.is_named("n") {
            self.rate_limit(maybe_number(args, "n")?, retry_after);
        }
        Ok(())
    }

    fn pull_set_role(&self, args: &LeverArgs<'_>) -> Result<(), String> {
        let resource = match args.maybe_text("space")? {
            Some(space) => space,
            None => args.text("org")?,
        };
        let role = match args.maybe_text("role")?.unwrap_or("none") {
            "none" => None,
            name => Some(Role::parse(name).ok_or("no such role")?),
        };
        self.set_role(args.text("user")?, resource, role)
    }
}

/// Returns the names of a lever's arguments; `None` if it is not a lever of the CF world.
fn arguments(lever: &str) -> Option<&'static [&'static str]> {
    Some(match lever {
        "pause_jobs" | "resume_jobs" => &[],
        "fail_jobs" => &["n", "detail"],
        "job_delay" => &["ms"],
        "label_race" => &["status", "job_fails"],
        "map_race" | "older_release" | "database_down" => &["on"],
        "uaa_down" => &["on", "cached"],
        "take_host" => &["host", "domain", "space"],
        "bind_route" => &["host", "domain", "url"],
        "quota" => &["org", "space", "n"],
        "rate_limit" => &["n", "retry_after", "unauthenticated"],
        "add_app" => &["name", "space"],
        "add_domain" => &["name", "org"],
        "fill" => &["spaces", "apps", "routes", "labels", "annotations"],
        "reserve_host" => &["host", "domain"],
        "set_role" => &["user", "space", "org", "role"],
        "suspend" => &["org", "space", "on"],
        "space_deleting" => &["space", "on"],
        "feature" => &["name", "on", "message"],
        _ => return None,
    })
}

fn uaa_link(args: &LeverArgs<'_>) -> Result<UaaLink, String> {
    Ok(match (args.is_on()?, args.flag("cached", true)?) {
        (false, _) => UaaLink::Up,
        (true, true) => UaaLink::Down,
        (true, false) => UaaLink::DownWithoutIssuer,
    })
}

fn number(args: &LeverArgs<'_>, name: &str) -> Result<u64, String> {
    maybe_number(args, name)?.ok_or_else(|| format!("argument {name} is missing"))
}

/// Reads a number that may be absent or null.
fn maybe_number(args: &LeverArgs<'_>, name: &str) -> Result<Option<u64>, String> {
    let number = args.maybe_number(name)?.map(u64::try_from).transpose();
    number.map_err(|_| format!("argument {name} must not be negative"))
}
