//! What a caller requests, and the different names of the members in its body.
//!
//! Invariant: two members that contradict each other are refused. Callers: this module, `http`.

use super::{
    error::{RequestField, RouteError},
    host::MAX_LABEL,
};
use crate::policy::JsonObject;
use serde::Deserialize;
use std::fmt;

/// Longest tenant id; ids of the platforms are UUIDs.
const MAX_TENANT: usize = 128;
/// Tenant ids that are our own path words.
const RESERVED: [&str; 4] = ["operations", "reconcile", "batch", "transfer"];
/// What a program writes in place of an id that it does not have: JavaScript, Java, Python, Ruby.
const NO_TENANTS: [&str; 5] = ["undefined", "null", "nan", "none", "nil"];
/// The same for a subdomain. The others are names that a customer may have.
const NO_SUBDOMAINS: [&str; 2] = ["undefined", "null"];
/// Longest subdomain that is processed.
const MAX_SUBDOMAIN: usize = 200;

/// A tenant's id: `[A-Za-z0-9._-]{1,128}`, except our own path words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(String);

impl TenantId {
    /// Parses an id; `None` if its form is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let fits = !text.is_empty() && text.len() <= MAX_TENANT && text.bytes().all(valid);
        // Clients remove `.` and `..` from a path before they send it.
        let own = RESERVED.contains(&text) || text == "." || text == "..";
        (fits && !own).then(|| Self(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text stands for a missing value. No route is made for one; an old one can be deleted.
fn is_one_of(placeholders: &[&str], text: &str) -> bool {
    placeholders.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The route that a caller requests for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRequest {
    /// The tenant's subdomain, as given.
    pub subdomain: String,
    /// Which of the provider entry's apps; optional where there is one.
    pub app: Option<String>,
    /// Which of the provider entry's domains; the first by default.
    pub domain: Option<String>,
    /// Whether an unlabelled route of that host may be adopted.
    pub adoption: Adoption,
    /// Whether the tenant's routes under former host names are removed.
    pub replacement: Replacement,
}

/// Whether the tenant's other routes of the same app and domain are removed once its route is
/// mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replacement {
    /// As the provider entry says.
    #[default]
    ByEntry,
    /// They stay.
    Keep,
    /// They are removed.
    Replace,
}

/// Whether an unlabelled route may be adopted. Policy and caller must both allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// The names that a body gives.
trait NamesTenant {
    /// The ids of the tenant, without those that are absent.
    fn tenants(&self) -> impl Iterator<Item = &str>;

    /// The subdomains of the tenant, in the same way.
    fn subdomains(&self) -> impl Iterator<Item = &str>;
}

/// Declares a body that names a tenant: its own members, and the names as the subscription registry
/// and the Subscription Manager spell them. Unknown members are ignored, because the registries add
/// some. One flat struct each: with `flatten`, an error would not tell which member is wrong.
macro_rules! names_a_tenant {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        $vis struct $name {
            $($(#[$field_doc])* $field: $kind,)*
            /// Subdomain of the tenant.
            #[cfg_attr(test, schema(min_length = 1, max_length = 200))]
            subdomain: Option<String>,
            /// The same, as the registry spells it.
            #[cfg_attr(test, schema(min_length = 1, max_length = 200))]
            subscribed_subdomain: Option<String>,
            /// Id of the tenant.
            #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
            tenant_id: Option<String>,
            /// The same, as the registry spells it.
            #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
            subscribed_tenant_id: Option<String>,
            /// The same, as the Subscription Manager spells it.
            #[cfg_attr(test, schema(value_type = Option<Subscriber>))]
            subscriber: Option<JsonObject<Subscriber>>,
        }

        impl NamesTenant for $name {
            fn tenants(&self) -> impl Iterator<Item = &str> {
                let from = self.subscriber.as_ref().and_then(|JsonObject(from)| from.app_tid.as_deref());
                let own = [self.tenant_id.as_deref(), self.subscribed_tenant_id.as_deref(), from];
                own.into_iter().flatten()
            }

            fn subdomains(&self) -> impl Iterator<Item = &str> {
                let from = self.subscriber.as_ref();
                let from = from.and_then(|JsonObject(from)| from.subaccount_subdomain.as_deref());
                let own = [self.subdomain.as_deref(), self.subscribed_subdomain.as_deref(), from];
                own.into_iter().flatten()
            }
        }
    };
}

names_a_tenant! {
    /// The payload of a subscription.
    #[cfg_attr(test, derive(serde::Serialize, utoipa::ToSchema), schema(as = TenantNames))]
    struct SubscriptionPayload {}
}
names_a_tenant! {
    /// The body of `PUT /routes/{tenant}` and `POST /routes`, and an entry of a reconcile.
    #[cfg_attr(test, derive(serde::Serialize, utoipa::ToSchema), schema(as = RouteRequest))]
    pub struct RouteRequestBody {
        /// App behind the URL; optional where the provider entry has one.
        app: Option<String>,
        /// Domain; the first one of the provider entry by default.
        domain: Option<String>,
        /// `false`: a route without labels is not adopted.
        adopt: Option<bool>,
        /// Whether the tenant's routes under former hosts are removed; by default as the provider
        /// entry says.
        replace: Option<bool>,
        /// The names as the Subscription Manager nests them.
        #[cfg_attr(test, schema(value_type = Option<SubscriptionPayload>))]
        subscription: Option<JsonObject<SubscriptionPayload>>,
    }
}
names_a_tenant! {
    /// An item of a batch: an operation, and the members of [`RouteRequestBody`].
    #[cfg_attr(test, derive(serde::Serialize, utoipa::ToSchema), schema(as = BatchItem))]
    pub struct BatchItemBody {
        /// `ensure` or `remove`.
        #[cfg_attr(test, schema(pattern = "^(ensure|remove)$"))]
        op: String,
        /// App behind the URL; optional where the provider entry has one.
        app: Option<String>,
        /// Domain; the first one of the provider entry by default.
        domain: Option<String>,
        /// `false`: a route without labels is not adopted.
        adopt: Option<bool>,
        /// Whether the tenant's routes under former hosts are removed; by default as the provider
        /// entry says.
        replace: Option<bool>,
        /// The names as the Subscription Manager nests them.
        #[cfg_attr(test, schema(value_type = Option<SubscriptionPayload>))]
        subscription: Option<JsonObject<SubscriptionPayload>>,
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, utoipa::ToSchema), schema(as = Subscriber))]
#[serde(default)]
struct Subscriber {
    /// Subdomain of the tenant.
    #[serde(rename = "subaccountSubdomain")]
    #[cfg_attr(test, schema(min_length = 1, max_length = 200))]
    subaccount_subdomain: Option<String>,
    /// Id of the tenant.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
    app_tid: Option<String>,
}

impl RouteRequestBody {
    /// Converts the body into a tenant and a request. `path` is the tenant in the path, if any.
    ///
    /// # Errors
    /// [`RouteError::TenantMismatch`] if two members name different tenants,
    /// [`RouteError::BadRequest`] if the subdomain or the tenant is absent, malformed, ambiguous or
    /// what a program writes for a missing value,
    /// [`RouteError::HostTooLong`] if the subdomain is too long for any host.
    pub fn into_request(
        self,
        path: Option<&TenantId>,
    ) -> Result<(TenantId, RouteRequest), RouteError> {
        let tenant = self.tenant(path)?;
        if is_one_of(&NO_TENANTS, tenant.as_str()) {
            return Err(RouteError::BadRequest(RequestField::TenantPlaceholder));
        }
        let subdomain = same(self.subdomains().chain(self.payload_subdomains()));
        let subdomain = subdomain
            .map_err(|_| RouteError::BadRequest(RequestField::DifferentSubdomains))?
            .filter(|text| !text.is_empty())
            .ok_or(RouteError::BadRequest(RequestField::Subdomain))?
            .to_owned();
        if is_one_of(&NO_SUBDOMAINS, &subdomain) {
            return Err(RouteError::BadRequest(RequestField::SubdomainPlaceholder));
        }
        if subdomain.len() > MAX_SUBDOMAIN {
            return Err(RouteError::HostTooLong { length: subdomain.len(), limit: MAX_LABEL });
        }
        let adoption = match self.adopt {
            Some(false) => Adoption::Refused,
            Some(true) | None => Adoption::Allowed,
        };
        let replacement = match self.replace {
            Some(true) => Replacement::Replace,
            Some(false) => Replacement::Keep,
            None => Replacement::ByEntry,
        };
        let (app, domain) = (self.app, self.domain);
        Ok((tenant, RouteRequest { subdomain, app, domain, adoption, replacement }))
    }

    /// Returns only the tenant, for calls that need no subdomain.
    ///
    /// # Errors
    /// As [`RouteRequestBody::into_request`], for the tenant.
    pub fn tenant(&self, path: Option<&TenantId>) -> Result<TenantId, RouteError> {
        let payload = self.payload().into_iter().flat_map(SubscriptionPayload::tenants);
        let tenants = self.tenants().chain(payload).chain(path.map(TenantId::as_str));
        let tenant = same(tenants).map_err(|_| RouteError::TenantMismatch)?;
        let tenant = tenant.ok_or(RouteError::BadRequest(RequestField::Tenant))?;
        TenantId::parse(tenant).ok_or(RouteError::BadRequest(RequestField::TenantForm))
    }

    fn payload(&self) -> Option<&SubscriptionPayload> {
        self.subscription.as_ref().map(|JsonObject(payload)| payload)
    }

    fn payload_subdomains(&self) -> impl Iterator<Item = &str> {
        self.payload().into_iter().flat_map(SubscriptionPayload::subdomains)
    }
}

impl BatchItemBody {
    /// Returns the operation and the requested route.
    pub fn into_parts(self) -> (String, RouteRequestBody) {
        let request = RouteRequestBody {
            app: self.app,
            domain: self.domain,
            adopt: self.adopt,
            replace: self.replace,
            subscription: self.subscription,
            subdomain: self.subdomain,
            subscribed_subdomain: self.subscribed_subdomain,
            tenant_id: self.tenant_id,
            subscribed_tenant_id: self.subscribed_tenant_id,
            subscriber: self.subscriber,
        };
        (self.op, request)
    }
}

impl RouteRequest {
    /// Sets app and domain if the request has none.
    #[must_use]
    pub fn or(mut self, app: Option<&str>, domain: Option<&str>) -> Self {
        self.app = self.app.or_else(|| app.map(ToOwned::to_owned));
        self.domain = self.domain.or_else(|| domain.map(ToOwned::to_owned));
        self
    }
}

/// Two members have different values.
#[derive(Debug)]
struct DifferentValues;

/// Returns the value that all members have; `None` without a member.
fn same<'a>(mut texts: impl Iterator<Item = &'a str>) -> Result<Option<&'a str>, DifferentValues> {
    let first = texts.next();
    match first {
        Some(first) if texts.any(|other| other != first) => Err(DifferentValues),
        Some(_) | None => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::{Adoption, RequestField, RouteError, RouteRequestBody, TenantId};
    use rstest::rstest;
    use serde::Deserialize as _;
    use serde_json::Deserializer;

    fn read(body: &str) -> RouteRequestBody {
        RouteRequestBody::deserialize(&mut Deserializer::from_str(body)).unwrap()
    }

    fn request(body: &str, path: Option<&str>) -> Result<(String, String), RouteError> {
        let path = path.and_then(TenantId::parse);
        let body = read(body);
        let (tenant, request) = body.into_request(path.as_ref())?;
        Ok((tenant.to_string(), request.subdomain))
    }

    #[rstest]
    #[case::minimum(r#"{"subdomain":"acme"}"#, Some("t1"))]
    #[case::registry(
        r#"{"subscribedSubdomain":"acme","subscribedTenantId":"t1","eventType":"UPDATE"}"#,
        None
    )]
    #[case::manager(
        r#"{"subscriber":{"app_tid":"t1","subaccountSubdomain":"acme","zone":1}}"#,
        None
    )]
    #[case::nested(
        r#"{"subscription":{"subscribedSubdomain":"acme","subscribedTenantId":"t1"}}"#,
        Some("t1")
    )]
    #[case::post(r#"{"tenantId":"t1","subdomain":"acme"}"#, None)]
    #[case::twice(
        r#"{"subdomain":"acme","subscription":{"subscriber":{"subaccountSubdomain":"acme"}}}"#,
        Some("t1")
    )]
    fn all_member_names_mean_the_same(#[case] body: &str, #[case] path: Option<&str>) {
        assert_eq!(request(body, path).unwrap(), ("t1".to_owned(), "acme".to_owned()));
    }

    #[rstest]
    #[case::path(r#"{"subdomain":"acme","tenantId":"t2"}"#, Some("t1"))]
    #[case::nested(
        r#"{"subdomain":"acme","tenantId":"t1","subscription":{"subscribedTenantId":"t2"}}"#,
        None
    )]
    fn two_tenants_are_refused(#[case] body: &str, #[case] path: Option<&str>) {
        assert!(matches!(request(body, path), Err(RouteError::TenantMismatch)));
    }

    #[rstest]
    #[case::none("{}", Some("t1"))]
    #[case::empty(r#"{"subdomain":""}"#, Some("t1"))]
    #[case::two(r#"{"subdomain":"acme","subscribedSubdomain":"other"}"#, Some("t1"))]
    #[case::no_tenant(r#"{"subdomain":"acme"}"#, None)]
    #[case::odd_tenant(r#"{"subdomain":"acme","tenantId":"a/b"}"#, None)]
    fn a_request_without_subdomain_or_tenant_is_refused(
        #[case] body: &str,
        #[case] path: Option<&str>,
    ) {
        assert!(matches!(request(body, path), Err(RouteError::BadRequest(_))));
    }

    #[rstest]
    #[case::javascript("undefined")]
    #[case::java("null")]
    #[case::not_a_number("NaN")]
    #[case::python("None")]
    #[case::ruby("nil")]
    fn a_text_for_a_missing_value_is_no_tenant(#[case] text: &str) {
        let tenant = request(r#"{"subdomain":"acme"}"#, Some(text)).unwrap_err();
        assert!(matches!(tenant, RouteError::BadRequest(RequestField::TenantPlaceholder)));
        let longer = format!(r#"{{"subdomain":"{text}-1"}}"#);
        assert!(request(&longer, Some(&format!("{text}-1"))).is_ok());
        assert!(TenantId::parse(text).is_some(), "an old route can be seen and deleted");
    }

    #[rstest]
    #[case::javascript("undefined", false)]
    #[case::java("NULL", false)]
    #[case::a_customer("nan", true)]
    #[case::another_customer("none", true)]
    #[case::a_third_customer("Nil", true)]
    fn a_text_for_a_missing_value_is_no_subdomain(#[case] text: &str, #[case] is_taken: bool) {
        let outcome = request(&format!(r#"{{"subdomain":"{text}"}}"#), Some("t1"));
        match outcome {
            Ok(_) => assert!(is_taken),
            Err(RouteError::BadRequest(RequestField::SubdomainPlaceholder)) => assert!(!is_taken),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::at_the_limit(200)]
    #[case::beyond(201)]
    fn a_subdomain_over_200_characters_is_too_long_for_a_host(#[case] length: usize) {
        let body = format!(r#"{{"subdomain":"{}"}}"#, "a".repeat(length));
        match request(&body, Some("t1")) {
            Ok((_, subdomain)) => assert_eq!((subdomain.len(), length), (200, 200)),
            Err(error) => assert_eq!((error.as_str(), length), ("host_too_long", 201)),
        }
    }

    #[rstest]
    #[case::absent("{\"subdomain\":\"a\"}", Adoption::Allowed)]
    #[case::refused("{\"subdomain\":\"a\",\"adopt\":false}", Adoption::Refused)]
    fn adoption_is_refused_only_by_an_explicit_false(
        #[case] body: &str,
        #[case] expected: Adoption,
    ) {
        let body = read(body);
        assert_eq!(body.into_request(TenantId::parse("t1").as_ref()).unwrap().1.adoption, expected);
    }

    #[rstest]
    #[case::uuid("7f1c2d3e-0000-4000-8000-0000000000e2", true)]
    #[case::longest(&"a".repeat(128), true)]
    #[case::too_long(&"a".repeat(129), false)]
    #[case::empty("", false)]
    #[case::parent("..", false)]
    #[case::slash("a/b", false)]
    #[case::own_word("operations", false)]
    #[case::blank("a b", false)]
    fn tenant_ids_have_a_fixed_form(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(TenantId::parse(text).is_some(), valid);
    }
}
