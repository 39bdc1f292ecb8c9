//! The claims of a token, and kinds of tokens.

use serde_json::json;

use super::{Case, Row, TokenIssuer};

/// One changed claim each.
const ROWS: &[Row] = &[
    // Times. The clock goes on while the cases are sent, so they keep a distance from the limits.
    // The exact limits are tested in `src/auth/tests/corpus`.
    ("exp 20 s ago", 200, "exp", "@-20"),
    ("exp in a day", 200, "exp", "@86400"),
    ("exp with a fraction", 200, "exp", "4102444800.5e-1"),
    ("exp 70 s ago", 401, "exp", "@-70"),
    ("exp an hour ago", 401, "exp", "@-3600"),
    ("exp in a day and 20 min", 401, "exp", "@87600"),
    ("exp in milliseconds", 401, "exp", "4102444800000"),
    ("exp zero", 401, "exp", "0"),
    ("no exp", 401, "exp", ""),
    ("exp text", 401, "exp", r#""4102444800""#),
    ("exp null", 401, "exp", "null"),
    ("exp true", 401, "exp", "true"),
    ("exp list", 401, "exp", "[4102444800]"),
    ("exp negative", 401, "exp", "-1"),
    ("exp huge", 401, "exp", "1e300"),
    ("nbf now", 200, "nbf", "@0"),
    ("nbf in 50 s", 200, "nbf", "@50"),
    ("nbf in ten minutes", 401, "nbf", "@600"),
    ("nbf zero", 401, "nbf", "0"),
    ("nbf text", 401, "nbf", r#""1800000000""#),
    ("nbf null", 401, "nbf", "null"),
    ("no iat", 200, "iat", ""),
    ("iat in 50 s", 200, "iat", "@50"),
    ("iat in ten minutes", 401, "iat", "@600"),
    ("iat text", 401, "iat", r#""1""#),
    ("jti of a refresh token", 401, "jti", r#""0123456789abcdef-r""#),
    // Audience.
    ("aud text, application", 200, "aud", r#""APP""#),
    ("aud text, client", 200, "aud", r#""sb-APP""#),
    ("aud part of the client", 200, "aud", r#"["sb-APP.data.x"]"#),
    ("no aud, application in scopes", 200, "aud", ""),
    ("aud empty list, application in scopes", 200, "aud", "[]"),
    ("aud other", 401, "aud", r#"["client","foreign","sb-test4!t1.data"]"#),
    ("aud longer name", 401, "aud", r#"["APP0"]"#),
    ("aud in other case", 401, "aud", r#"["CFAPI-BROKER!T1"]"#),
    ("aud with blank", 401, "aud", r#"[" APP"]"#),
    ("aud of dots", 401, "aud", r#"[".","test."," .test2"]"#),
    ("aud joined by blanks", 401, "aud", r#""other APP""#),
    ("aud of a clone, we are no instance", 401, "aud", r#"["sb-clone!b2|APP"]"#),
    ("aud null", 401, "aud", "null"),
    ("aud object", 401, "aud", r#"{"APP":true}"#),
    ("aud list with a number", 401, "aud", r#"["APP",1]"#),
    // Zone.
    ("zone of a subscriber", 401, "zid", r#""11111111-0815-4711-8899-aabbccddeeff""#),
    ("zone in upper case", 401, "zid", r#""B0A1C2D3-0815-4711-8899-AABBCCDDEEFF""#),
    ("zone with a query", 401, "zid", r#""ZONE&x=1""#),
    ("zone empty", 401, "zid", r#""""#),
    ("no zone", 401, "zid", ""),
    ("zone a list", 401, "zid", r#"["ZONE"]"#),
    // Issuer.
    ("issuer with label", 200, "iss", r#""https://provider.DOMAIN/oauth/token""#),
    ("issuer with label in mixed case", 200, "iss", r#""https://T-0815x.DOMAIN/oauth/token""#),
    ("issuer of another host", 401, "iss", r#""https://provider.attacker.example/oauth/token""#),
    ("issuer that ends like ours", 401, "iss", r#""https://evilDOMAIN/oauth/token""#),
    ("issuer with two labels", 401, "iss", r#""https://a.b.DOMAIN/oauth/token""#),
    ("issuer with user", 401, "iss", r#""https://a@DOMAIN/oauth/token""#),
    ("issuer with escape", 401, "iss", r#""https://a%2eDOMAIN/oauth/token""#),
    ("issuer without path", 401, "iss", r#""https://provider.DOMAIN""#),
    ("issuer with query", 401, "iss", r#""https://a.DOMAIN/oauth/token?x=https://evil""#),
    ("issuer that contains ours", 401, "iss", r#""https://evil/https://a.DOMAIN/oauth/token""#),
    ("no issuer", 401, "iss", ""),
    ("issuer a list", 401, "iss", r#"["https://a.DOMAIN/oauth/token"]"#),
    // Client id and scopes.
    ("no client id", 401, "cid", ""),
    ("client id empty", 401, "cid", r#""""#),
    ("scopes with others between", 200, "scope", r#"["openid","APP.Spaces.Read","x.y"]"#),
    ("no scopes", 401, "scope", ""),
    ("scopes a text", 401, "scope", r#""APP.Spaces.Read""#),
    ("scopes null", 401, "scope", "null"),
    ("scopes with a number", 401, "scope", r#"["APP.Spaces.Read",1]"#),
    ("scopes empty", 403, "scope", "[]"),
    ("scope openid only", 403, "scope", r#"["openid"]"#),
    ("scope with the literal prefix", 403, "scope", r#"["$XSAPPNAME.Spaces.Read"]"#),
    ("scope of another application", 403, "scope", r#"["other!t1.Spaces.Read"]"#),
    ("scope in lower case", 403, "scope", r#"["APP.spaces.read"]"#),
    ("scope with trailing text", 403, "scope", r#"["APP.Spaces.Read.x"]"#),
    ("scope with blank", 403, "scope", r#"["APP.Spaces.Read "]"#),
    ("scopes joined by blanks", 403, "scope", r#"["APP.Routes.Read APP.Spaces.Read"]"#),
    ("scope without prefix", 403, "scope", r#"["Spaces.Read"]"#),
];

pub(super) fn rows(issuer: &TokenIssuer) -> Vec<Case> {
    ROWS.iter()
        .map(|row| match row.2 {
            // The value in the table is too far ahead for a valid token.
            "exp" if row.0 == "exp with a fraction" => {
                let exp = issuer.claims["iat"].as_i64().unwrap() + 100;
                issuer.payload_with_exp(row.0, row.1, &format!("{exp}.5"))
            }
            _ => issuer.claim(*row),
        })
        .collect()
}

/// Payloads that are unusual as a whole. `…` stands for the valid members.
const TEXTS: &[(&str, u16, &str)] = &[
    ("unknown claims", 200, r#"{…,"x":[{"y":null}],"z":{}}"#),
    ("claims a list", 401, "[{…}]"),
    ("claims null", 401, "null"),
    ("claims not JSON", 401, "exp=1"),
    ("claims with trailing text", 401, "{…} x"),
    ("claims cut off", 401, "{…"),
    ("claims with a byte order mark", 401, "\u{feff}{…}"),
    ("exp twice", 401, r#"{…,"exp":4102444800}"#),
    ("scope twice", 401, r#"{"scope":["APP.Routes.Admin"],…}"#),
    ("zid twice", 401, r#"{…,"zid":"ZONE"}"#),
    ("cid twice", 401, r#"{"cid":"sb-other!t2",…}"#),
    ("aud twice, once escaped", 401, r#"{…,"\u0061ud":"APP"}"#),
    ("unknown claim twice", 401, r#"{…,"x":1,"x":2}"#),
    ("user name a number", 401, r#"{…,"user_name":7}"#),
];

pub(super) fn texts(issuer: &TokenIssuer) -> Vec<Case> {
    let deep = format!("{{\"deep\":{}{},…}}", "[".repeat(4000), "]".repeat(4000));
    let texts = TEXTS.iter().map(|(name, status, text)| issuer.payload(name, *status, text));
    texts.chain([issuer.payload("deep unknown claim", 200, &deep)]).collect()
}

/// Tokens of each kind.
pub(super) fn kinds(issuer: &TokenIssuer) -> Vec<Case> {
    let application = &issuer.application;
    let own = format!("sb-{application}");
    let scopes = json!([format!("{application}.Spaces.Read")]);
    vec![
        issuer.claims("user", 200, &json!({"user_name": "ada", "origin": "corporate", "user_id": "1"})),
        issuer.claims(
            "user forwarded by an approuter",
            200,
            &json!({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "user_name": "ada",
                "cid": own, "xs.user.attributes": {}}),
        ),
        issuer.claims("own client as caller", 200, &json!({"cid": own, "aud": ["other"]})),
        issuer.claims("id token", 403, &json!({"nonce": "n", "aud": own, "scope": ["openid"]})),
        issuer.claims(
            "token for another application",
            401,
            &json!({"aud": ["destination-xsappname!b404", "sb-caller!t7"], "scope": ["uaa.resource"]}),
        ),
        issuer.claims(
            "token of the UAA for the CF API",
            401,
            &json!({"aud": ["cloud_controller", "cf"], "zid": "uaa", "cid": "cf", "scope": scopes}),
        ),
    ]
}

impl TokenIssuer {
    /// A valid token with this text as `exp`.
    fn payload_with_exp(&self, name: &'static str, status: u16, exp: &str) -> Case {
        let mut claims = self.claims.clone();
        claims.as_object_mut().unwrap().remove("exp");
        let text = claims.to_string().replacen('{', &format!("{{\"exp\":{exp},"), 1);
        Case::token(name, status, &self.key.sign_texts(&self.header.to_string(), &text))
    }
}
