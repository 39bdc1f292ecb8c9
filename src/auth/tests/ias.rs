//! IAS tokens: each rule broken in several ways, the resulting caller, and floods. Keys come from a
//! scripted source; `tests/it/callers/ias` tests the HTTP calls.

use super::support::{
    KEY, KID, NOW, OTHER_KEY, bearer, binding, bound, client, key_set, now, valid_header,
    verifier_with,
};
use crate::{
    auth::{
        AllowedClients, AuthError, Caller, IasSettings, IssuerBindings, Scope, ScopeGrants,
        Settings,
        bearer::CompactToken,
        cached_key_set::Fetched,
        ias::{IasIssuer, IasRules},
        jwks::KeySet,
        source::KeySource,
    },
    binding::IdentityBinding,
    telemetry::metrics::Metrics,
    upstream::body,
};
use http::HeaderValue;
use rstest::rstest;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

const OWN: &str = "broker-client";
const TENANT: &str = "tenant-1";
const OTHER_TENANT: &str = "tenant-2";
const DOMAIN: &str = "accounts.example.test";
const CALLER: &str = "caller-1";

/// The addresses of all fetches, in order. The answer is always one valid key.
#[derive(Clone, Default)]
struct FetchLog(Arc<Mutex<Vec<String>>>);

struct Source {
    address: String,
    asked: FetchLog,
}

impl KeySource for Source {
    type Fault = Infallible;

    async fn fetch(&self, _: Option<HeaderValue>, _: Instant) -> Result<Fetched, Infallible> {
        self.asked.0.lock().unwrap().push(self.address.clone());
        // IAS has keys for clients that it knows, and without a client for the tenant.
        if self.address.contains("invented") {
            return Ok(Fetched::Keys { keys: KeySet::default(), etag: None });
        }
        let keys = KeySet::parse(key_set(&[KEY.jwk(KID)]).as_bytes()).unwrap();
        Ok(Fetched::Keys { keys, etag: None })
    }
}

fn identity() -> IdentityBinding {
    IdentityBinding {
        name: "broker-identity".to_owned(),
        client_id: OWN.to_owned(),
        secret: None,
        url: Some(format!("https://home.{DOMAIN}").parse().unwrap()),
        domains: vec![DOMAIN.to_owned()],
        tenants: vec![TENANT.to_owned()],
    }
}

fn settings() -> Settings {
    let mut clients =
        ScopeGrants::only(Scope::ApiProxy, &["ias:tenant-1:named", "ias:tenant-2:named"]);
    clients.spaces_read = vec!["named".to_owned(), "tenant-1:named".to_owned()];
    let ias = IasSettings {
        enabled: true,
        tenants: vec![OTHER_TENANT.to_owned()],
        apis: ScopeGrants::only(Scope::RoutesRead, &["read", "all"]),
        clients,
    };
    Settings { ias, ..Settings::default() }
}

/// An issuer with a scripted source.
struct Fixture {
    issuer: IasIssuer<Source>,
    asked: FetchLog,
}

impl Fixture {
    fn new() -> Self {
        Self::with(&identity(), &settings())
    }

    fn with(binding: &IdentityBinding, settings: &Settings) -> Self {
        let asked = FetchLog::default();
        let script = asked.clone();
        let make = move |address: &Arc<_>| Source {
            address: format!("{address:?}"),
            asked: script.clone(),
        };
        let rules = Arc::new(IasRules::new(binding, settings).unwrap());
        let issuer = IasIssuer::new(rules, Box::new(make), TaskTracker::new(), Metrics::default());
        Self { issuer, asked }
    }

    fn fetches(&self) -> usize {
        self.asked.0.lock().unwrap().len()
    }

    async fn verify(&self, token: &str) -> Result<Caller, AuthError> {
        let token = CompactToken::parse(token)?;
        self.issuer.verify(&token, now()).await.map(|verified| verified.caller)
    }

    async fn claims(&self, claims: &Value) -> Result<Caller, AuthError> {
        self.verify(&KEY.token(&valid_header(), claims)).await
    }
}

fn valid() -> Value {
    json!({
        "iss": format!("https://home.{DOMAIN}"), "aud": [OWN], "azp": CALLER, "sub": CALLER,
        "app_tid": TENANT, "ias_apis": ["read"], "jti": "0815", "iat": NOW - 100, "exp": NOW + 1000
    })
}

