//! The form of the header, of the token and of its JOSE header.

use super::{Case, Row, TokenIssuer, decoded, split};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Values of `Authorization`. `T` stands for the valid token.
const SENT: &[(&str, u16, &[&str])] = &[
    ("no header", 401, &[]),
    ("valid", 200, &["Bearer T"]),
    ("scheme in lower case", 200, &["bearer T"]),
    ("scheme in upper case", 200, &["BEARER T"]),
    ("two equal headers", 401, &["Bearer T", "Bearer T"]),
    ("a good header after a bad one", 401, &["Bearer x", "Bearer T"]),
    ("a bad header after a good one", 401, &["Bearer T", "Basic eDp5"]),
    ("two blanks", 401, &["Bearer  T"]),
    ("a tab for the blank", 401, &["Bearer\tT"]),
    ("no blank", 401, &["BearerT"]),
    ("token without scheme", 401, &["T"]),
    ("scheme without token", 401, &["Bearer"]),
    ("basic", 401, &["Basic Y2Y6"]),
    ("token as basic", 401, &["Basic T"]),
    ("another scheme", 401, &["DPoP T"]),
    ("two tokens", 401, &["Bearer T T"]),
    ("two tokens with a comma", 401, &["Bearer T,Bearer T"]),
    ("token in quotes", 401, &["Bearer \"T\""]),
    ("scheme twice", 401, &["Bearer Bearer T"]),
    ("a parameter at the end", 401, &["Bearer T; charset=utf-8"]),
];

pub(super) fn authorization(issuer: &TokenIssuer) -> Vec<Case> {
    let token = issuer.token();
    // No scheme contains this letter.
    let fill = |text: &&str| match text.split_once('T') {
        None => (*text).to_owned(),
        Some(_) => text.replace('T', &token),
    };
    let case = |&(name, status, values): &(&'static str, u16, &[&str])| Case {
        name,
        status,
        authorization: values.iter().map(fill).collect(),
    };
    SENT.iter().map(case).collect()
}

/// Forms of the token. `H`, `P` and `S` stand for the valid segments.
const WRITTEN: &[(&str, &str)] = &[
    ("padded header", "H=.P.S"),
    ("padded payload", "H.P==.S"),
    ("padded signature", "H.P.S=="),
    ("empty header", ".P.S"),
    ("empty payload", "H..S"),
    ("empty signature", "H.P."),
    ("no segments", ".."),
    ("two parts", "H.P"),
    ("one part", "H"),
    ("four parts", "H.P.S.e30"),
    ("five parts", "H.P.S.e30.e30"),
    ("trailing dot", "H.P.S."),
    ("leading dot", ".H.P.S"),
    ("percent sign", "H.P.S%3D"),
    ("plus of the standard alphabet", "H.P.+S"),
    ("slash of the standard alphabet", "H.P./S"),
    ("garbage after the signature", "H.P.S!"),
    ("signature of one byte with unused bits set", "H.P.AB"),
    ("signature of two bytes with unused bits set", "H.P.AAB"),
];

pub(super) fn encoding(issuer: &TokenIssuer) -> Vec<Case> {
    let token = issuer.token();
    let [header, payload, signature] = split(&token);
    let fill = |form: &str| -> String {
        let parts = form.chars().map(|letter| match letter {
            'H' => header.to_owned(),
            'P' => payload.to_owned(),
            'S' => signature.to_owned(),
            other => other.to_string(),
        });
        parts.collect()
    };
    let mut cases: Vec<_> =
        WRITTEN.iter().map(|&(name, form)| Case::token(name, 401, &fill(form))).collect();
    let mut loose = signature.to_owned();
    let last = char::from(u8::try_from(loose.pop().unwrap()).unwrap() + 1);
    let loose = format!("{header}.{payload}.{loose}{last}");
    cases.push(Case::token("signature with unused bits set", 401, &loose));
    let pad = |length: usize| format!("{{…,\"pad\":\"{}\"}}", "x".repeat(length));
    cases.push(issuer.payload("token just below the limit", 200, &pad(11_000)));
    cases.push(issuer.payload("token above the limit", 401, &pad(12_400)));
    cases
}

