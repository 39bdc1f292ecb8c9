//! Apps: the list and single apps. Their routes are in `routes`.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{ApiRefusal, bad_query, not_authorized, not_found};
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::capi::metadata::MetadataChange;
use crate::capi::route_form::{refuse, unknown_fields};
use crate::capi::spaces::includes;
use crate::world::{App, Reader};

const APPS: ListRule = ListRule {
    filters: &[
        "names",
        "organization_guids",
        "space_guids",
        "stacks",
        "include",
        "lifecycle_type",
        "label_selector",
    ],
    plain: &["label_selector", "lifecycle_type"],
    order: &["created_at", "updated_at", "name", "state"],
    includes: &["space", "org", "space.organization"],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/apps`.
    pub(crate) fn apps(&self) -> Reply {
        let list = ListQuery::read(self.query, &APPS)?;
        let reader = self.state.reader(self.user);
        let apps = self.state.apps.iter().filter(|app| lists_app(&reader, app, &list));
        let present = self.present();
        let href = self.href("/v3/apps");
        let (json, shown) = Self::page(&list, apps.collect(), &href, |app| present.app(app));
        let spaces: Vec<&str> = shown.iter().map(|app| app.space.as_str()).collect();
        Ok(Answer::ok(&self.with_included(json, |name| list.includes(name), &spaces)))
    }

    /// `GET /v3/apps/{guid}`.
    pub(crate) fn one_app(&self, guid: &str) -> Reply {
        let asked = includes(self.query, APPS.includes).map_err(|fault| bad_query(&fault))?;
        let app = self.app(guid)?;
        let json = self.present().app(app);
        let wants = |names: &[&str]| asked.iter().any(|name| names.contains(&name.as_str()));
        Ok(Answer::ok(&self.with_included(json, wants, &[&app.space])))
    }

    /// `PATCH /v3/apps/{guid}`, metadata only.
    pub(crate) fn patch_app(&mut self, guid: &str) -> Reply {
        let mut faults = Vec::new();
        let change = MetadataChange::read(self.body, &mut faults);
        let known = ["metadata"];
        if unknown_fields(self.body, &known).is_some() {
            return Ok(Answer::uncovered());
        }
        refuse(&faults)?;
        let mut app = self.app(guid)?.clone();
        self.may_write(&app.space)?;
        if !self.state.reads_secrets(self.user, &app.space) {
            return Err(not_authorized());
        }
        change.apply(&mut app.metadata)?;
        self.state.touch(&mut app.stamp);
        let json = self.present().app(&app);
        let mut apps = self.state.apps.iter_mut();
        if let Some(old) = apps.find(|old| old.guid == app.guid) {
            *old = app;
        }
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/apps/{guid}/env`: for developers only.
    pub(crate) fn app_env(&self, guid: &str) -> Reply {
        let app = self.app(guid)?;
        if !self.state.reads_secrets(self.user, &app.space) {
            return Err(not_authorized());
        }
        let space = self.state.space(&app.space);
        let application = object! {
            "cf_api" => self.base,
            "limits" => object! {"fds" => 16_384_u64},
            "application_name" => &app.name,
            "application_uris" => Vec::<Json>::new(),
            "name" => &app.name,
            "space_name" => space.map(|space| &space.name),
            "space_id" => &app.space,
            "organization_id" => space.map(|space| &space.org),
            "uris" => Vec::<Json>::new(),
            "application_id" => &app.guid,
        };
        Ok(Answer::ok(&object! {
            "environment_variables" => object! {"TOKEN" => "sandbox-only-env-secret"},
            "staging_env_json" => object! {},
            "running_env_json" => object! {},
            "system_env_json" => object! {"VCAP_SERVICES" => object! {}},
            "application_env_json" => object! {"VCAP_APPLICATION" => application},
        }))
    }

    /// Returns the app if the user sees its space.
    pub(crate) fn app(&self, guid: &str) -> Result<&App, ApiRefusal> {
        let app = self.state.app(guid).filter(|app| self.reads_app(app));
        app.ok_or_else(|| not_found("App"))
    }

    pub(crate) fn reads_app(&self, app: &App) -> bool {
        let space = self.state.space(&app.space);
        space.is_some_and(|space| self.state.reads_space(self.user, space))
    }

    fn with_included(&self, json: Json, wants: impl Fn(&[&str]) -> bool, spaces: &[&str]) -> Json {
        let mut included = object! {};
        if wants(&["space", "space.organization"]) {
            included = included.with("spaces", self.included_spaces(spaces));
        }
        if wants(&["org", "space.organization"]) {
            included = included.with("organizations", self.included_orgs(spaces));
        }
        if included.is_blank() { json } else { json.with("included", included) }
    }
}

fn lists_app(reader: &Reader<'_>, app: &App, list: &ListQuery) -> bool {
    let space = reader.space(&app.space);
    // In this world no app has a stack, and all apps have the buildpack lifecycle.
    space.is_some_and(|space| {
        reader.reads_space(space) && list.admits("organization_guids", &space.org)
    }) && list.admits("space_guids", &app.space)
        && list.admits("stacks", "")
        && list.plain("lifecycle_type").is_none_or(|kind| kind == "buildpack")
}
