//! Claims: their rules and their encoding.

use super::{
    Accept, Case, NOTHING, READ, Refuse, Verdict,
    tables::{AUDIENCES, IDENTITY, ISSUERS, SCOPES, TIMES, ZONES},
};
use crate::{
    auth::{
        Scope,
        tests::support::{
            APPLICATION, CLIENT, KEY, KID, LONG_KEY, NOW, ZONE, valid_claims, valid_header,
        },
    },
    binding::XsuaaBinding,
};
use serde_json::{Value, json};

/// Valid tokens of each kind.
pub(super) fn valid() -> Vec<Case> {
    vec![
        Case::claims("technical caller", READ, |_| {}),
        Case::claims("user", READ, |claims| {
            claims["user_name"] = json!("ada");
            claims["origin"] = json!("corporate");
            claims["grant_type"] = json!("authorization_code");
        }),
        Case::claims("user forwarded by an approuter", READ, |claims| {
            claims["grant_type"] = json!("urn:ietf:params:oauth:grant-type:jwt-bearer");
            claims["ext_attr"] = json!({"enhancer": "XSUAA", "subaccountid": ZONE});
            claims["xs.user.attributes"] = json!({});
        }),
        Case::claims("own client as caller", READ, |claims| {
            claims["aud"] = json!(["other"]);
            claims["cid"] = json!(CLIENT);
        }),
        Case::claims("all scopes", Accept(&Scope::ALL), |claims| {
            let names = Scope::ALL.map(|scope| format!("{APPLICATION}.{}", scope.name()));
            claims["scope"] = json!(names);
        }),
        Case::claims("token just below the limit", READ, |claims| {
            claims["pad"] = json!("x".repeat(11_000));
        }),
        Case::new("key of 3072 bit", READ, |domain| {
            LONG_KEY.token(&valid_header(), &valid_claims(domain))
        })
        .with_keys(&[LONG_KEY.jwk(KID)]),
        Case::new("deep unknown claim", READ, |domain| {
            let deep = format!("{{\"deep\":{}{},", "[".repeat(5000), "]".repeat(5000));
            let payload = valid_claims(domain).to_string().replacen('{', &deep, 1);
            KEY.token_of_texts(&valid_header().to_string(), &payload)
        }),
    ]
}