/// The valid claims with changes: a JSON text per claim; an empty text removes the claim.
fn changed(changes: &[(&str, &str)]) -> Value {
    let mut claims = valid();
    for (claim, text) in changes {
        if text.is_empty() {
            claims.as_object_mut().unwrap().remove(*claim);
        } else {
            claims[*claim] = body::decode(text.as_bytes()).unwrap();
        }
    }
    claims
}

fn reason(verdict: Result<Caller, AuthError>) -> &'static str {
    verdict.map_or_else(|error| error.reason(), |_| "accepted")
}

const OK: &str = "accepted";

#[rstest]
// Issuer. All spellings are in `ias/domains/tests.rs`.
#[case::other_label("iss", r#""https://other.accounts.example.test""#, OK)]
#[case::no_scheme("iss", r#""home.accounts.example.test""#, OK)]
#[case::the_domain("iss", r#""https://accounts.example.test""#, OK)]
#[case::foreign_issuer("iss", r#""https://home.attacker.example""#, "issuer")]
#[case::empty_issuer("iss", r#""""#, "issuer")]
#[case::no_issuer("iss", "", "issuer")]
#[case::issuer_with_path("iss", r#""https://home.accounts.example.test/oauth/token""#, "issuer")]
#[case::issuer_list("iss", r#"["https://home.accounts.example.test"]"#, "claims_malformed")]
#[case::issuer_number("iss", "7", "claims_malformed")]
#[case::issuer_null("iss", "null", "claims_malformed")]
#[case::ias_iss("ias_iss", r#""https://home.accounts.example.test""#, OK)]
#[case::ias_iss_foreign("ias_iss", r#""https://home.attacker.example""#, "issuer")]
#[case::ias_iss_empty("ias_iss", r#""""#, "issuer")]
#[case::ias_iss_list("ias_iss", r#"["https://home.accounts.example.test"]"#, "claims_malformed")]
#[case::ias_iss_number("ias_iss", "1", "claims_malformed")]
#[case::ias_iss_null("ias_iss", "null", "claims_malformed")]
// Tenant.
#[case::configured_tenant("app_tid", r#""tenant-2""#, OK)]
#[case::foreign_tenant("app_tid", r#""tenant-3""#, "zone")]
#[case::tenant_in_upper_case("app_tid", r#""TENANT-1""#, "zone")]
#[case::tenant_with_blank("app_tid", r#""tenant-1 ""#, "zone")]
#[case::tenant_empty("app_tid", r#""""#, "zone")]
#[case::no_tenant("app_tid", "", "zone")]
#[case::tenant_list("app_tid", r#"["tenant-1"]"#, "claims_malformed")]
#[case::tenant_null("app_tid", "null", "claims_malformed")]
#[case::tenants_agree("zone_uuid", r#""tenant-1""#, OK)]
#[case::tenants_differ("zone_uuid", r#""tenant-2""#, "zone")]
#[case::xsuaa_zone_is_no_tenant("zid", r#""tenant-3""#, OK)]
// Audience.
#[case::audience_text("aud", r#""broker-client""#, OK)]
#[case::audience_among_others("aud", r#"["a","broker-client","b"]"#, OK)]
#[case::audience_with_dot("aud", r#"["broker-client.data"]"#, "audience")]
#[case::audience_longer("aud", r#"["broker-client0"]"#, "audience")]
#[case::audience_in_upper_case("aud", r#"["BROKER-CLIENT"]"#, "audience")]
#[case::audience_with_blank("aud", r#"[" broker-client"]"#, "audience")]
#[case::audience_joined("aud", r#""a broker-client""#, "audience")]
#[case::audience_empty("aud", "[]", "audience")]
#[case::audience_clone("aud", r#"["sb-x!b1|broker-client"]"#, "audience")]
#[case::no_audience("aud", "", "audience")]
#[case::audience_object("aud", r#"{"broker-client":1}"#, "claims_malformed")]
#[case::audience_with_number("aud", r#"["broker-client",1]"#, "claims_malformed")]
#[case::audience_null("aud", "null", "claims_malformed")]
// Client.
#[case::other_client("azp", r#""caller-2""#, OK)]
#[case::no_azp("azp", "", OK)]
#[case::azp_printable("azp", r#""~a b!""#, OK)]
#[case::azp_empty("azp", r#""""#, "client")]
#[case::azp_with_line_break("azp", r#""a\r\nx-app_tid: b""#, "client")]
#[case::azp_with_tab("azp", r#""a\tb""#, "client")]
#[case::azp_with_nul("azp", r#""a\u0000""#, "client")]
#[case::azp_beyond_ascii("azp", r#""ä""#, "client")]
#[case::azp_with_blank_at_the_end("azp", r#""a ""#, "client")]
#[case::azp_list("azp", r#"["caller-1"]"#, "claims_malformed")]
#[case::azp_null("azp", "null", "claims_malformed")]
// Times, including the cases of SAP's Java library. The exact limits are tested with XSUAA tokens.
#[case::no_exp("exp", "", "expiry")]
#[case::exp_60_s_ago("exp", "1799999940", "expiry")]
#[case::exp_59_s_ago("exp", "1799999941", "expiry")]
#[case::exp_58_s_ago("exp", "1799999942", OK)]
#[case::exp_in_60_s("exp", "1800000060", OK)]
#[case::exp_in_two_days("exp", "1800172800", "expiry")]
#[case::exp_zero("exp", "0", "expiry")]
#[case::exp_text("exp", r#""1800000060""#, "claims_malformed")]
#[case::exp_null("exp", "null", "claims_malformed")]
#[case::no_nbf("nbf", "", OK)]
#[case::nbf_now("nbf", "1800000000", OK)]
#[case::nbf_in_59_s("nbf", "1800000059", OK)]
#[case::nbf_in_60_s("nbf", "1800000060", "not_before")]
#[case::nbf_zero("nbf", "0", "not_before")]
#[case::iat_in_59_s("iat", "1800000059", OK)]
#[case::iat_in_60_s("iat", "1800000060", "issued_at")]
#[case::no_iat("iat", "", OK)]
// Kinds of tokens.
#[case::refresh_token("jti", r#""0815-r""#, "refresh_token")]
#[case::logout_token(
    "events",
    r#"{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
    "type"
)]
#[case::events_null("events", "null", "type")]
#[case::unknown_claims("whatever", r#"[[{"a":null}]]"#, OK)]
#[case::scopes_of_xsuaa_are_no_scopes("scope", r#""text""#, OK)]
#[case::apis_text("ias_apis", r#""read""#, OK)]
#[case::apis_object("ias_apis", r#"{"read":1}"#, "claims_malformed")]
#[case::apis_null("ias_apis", "null", "claims_malformed")]
#[case::apis_with_number("ias_apis", r#"["read",1]"#, "claims_malformed")]
#[case::cnf_text("cnf", r#""x""#, "claims_malformed")]
#[tokio::test(start_paused = true)]
async fn one_other_claim(#[case] claim: &str, #[case] text: &str, #[case] expected: &str) {
    let fixture = Fixture::new();
    assert_eq!(reason(fixture.claims(&changed(&[(claim, text)])).await), expected);
    assert_eq!(fixture.fetches(), usize::from(expected == OK), "who is refused causes no fetch");
}

