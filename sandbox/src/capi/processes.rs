//! Processes: each app has one, of the type `web`, with the guid of the app (as in CC). Lists hide
//! its command from everybody, a single one shows it only to developers (source).

use serde_json::Number;

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{ApiRefusal, bad_query, not_found};
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck, comma_list, unknown_parameters};
use crate::capi::present::Presenter;
use crate::world::{App, Metadata, Resource, Timestamps};

const PROCESSES: ListRule = ListRule {
    filters: &[
        "app_guid",
        "types",
        "space_guids",
        "organization_guids",
        "app_guids",
        "embed",
        "label_selector",
    ],
    plain: &["label_selector"],
    order: &["created_at", "updated_at"],
    includes: &[],
    selector: SelectorCheck::Full,
};
const WEB: &str = "web";
const INSTANCES: &str = "process_instances";
/// What CC writes in place of a command.
const HIDDEN: &str = "[PRIVATE DATA HIDDEN]";
const HIDDEN_IN_LISTS: &str = "[PRIVATE DATA HIDDEN IN LISTS]";
/// The command of every process. It stands for a text with a secret.
const COMMAND: &str = "npm start -- --token=sandbox-only-command-secret";
const MEMORY_IN_MB: u64 = 1024;
const MEGABYTE: u64 = 1024 * 1024;

/// The web process of an app.
#[derive(Clone, Debug)]
struct WebProcess {
    app: String,
    space: String,
    is_started: bool,
    metadata: Metadata,
    stamp: Timestamps,
}

impl WebProcess {
    fn of(app: &App) -> Self {
        Self {
            app: app.guid.clone(),
            space: app.space.clone(),
            is_started: app.state == "STARTED",
            metadata: Metadata::default(),
            stamp: app.stamp.clone(),
        }
    }
}

impl Resource for WebProcess {
    fn guid(&self) -> &str {
        &self.app
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl CallContext<'_> {
    /// `GET /v3/processes`.
    pub(crate) fn processes(&self) -> Reply {
        let list = self.process_list()?;
        let apps = self.state.apps.iter().filter(|app| {
            let org = self.state.space(&app.space).map_or("", |space| &space.org);
            self.reads_app(app)
                && list.admits("app_guids", &app.guid)
                && list.admits("space_guids", &app.space)
                && list.admits("organization_guids", org)
        });
        Ok(self.process_page(&list, apps, "/v3/processes"))
    }

    /// `GET /v3/apps/{guid}/processes`.
    pub(crate) fn app_processes(&self, guid: &str) -> Reply {
        let list = self.process_list()?;
        let foreign = ["app_guids", "organization_guids", "space_guids"];
        let foreign: Vec<&str> =
            foreign.into_iter().filter(|name| self.query.get(name).is_some()).collect();
        if !foreign.is_empty() {
            let text = format!("Unknown query parameter(s): '{}'", foreign.join("', '"));
            return Err(bad_query(&text));
        }
        let app = self.app(guid)?;
        let path = format!("/v3/apps/{guid}/processes");
        Ok(self.process_page(&list, std::iter::once(app), &path))
    }

    /// `GET /v3/processes/{guid}` and `GET /v3/apps/{guid}/processes/{type}`.
    pub(crate) fn one_process(&self, guid: &str, kind: Option<&str>) -> Reply {
        let faults = unknown_parameters(self.query, &["embed"]);
        faults.map_or(Ok(()), |fault| Err(bad_query(&fault)))?;
        let process = self.process(guid, kind)?;
        let is_shown = self.state.reads_secrets(self.user, &process.space);
        let command = if is_shown { COMMAND } else { HIDDEN };
        let json = self.present().process(&process, command, self.embedded(&process));
        Ok(Answer::ok(&json))
    }

    /// `GET …/stats` of a process.
    pub(crate) fn process_stats(&self, guid: &str, kind: Option<&str>) -> Reply {
        let process = self.process(guid, kind)?;
        let stats = process.is_started.then(|| self.stats(&process));
        Ok(Answer::ok(&object! {"resources" => stats.into_iter().collect::<Vec<_>>()}))
    }

    /// `GET /v3/processes/{guid}/process_instances`.
    pub(crate) fn process_instances(&self, guid: &str) -> Reply {
        let process = self.process(guid, None)?;
        let path = format!("processes/{guid}");
        Ok(Answer::ok(&object! {
            "resources" => self.instances(&process),
            "links" => object! {
                "self" => self.present().link(&format!("{path}/process_instances")),
                "process" => self.present().link(&path),
            },
        }))
    }

    fn process_list(&self) -> Result<ListQuery, ApiRefusal> {
        let list = ListQuery::read(self.query, &PROCESSES)?;
        let asked = list.among("embed").unwrap_or_default();
        match asked.iter().find(|name| *name != INSTANCES) {
            Some(name) => Err(bad_query(&format!(
                "Invalid embedded resource: '{name}'. Valid embedded resources are: '{INSTANCES}'"
            ))),
            None => Ok(list),
        }
    }

    fn process_page<'a>(
        &self,
        list: &ListQuery,
        apps: impl Iterator<Item = &'a App>,
        path: &str,
    ) -> Answer {
        let processes: Vec<WebProcess> =
            apps.filter(|_| list.admits("types", WEB)).map(WebProcess::of).collect();
        let present = self.present();
        let write = |process: &WebProcess| {
            present.process(process, HIDDEN_IN_LISTS, self.embedded(process))
        };
        let (json, _) = Self::page(list, processes.iter().collect(), &self.href(path), write);
        Answer::ok(&json)
    }