/// The encoding of claims, and the claims that identify the caller.
pub(super) fn types() -> Vec<Case> {
    const TEXTS: &[(&str, &str)] = &[
        ("claims a list", "[{…}]"),
        ("claims null", "null"),
        ("claims a text", r#""{}""#),
        ("claims not JSON", "exp=1"),
        ("claims with trailing text", "{…} x"),
        ("claims cut off", "{…"),
        ("claims with an extra comma", "{…,}"),
        ("claims with a comment", "{…/**/}"),
        ("claims with a byte order mark", "\u{feff}{…}"),
        ("claims with a lone surrogate in one that counts", r#"{…,"user_name":"\ud800"}"#),
        ("iat too large for a number", r#"{…,"nbf":1e400}"#),
    ];
    let texts =
        TEXTS.iter().map(|(name, text)| Case::payload((name, Refuse("claims_malformed"), text)));
    IDENTITY.iter().copied().map(Case::claim).chain(texts).collect()
}

/// `exp`, `nbf` and `iat`.
pub(super) fn times() -> Vec<Case> {
    let both = Case::claims("nbf valid, exp two minutes ago", Refuse("expiry"), |claims| {
        claims["nbf"] = json!(NOW - 600);
        claims["exp"] = json!(NOW - 120);
    });
    TIMES.iter().copied().map(Case::claim).chain([both]).collect()
}

/// The audience, by `aud` and, without one, by scopes.
pub(super) fn audiences() -> Vec<Case> {
    let from_scopes = |name, verdict, scopes: Value| {
        Case::claims(name, verdict, move |claims| {
            claims["aud"] = json!([]);
            claims["scope"] = scopes.clone();
        })
    };
    let refuse = Refuse("audience");
    let others = json!(["client.read", "test1!t1.read", "xsappid.namespace.ns.write", "openid"]);
    let scopes = [
        from_scopes(
            "aud empty, one of the scopes is ours",
            READ,
            json!(["openid", "broker!t1.Routes.Read"]),
        ),
        from_scopes("aud empty, others in scopes", refuse, others),
        from_scopes("aud empty, no dot in scopes", refuse, json!([APPLICATION, "openid"])),
        from_scopes("aud empty, dot first in a scope", refuse, json!([".broker!t1"])),
        from_scopes("aud empty, no scopes", refuse, json!([])),
    ];
    AUDIENCES.iter().copied().map(Case::claim).chain(scopes).collect()
}

/// The audience of cloned clients.
pub(super) fn clones() -> Vec<Case> {
    let bind: fn(&mut XsuaaBinding) = |binding| {
        "sb-app!b123".clone_into(&mut binding.client_id);
        "app!b123".clone_into(&mut binding.xsappname);
    };
    let named = |name: &'static str, verdict: Verdict, claim: &'static str, value: Value| {
        let case = Case::claims(name, verdict, move |claims| {
            claims["aud"] = json!([]);
            claims["scope"] = json!(["openid"]);
            claims[claim] = value.clone();
        });
        case.bound(bind)
    };
    let refuse = Refuse("audience");
    vec![
        named("clone of the application", NOTHING, "aud", json!(["sb-f7-guid!b446|app!b123"])),
        named("clone as caller", NOTHING, "cid", json!("sb-clone!b446|app!b123")),
        named("clone of another application", refuse, "aud", json!(["sb-clone!b123|xxxapp!b123"])),
        named("clone without a bar", refuse, "aud", json!(["sb-clone!b123app!b123"])),
        named("clone with trailing text", refuse, "aud", json!(["sb-clone!b123|app!b123.x"])),
    ]
}

/// `zid`.
pub(super) fn zones() -> Vec<Case> {
    let second = Case::claim(("second zone of the binding", READ, "zid", r#""second""#))
        .bound(|binding| binding.zones.push("second".to_owned()));
    let empty = Case::claim(("empty zone in the binding", Refuse("zone"), "zid", r#""""#))
        .bound(|binding| binding.zones.push(String::new()));
    ZONES.iter().copied().map(Case::claim).chain([second, empty]).collect()
}

/// `iss`. A remote domain cannot be served in a test; its valid issuers are tested in `domain.rs`.
pub(super) fn issuers() -> Vec<Case> {
    const REMOTE: &[(&str, &str)] = &[
        ("remote issuer of plain http", r#""http://provider.uaa.example.test/oauth/token""#),
        ("remote issuer without label", r#""https://uaa.example.test/oauth/token""#),
        ("loopback issuer for a remote domain", r#""http://provider.DOMAIN/oauth/token""#),
    ];
    let remote = REMOTE.iter().map(|(name, iss)| {
        Case::claim((name, Refuse("issuer"), "iss", iss))
            .bound(|binding| "uaa.example.test".clone_into(&mut binding.uaa_domain))
    });
    ISSUERS.iter().copied().map(Case::claim).chain(remote).collect()
}

/// `scope`.
pub(super) fn scopes() -> Vec<Case> {
    SCOPES.iter().copied().map(Case::claim).collect()
}

/// Tokens that are no access tokens for the broker.
pub(super) fn kinds() -> Vec<Case> {
    vec![
        Case::claims("logout token", Refuse("expiry"), |claims| {
            claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
            claims.as_object_mut().unwrap().remove("exp");
        }),
        Case::claims("id token without scopes", Refuse("scope"), |claims| {
            claims["nonce"] = json!("n");
            claims["aud"] = json!(CLIENT);
            claims.as_object_mut().unwrap().remove("scope");
        }),
        Case::claims("id token with openid", NOTHING, |claims| {
            claims["nonce"] = json!("n");
            claims["aud"] = json!([CLIENT]);
            claims["scope"] = json!(["openid"]);
        }),
        Case::claims("token of the UAA for the CF API", Refuse("zone"), |claims| {
            claims["aud"] = json!(["cloud_controller", "cf"]);
            claims["zid"] = json!("uaa");
        }),
        Case::claims("token for another application", Refuse("audience"), |claims| {
            claims["aud"] = json!(["destination-xsappname!b404", "sb-caller!t7"]);
            claims["scope"] = json!(["uaa.resource"]);
        }),
    ]
}
