//! What a broker reads about the landscape: service bindings, its application, and tokens for its
//! callers. Invariant: the JSON has the shape that the platform writes, so a broker does not have
//! to know that it talks to a sandbox.

use serde_json::{Value, json};

use crate::Sandbox;
use crate::ias::{IAS_BROKER_CLIENT, IAS_BROKER_SECRET, IAS_TENANT};
use crate::part::Part;
use crate::token::CfTokenSpec;
use crate::token::key::SigningKey;
use crate::xsuaa::{
    ADMIN_CLIENT, BROKER_CLIENT, BROKER_SECRET, DESTINATION_CLIENT, DESTINATION_SECRET,
    DEVELOPER_USER, PROVIDER_CLIENT, XSAPPNAME, ZONE, full_scopes,
};

/// The name of the space in which the broker runs.
const SPACE: &str = "dev";

/// The name of the broker's application.
const APPLICATION: &str = "cfapi-broker";

/// The version of the application; any guid is good.
const VERSION: &str = "1c6b3f5e-4f9d-4a80-8f0e-6d2f64c6f3ab";

impl Sandbox {
    /// Returns `VCAP_SERVICES`: a destination and an xsuaa binding.
    pub fn vcap_services(&self) -> String {
        self.services().to_string()
    }

    /// Returns `VCAP_SERVICES` of a broker that is bound to the IAS tenant as well.
    pub fn vcap_services_with_identity(&self) -> String {
        let mut services = self.services();
        let credentials = self.identity_credentials();
        let identity = json!([entry("identity", "application", &["identity"], &credentials)]);
        if let Some(services) = services.as_object_mut() {
            services.insert("identity".to_owned(), identity);
        }
        services.to_string()
    }

    fn services(&self) -> Value {
        json!({
            "destination": [entry("destination", "lite", &["destination", "conn", "connsvc"], &self.destination_credentials())],
            "xsuaa": [entry("xsuaa", "application", &["xsuaa"], &self.xsuaa_credentials())],
        })
    }

    /// Returns `VCAP_APPLICATION` of a broker that is reached at `broker_uri` (host and port).
    pub fn vcap_application(&self, broker_uri: &str) -> String {
        let world = self.world();
        let app = world.apps().into_iter().find(|app| app.name == APPLICATION);
        let app = app.map(|app| app.guid).unwrap_or_default();
        let space = world.spaces().into_iter().find(|space| space.name == SPACE);
        let (space, org, org_name) =
            space.map(|space| (space.guid, space.org_guid, space.org)).unwrap_or_default();
        json!({
            "application_id": app, "application_name": APPLICATION, "name": APPLICATION,
            "application_uris": [broker_uri], "uris": [broker_uri],
            "application_version": VERSION, "version": VERSION, "cf_api": self.cf_url(),
            "limits": {"disk": 256, "fds": 16384, "mem": 128},
            "organization_id": org, "organization_name": org_name,
            "space_id": space, "space_name": SPACE, "process_id": app, "process_type": "web",
        })
        .to_string()
    }

    /// Returns a token of a provider app: Routes.Read, Routes.Write, Api.Proxy.
    pub fn provider_token(&self) -> String {
        self.caller_token(PROVIDER_CLIENT, &["Routes.Read", "Routes.Write", "Api.Proxy"])
    }

    /// Returns a token of a person who may read spaces.
    pub fn developer_token(&self) -> String {
        let scopes = full_scopes(&["Spaces.Read"]);
        self.landscape.xsuaa.user_token(BROKER_CLIENT, DEVELOPER_USER, &scopes)
    }

    /// Returns a token of an operator: Routes.Read, Routes.Write, Routes.Admin, Metrics.Read.
    pub fn admin_token(&self) -> String {
        let scopes = ["Routes.Read", "Routes.Write", "Routes.Admin", "Metrics.Read"];
        self.caller_token(ADMIN_CLIENT, &scopes)
    }

    /// Returns a technical token of any client, with any of the broker's scopes. The scopes are
    /// given without prefix.
    pub fn caller_token(&self, client_id: &str, scopes: &[&str]) -> String {
        self.landscape.xsuaa.client_token(client_id, &full_scopes(scopes))
    }