#[rstest]
#[case::custom_domain_with_own_name(
    &[("iss", r#""https://login.customer.example""#), ("ias_iss", r#""https://home.accounts.example.test""#)], OK)]
#[case::own_domain_with_foreign_name(
    &[("iss", r#""https://home.accounts.example.test""#), ("ias_iss", r#""https://evil.example""#)], "issuer")]
#[case::own_name_alone(&[("iss", ""), ("ias_iss", r#""home.accounts.example.test""#)], OK)]
#[case::older_name_of_the_tenant(&[("app_tid", ""), ("zone_uuid", r#""tenant-1""#)], OK)]
#[case::older_name_of_a_foreign_tenant(&[("app_tid", ""), ("zone_uuid", r#""tenant-3""#)], "zone")]
#[case::azp_is_no_audience(&[("aud", r#"["other"]"#), ("azp", r#""broker-client""#)], "audience")]
#[case::no_client_at_all(&[("azp", ""), ("sub", "")], "client")]
#[case::subject_unfit_as_client(&[("azp", ""), ("sub", r#""ä""#)], "client")]
#[case::subject_may_be_anything_beside_azp(&[("sub", r#""ä""#)], OK)]
#[case::nbf_good_exp_two_minutes_ago(&[("nbf", "1799999000"), ("exp", "1799999880")], "expiry")]
#[case::exp_good_nbf_in_two_minutes(&[("exp", "1800000600"), ("nbf", "1800000120")], "not_before")]
#[tokio::test(start_paused = true)]
async fn several_other_claims(#[case] changes: &[(&str, &str)], #[case] expected: &str) {
    assert_eq!(reason(Fixture::new().claims(&changed(changes)).await), expected);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_at_most_256_characters() {
    let fixture = Fixture::new();
    for (length, expected) in [(256, OK), (257, "client")] {
        let azp = format!("\"{}\"", "a".repeat(length));
        assert_eq!(reason(fixture.claims(&changed(&[("azp", &azp)])).await), expected, "{length}");
    }
}

#[rstest]
#[case::no_kid(json!({"alg": "RS256"}), "key_id")]
#[case::other_kid(json!({"alg": "RS256", "kid": "default-kid"}), "key_unknown")]
#[case::none(json!({"alg": "none", "kid": KID}), "algorithm")]
#[case::hmac(json!({"alg": "HS256", "kid": KID}), "algorithm")]
#[case::logout(json!({"alg": "RS256", "kid": KID, "typ": "logout+jwt"}), "type")]
#[case::crit(json!({"alg": "RS256", "kid": KID, "crit": ["exp"]}), "header_member")]
#[case::jku(json!({"alg": "RS256", "kid": KID, "jku": "https://evil.example/certs"}), OK)]
#[tokio::test(start_paused = true)]
async fn the_header_rules_are_those_of_xsuaa(#[case] header: Value, #[case] expected: &str) {
    let verdict = Fixture::new().verify(&KEY.token(&header, &valid())).await;
    assert_eq!(reason(verdict), expected);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_signature_is_refused() {
    let forged = OTHER_KEY.token(&valid_header(), &valid());
    assert_eq!(reason(Fixture::new().verify(&forged).await), "signature");
}

#[rstest]
#[case::none_listed(&[], "unlisted", &[])]
#[case::listed_api(&["x", "read"], "unlisted", &[Scope::RoutesRead])]
#[case::two_apis_of_one_scope(&["read", "all"], "unlisted", &[Scope::RoutesRead])]
#[case::api_in_upper_case(&["READ"], "unlisted", &[])]
#[case::apis_joined(&["read all"], "unlisted", &[])]
#[case::scope_for_an_api(&["Routes.Read"], "unlisted", &[])]
#[case::listed_client(&[], "named", &[Scope::ApiProxy])]
#[case::both(&["read"], "named", &[Scope::RoutesRead, Scope::ApiProxy])]
#[case::client_with_colon(&[], "x:named", &[])]
#[tokio::test(start_paused = true)]
async fn scopes_come_from_granted_apis_and_clients(
    #[case] apis: &[&str],
    #[case] client: &str,
    #[case] expected: &[Scope],
) {
    let mut claims = valid();
    claims["ias_apis"] = json!(apis);
    claims["azp"] = json!(client);
    claims["scope"] = json!(["broker!t1.Routes.Admin", "Routes.Admin"]);
    assert_eq!(Fixture::new().claims(&claims).await.unwrap().scopes(), expected);
}

#[tokio::test(start_paused = true)]
async fn without_grants_a_caller_has_no_scope() {
    let ias = IasSettings { enabled: true, ..IasSettings::default() };
    let fixture = Fixture::with(&identity(), &Settings { ias, ..Settings::default() });
    assert_eq!(fixture.claims(&valid()).await.unwrap().scopes(), []);
    assert_eq!(reason(fixture.claims(&changed(&[("app_tid", r#""tenant-2""#)])).await), "zone");
}

#[tokio::test(start_paused = true)]
async fn pins_restrict_ias_callers_by_their_full_name() {
    for (pin, expected) in
        [("ias:tenant-1:caller-1", 1), ("caller-1", 0), ("ias:tenant-2:caller-1", 0)]
    {
        let pins = AllowedClients(ScopeGrants::only(Scope::RoutesRead, &[pin]));
        let fixture = Fixture::with(&identity(), &Settings { pins, ..settings() });
        assert_eq!(fixture.claims(&valid()).await.unwrap().scopes().len(), expected, "{pin}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_a_client_of_a_tenant() {
    let fixture = Fixture::new();
    let name = async |changes: &[(&str, &str)]| {
        fixture.claims(&changed(changes)).await.unwrap().client_id().to_owned()
    };
    assert_eq!(name(&[("sub", r#""user""#)]).await, "ias:tenant-1:caller-1");
    assert_eq!(name(&[("azp", ""), ("sub", r#""user""#)]).await, "ias:tenant-1:user");
    assert_eq!(name(&[("app_tid", r#""tenant-2""#)]).await, "ias:tenant-2:caller-1");
    assert_eq!(
        name(&[("iss", r#""https://other.accounts.example.test""#)]).await,
        "ias:tenant-1:caller-1"
    );
    let mut claims = valid();
    claims["user_uuid"] = json!("u-1");
    claims["cnf"] = json!({"x5t#S256": "thumb"});
    let caller = fixture.claims(&claims).await.unwrap();
    assert_eq!(
        (caller.zone(), caller.user(), caller.subject()),
        (TENANT, Some("u-1"), Some(CALLER))
    );
    assert_eq!((caller.certificate(), caller.origin()), (Some("thumb"), None));
    assert_eq!(caller.token_hash().map(str::len), Some(64));
}

#[rstest]
#[case::empty_list(&[])]
#[case::nothing_usable(&["https://accounts.example.test", "test", ""])]
#[tokio::test(start_paused = true)]
async fn without_a_usable_domain_every_token_is_refused(#[case] domains: &[&str]) {
    let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
    let binding = IdentityBinding { domains, ..identity() };
    let fixture = Fixture::with(&binding, &settings());
    for claim in ["iss", "ias_iss"] {
        let issuer = format!("\"https://home.{DOMAIN}\"");
        assert_eq!(reason(fixture.claims(&changed(&[(claim, &issuer)])).await), "issuer");
    }
    assert_eq!(fixture.fetches(), 0);
}

/// A flood of forged tokens, each with a new client or label.
async fn flood(
    fixture: &Fixture,
    count: usize,
    address: impl Fn(usize) -> [(&'static str, String); 1],
) -> [usize; 2] {
    let (mut signature, mut unavailable) = (0, 0);
    for number in 0..count {
        let changes = address(number);
        let changes: Vec<_> = changes.iter().map(|(claim, text)| (*claim, text.as_str())).collect();
        let forged = OTHER_KEY.token(&valid_header(), &changed(&changes));
        match reason(fixture.verify(&forged).await) {
            "signature" => signature += 1,
            "key_undecided" => unavailable += 1,
            other => panic!("{other}"),
        }
    }
    [signature, unavailable]
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_other_issuers_causes_few_fetches_and_does_not_affect_the_home_issuer() {
    let fixture = Fixture::new();
    let labels = |number| [("iss", format!("\"https://l{number}.accounts.example.test\""))];
    assert_eq!(flood(&fixture, 200, labels).await, [32, 168]);
    assert_eq!(fixture.fetches(), 32);
    let elsewhere =
        changed(&[("azp", "\"named\""), ("iss", "\"https://x.accounts.example.test\"")]);
    assert_eq!(reason(fixture.claims(&elsewhere).await), "key_undecided");
    fixture.claims(&valid()).await.unwrap();
    fixture.claims(&changed(&[("azp", "\"new\"")])).await.unwrap();
    assert_eq!(fixture.fetches(), 34);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_name_the_home_issuer_and_invented_clients_keep_no_caller_out() {
    let fixture = Fixture::new();
    let mut refused = [0, 0];
    for number in 0..200 {
        let claims = changed(&[("azp", &format!("\"invented-{number}\""))]);
        match reason(fixture.verify(&OTHER_KEY.token(&valid_header(), &claims)).await) {
            "key_unknown" => refused[0] += 1,
            "signature" => refused[1] += 1,
            other => panic!("{other}"),
        }
    }
    // Beyond the budget the issuer's own keys decide, which are fetched once.
    assert_eq!((refused, fixture.fetches()), ([32, 168], 33));
    let mut header = valid_header();
    for number in 0..200 {
        header["kid"] = json!(format!("invented-{number}"));
        let claims = changed(&[("azp", &format!("\"invented too-{number}\""))]);
        let verdict = fixture.verify(&OTHER_KEY.token(&header, &claims)).await;
        assert_eq!(reason(verdict), "key_undecided", "not decided");
    }
    assert_eq!(fixture.fetches(), 34, "one for the first invented key id");
    // A fresh caller is in at once, although the budget is used up.
    fixture.claims(&valid()).await.unwrap();
    fixture.claims(&changed(&[("azp", "\"new\"")])).await.unwrap();
    assert_eq!(fixture.fetches(), 36);
    // From now on a key of a caller is known, and forged tokens cause no fetch.
    let clients = |number| [("azp", format!("\"again-{number}\""))];
    assert_eq!(flood(&fixture, 200, clients).await, [200, 0]);
    assert_eq!(fixture.fetches(), 36);
}

/// With two issuers, neither checks the other's tokens.
#[tokio::test]
async fn a_token_is_checked_by_the_rules_of_the_issuer_that_it_names() {
    let (xsuaa, ias) = (super::support::valid_claims("127.0.0.1:1"), valid());
    let both = IssuerBindings { identity: Some(identity()), ..bound(binding("127.0.0.1:1")) };
    let only_ias = IssuerBindings { identity: Some(identity()), xsuaa: None };
    let only_xsuaa = bound(binding("127.0.0.1:1"));
    let mut with_ias_iss = xsuaa.clone();
    with_ias_iss["ias_iss"] = json!(7);
    let mut foreign = xsuaa.clone();
    foreign["iss"] = json!("https://x.authentication.attacker.example/oauth/token");
    let mut foreign_ias = ias.clone();
    foreign_ias["iss"] = json!("https://home.attacker.example");
    // Tokens that pass the rules of an issuer fail at its keys: no server is there.
    let (keys, off) = ("keys_unavailable", Settings::default());
    let on = settings();
    let cases = [
        (&on, &both, &xsuaa, keys),
        (&on, &both, &with_ias_iss, "claims_malformed"),
        (&on, &both, &foreign, "issuer"),
        (&on, &both, &foreign_ias, "issuer"),
        (&off, &both, &ias, "issuer"),
        (&off, &both, &with_ias_iss, keys),
        (&on, &only_xsuaa, &ias, "not_bound"),
        (&off, &only_xsuaa, &ias, "issuer"),
        (&on, &only_xsuaa, &xsuaa, keys),
        (&on, &only_ias, &xsuaa, "issuer"),
        (&off, &only_ias, &ias, "not_bound"),
    ];
    for (number, (settings, bound, claims, expected)) in cases.into_iter().enumerate() {
        let verifier = verifier_with(settings, bound, &client());
        let token = KEY.token(&valid_header(), claims);
        let verdict = verifier.verify(&bearer(&token), now()).await;
        assert_eq!(reason(verdict), expected, "case {number}");
        let is_ias_bound = settings.ias.enabled && bound.identity.is_some();
        let is_complete = settings.ias.enabled == is_ias_bound;
        assert_eq!(verifier.is_bound(), is_complete && (bound.xsuaa.is_some() || is_ias_bound));
    }
}

#[tokio::test]
async fn no_xsuaa_client_can_have_the_name_of_an_ias_client() {
    let server = super::support::KeyServer::start(key_set(&[KEY.jwk(KID)])).await;
    let verifier = verifier_with(&Settings::default(), &bound(binding(&server.domain)), &client());
    let mut claims = super::support::valid_claims(&server.domain);
    claims["cid"] = json!("ias:tenant-1:caller-1");
    let token = KEY.token(&valid_header(), &claims);
    assert_eq!(reason(verifier.verify(&bearer(&token), now()).await), "client");
}

#[rstest]
#[case::nothing(IasSettings::default(), &[])]
#[case::good(settings_with("ias:t:c", "t", "api"), &[])]
#[case::client_alone(settings_with("c", "t", "api"), &["ias.clients.api_proxy"])]
#[case::client_without_tenant(settings_with("ias::c", "t", "api"), &["ias.clients.api_proxy"])]
#[case::client_without_client(settings_with("ias:t:", "t", "api"), &["ias.clients.api_proxy"])]
#[case::empty_api(settings_with("ias:t:c", "t", ""), &["ias.apis.metrics_read"])]
#[case::tenant_with_colon(settings_with("ias:t:c", "a:b", "api"), &["ias.tenants"])]
#[case::tenant_empty(settings_with("ias:t:c", "", "api"), &["ias.tenants"])]
#[case::tenant_too_long(settings_with("ias:t:c", &"t".repeat(257), "api"), &["ias.tenants"])]
fn names_that_can_never_match_are_findings(#[case] ias: IasSettings, #[case] fields: &[&str]) {
    let settings = Settings { ias, ..Settings::default() };
    let found: Vec<_> = settings.validate().iter().map(|finding| finding.field).collect();
    assert_eq!(found, fields);
}

fn settings_with(client: &str, tenant: &str, api: &str) -> IasSettings {
    IasSettings {
        enabled: true,
        tenants: vec![tenant.to_owned()],
        apis: ScopeGrants::only(Scope::MetricsRead, &[api]),
        clients: ScopeGrants::only(Scope::ApiProxy, &[client]),
    }
}
