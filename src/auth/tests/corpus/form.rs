//! The encoding of a token and its header.

use super::{Case, READ, Refuse, tables::HEADER_MEMBERS, valid_claims, valid_header};
use crate::auth::tests::support::{KEY, base64url};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use serde_json::json;

/// The three segments.
pub(super) fn encoding() -> Vec<Case> {
    /// `H`, `P` and `S` stand for the valid segments.
    const FORMS: &[(&str, &str)] = &[
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
        ("trailing dot", "H.P.S."),
        ("leading dot", ".H.P.S"),
        ("encrypted form of five parts", "H.P.S.e30.e30"),
        ("percent sign", "H.P.S%3D"),
        ("plus of the standard alphabet", "H.P.+S"),
        ("slash of the standard alphabet", "H.P./S"),
        ("garbage after the signature", "H.P.S!"),
        ("tail of one character", "H.P.AAAAA"),
        ("one byte with unused bits set", "H.P.AB"),
        ("one byte with the third unused bit set", "H.P.AE"),
        ("one byte with the fourth unused bit set", "H.P.AI"),
        ("two bytes with unused bits set", "H.P.AAB"),
        ("two bytes with the second unused bit set", "H.P.AAC"),
    ];
    let forms = FORMS.iter().map(|(name, form)| {
        Case::edited(name, Refuse("token_form"), |segments| fill(form, segments))
    });
    let loose = Case::edited(
        "signature with unused bits set",
        Refuse("token_form"),
        |[header, payload, signature]| {
            // The last character of 256 bytes has four used bits.
            let mut signature = signature.to_owned();
            let last = signature.pop().and_then(|last| u8::try_from(last).ok()).unwrap();
            format!("{header}.{payload}.{signature}{}", char::from(last + 1))
        },
    );
    let long = Case::claims("token above the limit", Refuse("token_size"), |claims| {
        claims["pad"] = json!("x".repeat(12_300));
    });
    forms.chain([loose, long]).collect()
}

/// Fills the segments into a form.
fn fill(form: &str, [header, payload, signature]: [&str; 3]) -> String {
    let parts = form.chars().map(|letter| match letter {
        'H' => header.to_owned(),
        'P' => payload.to_owned(),
        'S' => signature.to_owned(),
        other => other.to_string(),
    });
    parts.collect()
}

/// Texts that are no header.
const MALFORMED: &[(&str, &str)] = &[
    ("header array", r#"["RS256","JWT","key-1"]"#),
    ("header text", r#""RS256""#),
    ("header null", "null"),
    ("header not JSON", "alg=RS256"),
    ("header with trailing text", r#"{"alg":"RS256","kid":"key-1"}{}"#),
    ("header cut off", r#"{"alg":"RS256","kid":"key-1""#),
    ("header with byte order mark", "\u{feff}{\"alg\":\"RS256\",\"kid\":\"key-1\"}"),
];

/// Members of the header.
pub(super) fn header() -> Vec<Case> {
    let malformed = MALFORMED
        .iter()
        .map(|(name, text)| Case::header_text((name, Refuse("header_malformed"), text)));
    let longest = |name, verdict, length: usize| {
        Case::new(name, verdict, move |domain| {
            let mut header = valid_header();
            header["kid"] = json!("k".repeat(length));
            KEY.token(&header, &valid_claims(domain))
        })
    };
    let others = [
        Case::header_text((
            "blanks around members",
            READ,
            " {\n\"alg\" : \"RS256\", \"kid\":\"key-1\" }\t",
        )),
        Case::header_text((
            "escaped member name",
            READ,
            r#"{"\u0061lg":"RS256","kid":"key\u002d1"}"#,
        )),
        longest("kid of 257", Refuse("key_id"), 257),
        longest("kid of 256", Refuse("key_unknown"), 256),
        Case::new("header not UTF-8", Refuse("header_malformed"), |domain| {
            let header = base64url(b"{\"alg\":\"RS256\",\"kid\":\"key-1\",\"x\":\"\xff\"}");
            signed(&header, &base64url(valid_claims(domain).to_string().as_bytes()))
        }),
        Case::new("claims not UTF-8", Refuse("claims_malformed"), |domain| {
            let mut payload = valid_claims(domain).to_string().into_bytes();
            payload.splice(1..1, *b"\"x\":\"\xff\",");
            signed(&base64url(valid_header().to_string().as_bytes()), &base64url(&payload))
        }),
    ];
    HEADER_MEMBERS.iter().copied().map(Case::header).chain(malformed).chain(others).collect()
}

/// A signed token of encoded segments.
fn signed(header: &str, payload: &str) -> String {
    let text = format!("{header}.{payload}");
    format!("{text}.{}", base64url(&KEY.sign(&text, &RSA_PKCS1_SHA256)))
}

/// Duplicate members in header and payload.
pub(super) fn duplicates() -> Vec<Case> {
    const HEADERS: &[(&str, &str)] = &[
        ("alg twice", r#"{"alg":"none","alg":"RS256","kid":"key-1"}"#),
        ("alg twice, same", r#"{"alg":"RS256","alg":"RS256","kid":"key-1"}"#),
        ("kid twice", r#"{"alg":"RS256","kid":"x","kid":"key-1"}"#),
        ("kid twice, once escaped", r#"{"alg":"RS256","kid":"key-1","\u006bid":"key-1"}"#),
        ("jku twice", r#"{"alg":"RS256","kid":"key-1","jku":"a","jku":"b"}"#),
        ("unknown header member twice", r#"{"alg":"RS256","kid":"key-1","x":1,"x":1}"#),
    ];
    const PAYLOADS: &[(&str, &str)] = &[
        ("exp twice", r#"{…,"exp":1800000500}"#),
        ("scope twice", r#"{"scope":["broker!t1.Routes.Admin"],…}"#),
        ("zid twice", r#"{…,"zid":"zone-of-provider"}"#),
        ("iss twice", r#"{…,"iss":"https://provider.DOMAIN/oauth/token"}"#),
        ("cid twice", r#"{"cid":"sb-other!t2",…}"#),
        ("aud twice", r#"{…,"aud":"broker!t1"}"#),
        ("aud twice, once escaped", r#"{…,"\u0061ud":"broker!t1"}"#),
        ("unknown claim twice", r#"{…,"x":1,"x":2}"#),
    ];
    let headers = HEADERS
        .iter()
        .map(|(name, text)| Case::header_text((name, Refuse("header_malformed"), text)));
    let payloads =
        PAYLOADS.iter().map(|(name, text)| Case::payload((name, Refuse("claims_malformed"), text)));
    headers.chain(payloads).collect()
}