    /// Returns the process if the user sees its space.
    fn process(&self, guid: &str, kind: Option<&str>) -> Result<WebProcess, ApiRefusal> {
        match kind {
            Some(WEB) => Ok(WebProcess::of(self.app(guid)?)),
            Some(_) => self.app(guid).and_then(|_| Err(not_found("Process"))),
            None => self.app(guid).map(WebProcess::of).map_err(|_| not_found("Process")),
        }
    }

    fn embedded(&self, process: &WebProcess) -> Option<Vec<Json>> {
        let asked = self.query.text("embed").map(comma_list).unwrap_or_default();
        asked.iter().any(|name| name == INSTANCES).then(|| self.instances(process))
    }

    fn instances(&self, process: &WebProcess) -> Vec<Json> {
        let since = u64::try_from(self.state.seconds()).unwrap_or_default();
        let one = || object! {"index" => 0_u64, "state" => "RUNNING", "since" => since};
        process.is_started.then(one).into_iter().collect()
    }

    fn stats(&self, process: &WebProcess) -> Json {
        let quota = MEMORY_IN_MB * MEGABYTE;
        let none = Number::from_f64(0.0).map_or(Json::Null, Json::Number);
        object! {
            "type" => WEB,
            "index" => 0_u64,
            "instance_guid" => format!("{}-0", process.app),
            "state" => "RUNNING",
            "routable" => true,
            "host" => "10.0.0.7",
            "instance_internal_ip" => "10.255.0.7",
            "uptime" => 60_u64,
            "mem_quota" => quota,
            "disk_quota" => quota,
            "log_rate_limit" => Json::Number((-1).into()),
            "fds_quota" => 16_384_u64,
            "isolation_segment" => Json::Null,
            "details" => Json::Null,
            "instance_ports" => vec![object! {
                "external" => 61_000_u64,
                "internal" => 8080_u64,
                "external_tls_proxy_port" => 61_001_u64,
                "internal_tls_proxy_port" => 61_001_u64,
            }],
            "usage" => object! {
                "time" => self.state.now(),
                "cpu" => none,
                "cpu_entitlement" => Json::Null,
                "mem" => 64 * MEGABYTE,
                "disk" => 128 * MEGABYTE,
                "log_rate" => 0_u64,
            },
        }
    }
}

impl Presenter<'_> {
    fn process(self, process: &WebProcess, command: &str, embedded: Option<Vec<Json>>) -> Json {
        let path = format!("processes/{}", process.app);
        let json = object! {
            "guid" => &process.app,
            "created_at" => &process.stamp.created_at,
            "updated_at" => &process.stamp.updated_at,
            "version" => &process.app,
            "type" => WEB,
            "command" => command,
            "user" => "vcap",
            "instances" => 1_u64,
            "memory_in_mb" => MEMORY_IN_MB,
            "disk_in_mb" => MEMORY_IN_MB,
            "log_rate_limit_in_bytes_per_second" => Json::Number((-1).into()),
            "health_check" => object! {
                "type" => "port",
                "data" => object! {
                    "timeout" => Json::Null,
                    "invocation_timeout" => Json::Null,
                    "interval" => Json::Null,
                },
            },
            "readiness_health_check" => object! {
                "type" => "process",
                "data" => object! {"invocation_timeout" => Json::Null, "interval" => Json::Null},
            },
        };
        let json = match embedded {
            Some(instances) => json.with(INSTANCES, instances),
            None => json,
        };
        json.with(
            "relationships",
            object! {
                "app" => object! {"data" => object! {"guid" => &process.app}},
                "revision" => Json::Null,
            },
        )
        .with("metadata", object! {"labels" => object! {}, "annotations" => object! {}})
        .with(
            "links",
            object! {
                "self" => self.link(&path),
                "scale" => self.post_link(&format!("{path}/actions/scale")),
                "app" => self.link(&format!("apps/{}", process.app)),
                "space" => self.link(&format!("spaces/{}", process.space)),
                "stats" => self.link(&format!("{path}/stats")),
                INSTANCES => self.link(&format!("{path}/process_instances")),
            },
        )
    }
}
