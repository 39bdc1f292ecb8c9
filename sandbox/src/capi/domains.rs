//! Domains, the domains of an organisation, its default domain, and the check whether a host is
//! free.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{ApiRefusal, not_found};
use crate::capi::json::object;
use crate::capi::list::{ListQuery, ListRule, SelectorCheck, comma_list};
use crate::world::{Domain, same_text};

/// CC names `guids` twice: as a common filter and as a filter of domains (source).
const DOMAINS: ListRule = ListRule {
    filters: &["names", "guids", "organization_guids", "label_selector"],
    plain: &["label_selector"],
    order: &["created_at", "updated_at"],
    includes: &[],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/domains`.
    pub(crate) fn domains(&self) -> Reply {
        let reads = |domain: &Domain| self.state.reads_domain(self.user, domain);
        self.domain_list("/v3/domains", reads)
    }

    /// `GET /v3/domains/{guid}`.
    pub(crate) fn one_domain(&self, guid: &str) -> Reply {
        let domain = self.domain(guid)?;
        Ok(Answer::ok(&self.present().domain(domain, self.user)))
    }

    /// `GET /v3/organizations/{guid}/domains`: shared domains, own domains, and domains shared with
    /// the organisation.
    pub(crate) fn org_domains(&self, guid: &str) -> Reply {
        let org = self.org(guid)?;
        let own = self.state.sees_domains_of(self.user, &org.guid);
        let reads =
            |domain: &Domain| domain.owner.is_none() || (own && domain.usable_by(&org.guid));
        self.domain_list(&format!("/v3/organizations/{guid}/domains"), reads)
    }

    /// `GET /v3/organizations/{guid}/domains/default`: the first shared domain that is not
    /// internal, or else the first private one.
    pub(crate) fn default_domain(&self, guid: &str) -> Reply {
        let org = self.org(guid)?;
        let domains = || self.state.domains.iter().filter(|domain| !domain.internal);
        let shared = domains().find(|domain| domain.owner.is_none());
        let domain = shared.or_else(|| domains().find(|domain| domain.usable_by(&org.guid)));
        let domain = domain.ok_or_else(|| not_found("Domain"))?;
        Ok(Answer::ok(&self.present().domain(domain, self.user)))
    }

    /// `GET /v3/domains/{guid}/route_reservations`: looks for exactly this host, path and port, in
    /// all organisations.
    pub(crate) fn reservations(&self, guid: &str) -> Reply {
        let domain = self.domain(guid)?;
        let values = |name: &str, absent: &str| comma_list(self.query.text(name).unwrap_or(absent));
        let (hosts, paths, ports) = (values("host", ""), values("path", ""), values("port", "0"));
        let among =
            |texts: &[String], text: &str| texts.iter().any(|wanted| same_text(wanted, text));
        let taken = self.state.routes.iter().any(|route| {
            route.domain == domain.guid
                && among(&hosts, &route.host)
                && among(&paths, &route.path)
                && among(&ports, "0")
        });
        Ok(Answer::ok(&object! {"matching_route" => taken}))
    }

    fn domain_list(&self, path: &str, reads: impl Fn(&Domain) -> bool) -> Reply {
        let list = ListQuery::read(self.query, &DOMAINS)?;
        let domains = self.state.domains.iter().filter(|domain| {
            let owner = domain.owner.as_deref().unwrap_or_default();
            reads(domain) && list.admits("organization_guids", owner)
        });
        let present = self.present();
        let write = |domain: &Domain| present.domain(domain, self.user);
        let (json, _) = Self::page(&list, domains.collect(), &self.href(path), write);
        Ok(Answer::ok(&json))
    }

    fn domain(&self, guid: &str) -> Result<&Domain, ApiRefusal> {
        let domain = self.state.domain(guid);
        domain
            .filter(|domain| self.state.reads_domain(self.user, domain))
            .ok_or_else(|| not_found("Domain"))
    }
}