/// Members of the JOSE header.
const MEMBERS: &[Row] = &[
    ("type at+jwt", 200, "typ", r#""at+jwt""#),
    ("no type", 200, "typ", ""),
    ("jku of an attacker ignored", 200, "jku", r#""https://attacker.example/token_keys""#),
    ("x5u ignored", 200, "x5u", r#""https://attacker.example/chain""#),
    ("odd jwk ignored", 200, "jwk", "17"),
    ("unknown header member", 200, "nonce", r#"[{"a":[1,null]}]"#),
    ("type of an id token", 401, "typ", r#""id+jwt""#),
    ("type of a logout token", 401, "typ", r#""logout+jwt""#),
    ("type in lower case", 401, "typ", r#""jwt""#),
    ("type null", 401, "typ", "null"),
    ("crit empty", 401, "crit", "[]"),
    ("crit known", 401, "crit", r#"["exp"]"#),
    ("crit null", 401, "crit", "null"),
    ("b64 false", 401, "b64", "false"),
    ("zip", 401, "zip", r#""DEF""#),
    ("enc", 401, "enc", r#""A256GCM""#),
    ("cty", 401, "cty", r#""JWT""#),
    ("alg none", 401, "alg", r#""none""#),
    ("alg NONE", 401, "alg", r#""NONE""#),
    ("alg empty", 401, "alg", r#""""#),
    ("alg in lower case", 401, "alg", r#""rs256""#),
    ("alg unknown", 401, "alg", r#""RS257""#),
    ("no alg", 401, "alg", ""),
    ("alg a list", 401, "alg", r#"["RS256"]"#),
    ("alg null", 401, "alg", "null"),
    ("no kid", 401, "kid", ""),
    ("kid empty", 401, "kid", r#""""#),
    ("kid a list", 401, "kid", r#"["sandbox-xsuaa-key-1"]"#),
    ("kid a number", 401, "kid", "1"),
    ("kid in other case", 401, "kid", r#""SANDBOX-XSUAA-KEY-1""#),
    ("kid with blank", 401, "kid", r#""sandbox-xsuaa-key-1 ""#),
    ("kid as a path", 401, "kid", r#""../../sandbox-xsuaa-key-1""#),
];

/// JOSE headers that are unusual as a whole.
const HEADERS: &[(&str, u16, &str)] = &[
    ("blanks around members", 200, " {\n\"alg\" : \"RS256\", \"kid\":\"KID\" }\t"),
    ("escaped member name", 200, r#"{"\u0061lg":"RS256","kid":"KID"}"#),
    ("header a list", 401, r#"["RS256","JWT","KID"]"#),
    ("header null", 401, "null"),
    ("header not JSON", 401, "alg=RS256"),
    ("header with trailing text", 401, r#"{"alg":"RS256","kid":"KID"}{}"#),
    ("header cut off", 401, r#"{"alg":"RS256","kid":"KID""#),
    ("alg twice", 401, r#"{"alg":"none","alg":"RS256","kid":"KID"}"#),
    ("kid twice", 401, r#"{"alg":"RS256","kid":"x","kid":"KID"}"#),
    ("kid twice, once escaped", 401, r#"{"alg":"RS256","kid":"KID","\u006bid":"KID"}"#),
    ("unknown header member twice", 401, r#"{"alg":"RS256","kid":"KID","x":1,"x":1}"#),
];

pub(super) fn header(issuer: &TokenIssuer) -> Vec<Case> {
    let members = MEMBERS.iter().map(|row| issuer.header(*row));
    let texts = HEADERS.iter().map(|(name, status, text)| issuer.header_text(name, *status, text));
    let mut cases: Vec<_> = members.chain(texts).collect();
    let [_, payload, _] = split(&cases[0].authorization[0]).map(str::to_owned);
    assert!(decoded(&payload).is_object());
    let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#));
    cases.push(Case::token("alg none without signature", 401, &unsigned));
    cases
}
