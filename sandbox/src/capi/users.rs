//! Roles, and the users who hold them. CC keeps only the guid of a user. It asks the UAA for the
//! name (source).

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{ApiRefusal, not_found, uaa_unavailable, unprocessable};
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::capi::spaces::includes;
use crate::world::{KnownUser, Role, RoleGrant, UaaLink};

const ROLES: ListRule = ListRule {
    filters: &["organization_guids", "space_guids", "user_guids", "types", "include"],
    plain: &[],
    order: &["created_at", "updated_at"],
    includes: &["user", "organization", "space"],
    selector: SelectorCheck::Full,
};
const USERS: ListRule = ListRule {
    filters: &["usernames", "partial_usernames", "origins", "label_selector"],
    plain: &["label_selector"],
    order: &["created_at", "updated_at"],
    includes: &[],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/roles`.
    pub(crate) fn roles(&self) -> Reply {
        let list = ListQuery::read_or(self.query, &ROLES, unprocessable)?.ordered("created_at");
        let in_org = |role: &RoleGrant, wanted: &str| role.role.of_org() && role.resource == wanted;
        let in_space =
            |role: &RoleGrant, wanted: &str| !role.role.of_org() && role.resource == wanted;
        let asked = |name: &str, fits: &dyn Fn(&str) -> bool| {
            list.among(name).is_none_or(|values| values.iter().any(|value| fits(value)))
        };
        let roles = self.state.role_grants.iter().filter(|role| {
            self.reads_role(role)
                && list.admits("types", role.role.kind())
                && list.admits("user_guids", self.state.guid_of_user(&role.user))
                && asked("organization_guids", &|guid| in_org(role, guid))
                && asked("space_guids", &|guid| in_space(role, guid))
        });
        let href = self.href("/v3/roles");
        let (json, shown) = Self::page(&list, roles.collect(), &href, |role| self.role(role));
        let asked = list.among("include").unwrap_or_default();
        Ok(Answer::ok(&self.with_holders(json, asked, &shown)?))
    }

    /// `GET /v3/roles/{guid}`.
    pub(crate) fn one_role(&self, guid: &str) -> Reply {
        let asked = includes(self.query, ROLES.includes).map_err(|fault| unprocessable(&fault))?;
        let mut roles = self.state.role_grants.iter();
        let role = roles.find(|role| role.guid == guid && self.reads_role(role));
        let role = role.ok_or_else(|| not_found("Role"))?;
        Ok(Answer::ok(&self.with_holders(self.role(role), &asked, &[role])?))
    }

    /// `GET /v3/users`.
    pub(crate) fn users(&self) -> Reply {
        let list = ListQuery::read_or(self.query, &USERS, unprocessable)?;
        let (names, parts) = (list.among("usernames"), list.among("partial_usernames"));
        if list.among("origins").is_some() && names.or(parts).is_none() {
            let text =
                "Origins filter cannot be provided without usernames or partial_usernames filter.";
            return Err(unprocessable(text));
        }
        if names.is_some() && parts.is_some() {
            let text = "Usernames filter cannot be provided with both usernames and partial_usernames filter.";
            return Err(unprocessable(text));
        }
        self.asks_uaa()?;
        let holds = |part: &String, name: &str| name.to_lowercase().contains(&part.to_lowercase());
        let users = self.state.users.iter().filter(|user| {
            self.state.reads_user(self.user, user)
                && list.admits_any_case("usernames", &user.name)
                && list.admits("origins", &user.origin)
                && parts.is_none_or(|parts| parts.iter().any(|part| holds(part, &user.name)))
        });
        let href = self.href("/v3/users");
        let (json, _) = Self::page(&list, users.collect(), &href, |user| self.one_user_json(user));
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/users/{guid}`.
    pub(crate) fn one_user(&self, guid: &str) -> Reply {
        let mut users = self.state.users.iter();
        let user = users.find(|user| user.guid == guid && self.state.reads_user(self.user, user));
        let user = user.ok_or_else(|| not_found("User"))?;
        self.asks_uaa()?;
        Ok(Answer::ok(&self.one_user_json(user)))
    }

    /// The names of users come from the UAA.
    fn asks_uaa(&self) -> Result<(), ApiRefusal> {
        if self.state.outages.uaa == UaaLink::Up { Ok(()) } else { Err(uaa_unavailable()) }
    }

    fn reads_role(&self, role: &RoleGrant) -> bool {
        match (self.state.space(&role.resource), self.state.org(&role.resource)) {
            (Some(space), _) => self.state.reads_space(self.user, space),
            (None, Some(org)) => self.state.reads_org(self.user, org),
            (None, None) => false,
        }
    }

    fn with_holders(
        &self,
        json: Json,
        asked: &[String],
        roles: &[&RoleGrant],
    ) -> Result<Json, ApiRefusal> {
        let asks = |name: &str| asked.iter().any(|asked| asked == name);
        let mut included = object! {};
        if asks("user") {
            self.asks_uaa()?;
            let holds = |user: &&KnownUser| roles.iter().any(|role| role.user == user.name);
            let users = self.state.users.iter().filter(holds);
            let users: Vec<Json> = users.map(|user| self.one_user_json(user)).collect();
            included = included.with("users", users);
        }
        let held = |guid: &String| roles.iter().any(|role| role.resource == *guid);
        if asks("organization") {
            let orgs = self.state.orgs.iter().filter(|org| held(&org.guid));
            let orgs: Vec<Json> = orgs.map(|org| self.present().org(org)).collect();
            included = included.with("organizations", orgs);
        }
        if asks("space") {
            let spaces = self.state.spaces.iter().filter(|space| held(&space.guid));
            let spaces: Vec<Json> = spaces.map(|space| self.present().space(space)).collect();
            included = included.with("spaces", spaces);
        }
        Ok(if included.is_blank() { json } else { json.with("included", included) })
    }

    fn role(&self, role: &RoleGrant) -> Json {
        let present = self.present();
        let user = self.state.guid_of_user(&role.user);
        let (holder, none, path) = match role.role {
            Role::OrgManager | Role::OrgAuditor | Role::OrgUser => {
                ("organization", "space", "organizations")
            }
            Role::SpaceDeveloper
            | Role::SpaceSupporter
            | Role::SpaceManager
            | Role::SpaceAuditor => ("space", "organization", "spaces"),
        };
        let to = |guid: &str| object! {"data" => object! {"guid" => guid}};
        object! {
            "guid" => &role.guid,
            "created_at" => &role.stamp.created_at,
            "updated_at" => &role.stamp.updated_at,
            "type" => role.role.kind(),
            "relationships" => object! {
                "user" => to(user),
                holder => to(&role.resource),
                none => object! {"data" => Json::Null},
            },
            "links" => object! {
                "self" => present.link(&format!("roles/{}", role.guid)),
                "user" => present.link(&format!("users/{user}")),
                holder => present.link(&format!("{path}/{}", role.resource)),
            },
        }
    }

    fn one_user_json(&self, user: &KnownUser) -> Json {
        object! {
            "guid" => &user.guid,
            "created_at" => &user.stamp.created_at,
            "updated_at" => &user.stamp.updated_at,
            "username" => &user.name,
            "presentation_name" => &user.name,
            "origin" => &user.origin,
            "metadata" => object! {"labels" => object! {}, "annotations" => object! {}},
            "links" => object! {"self" => self.present().link(&format!("users/{}", user.guid))},
        }
    }
}
