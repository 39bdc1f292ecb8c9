//! Spaces and organisations: the lists, single ones, and the deletion of all unmapped routes of a
//! space.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{bad_query, unprocessable};
use crate::capi::json::object;
use crate::capi::list::{
    ListQuery, ListRule, SelectorCheck, comma_list, include_faults, unknown_parameters,
};
use crate::capi::query::Query;
use crate::world::{JobSubject, Space};

const SPACES: ListRule = ListRule {
    filters: &["names", "organization_guids", "include", "label_selector"],
    plain: &["label_selector"],
    order: &["created_at", "updated_at", "name"],
    includes: &["org", "organization"],
    selector: SelectorCheck::Full,
};

const ORGS: ListRule = ListRule {
    filters: &["names", "isolation_segment_guid", "label_selector"],
    plain: &["label_selector", "isolation_segment_guid"],
    order: &["created_at", "updated_at", "name"],
    includes: &[],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/spaces`.
    pub(crate) fn spaces(&self) -> Reply {
        let list = ListQuery::read(self.query, &SPACES)?;
        let (spaces, reader) = (self.state.spaces.iter(), self.state.reader(self.user));
        let spaces = spaces.filter(|space| {
            reader.reads_space(space) && list.admits("organization_guids", &space.org)
        });
        let present = self.present();
        let (mut json, shown) =
            Self::page(&list, spaces.collect(), &self.href("/v3/spaces"), |space| {
                present.space(space)
            });
        if list.includes(SPACES.includes) {
            let guids: Vec<&str> = shown.iter().map(|space| space.guid.as_str()).collect();
            let orgs = self.included_orgs(&guids);
            json = json.with("included", object! {"organizations" => orgs});
        }
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/spaces/{guid}`.
    pub(crate) fn one_space(&self, guid: &str) -> Reply {
        let space: &Space = self.space(guid)?;
        let asked = includes(self.query, SPACES.includes).map_err(|fault| bad_query(&fault))?;
        let mut json = self.present().space(space);
        if !asked.is_empty() {
            let orgs = self.included_orgs(&[guid]);
            json = json.with("included", object! {"organizations" => orgs});
        }
        Ok(Answer::ok(&json))
    }

    /// `DELETE /v3/spaces/{guid}/routes?unmapped=true`.
    pub(crate) fn delete_unmapped_routes(&mut self, guid: &str) -> Reply {
        let faults = unmapped_faults(self.query);
        if !faults.is_empty() {
            return Err(unprocessable(&faults.join(", ")));
        }
        self.space(guid)?;
        self.may_write(guid)?;
        let job = self.state.enqueue(JobSubject::UnmappedRoutes(guid.to_owned()));
        Ok(Answer::accepted(&self.href(&format!("/v3/jobs/{job}")), self.accept))
    }

    /// `GET /v3/organizations`.
    pub(crate) fn orgs(&self) -> Reply {
        let list = ListQuery::read(self.query, &ORGS)?;
        let orgs = self.state.orgs.iter();
        let orgs = orgs.filter(|org| self.state.reads_org(self.user, org));
        let present = self.present();
        let href = self.href("/v3/organizations");
        let (json, _) = Self::page(&list, orgs.collect(), &href, |org| present.org(org));
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/organizations/{guid}`.
    pub(crate) fn one_org(&self, guid: &str) -> Reply {
        Ok(Answer::ok(&self.present().org(self.org(guid)?)))
    }
}

/// Reads the query of a single resource that takes only `include`. The error is CC's text.
pub(crate) fn includes(query: &Query, valid: &[&str]) -> Result<Vec<String>, String> {
    let asked = query.text("include").map(comma_list);
    let mut faults: Vec<String> = unknown_parameters(query, &["include"]).into_iter().collect();
    faults.extend(include_faults(asked.as_deref(), valid));
    if faults.is_empty() {
        return Ok(asked.unwrap_or_default());
    }
    Err(faults.join(", "))
}

/// Returns CC's complaints about a mass delete without `unmapped=true` (source).
fn unmapped_faults(query: &Query) -> Vec<String> {
    let names = query.entries().iter().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = names.filter(|name| *name != "unmapped").collect();
    let mut faults = Vec::new();
    if !unknown.is_empty() {
        faults.push(format!("Unknown field(s): '{}'", unknown.join("', '")));
    }
    let way = "Use 'unmapped=true' parameter to delete all unmapped routes.";
    match query.text("unmapped") {
        Some("true") => {}
        Some("false") => faults.push(format!("Mass delete not supported for mapped routes. {way}")),
        Some("") => faults
            .extend(["Unmapped can't be blank", "Unmapped must be a boolean"].map(str::to_owned)),
        Some(_) => faults.push("Unmapped must be a boolean".to_owned()),
        None => faults.extend([
            "Unmapped can't be blank".to_owned(),
            format!("Mass delete not supported for routes. {way}"),
            "Unmapped must be a boolean".to_owned(),
        ]),
    }
    faults
}