    /// Returns a provider's token in which some claims are replaced. A null removes a claim.
    pub fn token_with_claims(&self, claims: &Value) -> String {
        self.landscape.xsuaa.token_with_overrides(claims)
    }

    /// Returns the key that signs callers' tokens now. Tests use it for odd headers and broken
    /// signatures.
    pub fn xsuaa_key(&self) -> SigningKey {
        self.landscape.xsuaa.key()
    }

    /// Returns an IAS token of a client for the broker, with some claims replaced. A null removes a
    /// claim.
    pub fn ias_token(&self, client_id: &str, claims: &Value) -> String {
        self.landscape.ias.token(client_id, claims)
    }

    /// Returns the key that signs IAS tokens now.
    pub fn ias_key(&self) -> SigningKey {
        self.landscape.ias.key()
    }

    /// Returns the one entry of `domains` of the identity binding: host and port of the IAS tenant.
    pub fn ias_domain(&self) -> String {
        self.landscape.addresses.ias.to_string()
    }

    /// Returns a token for the CF API, without a call to the UAA's token endpoint.
    pub fn cf_token(&self, spec: &CfTokenSpec) -> String {
        self.landscape.tokens.mint(spec)
    }

    /// Returns the zone of the subaccount: the claim `zid` of callers' tokens.
    pub fn zone_id(&self) -> &'static str {
        ZONE
    }

    /// Returns the name of the broker's application at XSUAA: the prefix of its scopes.
    pub fn xsappname(&self) -> &'static str {
        XSAPPNAME
    }

    /// Returns `uaadomain` of the bindings: host and port of the XSUAA.
    pub fn uaa_domain(&self) -> String {
        self.landscape.addresses.xsuaa.to_string()
    }

    fn destination_credentials(&self) -> Value {
        json!({"clientid": DESTINATION_CLIENT, "credential-type": "binding-secret",
            "clientsecret": DESTINATION_SECRET, "uri": self.destination_url(),
            "url": self.xsuaa_url(), "uaadomain": self.uaa_domain(),
            "instanceid": "5f2a7c10-4711-4d4d-9a9a-0d35714a10e5",
            "verificationkey": self.verification_key(), "identityzone": "provider",
            "tenantid": ZONE, "tenantmode": "dedicated", "xsappname": DESTINATION_CLIENT.trim_start_matches("sb-")})
    }

    fn xsuaa_credentials(&self) -> Value {
        json!({"apiurl": self.landscape.addresses.url(Part::Xsuaa), "clientid": BROKER_CLIENT,
            "clientsecret": BROKER_SECRET, "credential-type": "binding-secret",
            "identityzone": "provider", "identityzoneid": ZONE, "sburl": self.xsuaa_url(),
            "serviceInstanceId": "0d3f1a52-5d41-4c9e-8f55-2f1d2a2e8c77", "subaccountid": ZONE,
            "tenantid": ZONE, "tenantmode": "dedicated", "uaadomain": self.uaa_domain(),
            "url": self.xsuaa_url(), "verificationkey": self.verification_key(),
            "xsappname": XSAPPNAME, "zoneid": ZONE})
    }

    fn identity_credentials(&self) -> Value {
        json!({"app_tid": IAS_TENANT, "btp-tenant-api": "https://api.authentication.example.test",
            "clientid": IAS_BROKER_CLIENT, "clientsecret": IAS_BROKER_SECRET,
            "credential-type": "SECRET", "domains": [self.ias_domain()], "url": self.ias_url()})
    }

    fn verification_key(&self) -> String {
        self.landscape.xsuaa.ring.signing().pem()
    }
}

/// Returns a binding as the platform writes it.
fn entry(label: &str, plan: &str, tags: &[&str], credentials: &Value) -> Value {
    let name = format!("cfapi-broker-{label}");
    json!({"label": label, "plan": plan, "name": name, "tags": tags, "instance_name": name,
        "instance_guid": "0d3f1a52-5d41-4c9e-8f55-2f1d2a2e8c77", "binding_name": null,
        "binding_guid": "77a1c8de-32b4-4f6f-8a4d-54a3b8c8e901", "credentials": credentials,
        "syslog_drain_url": null, "volume_mounts": []})
}
