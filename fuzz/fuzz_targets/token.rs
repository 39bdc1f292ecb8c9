//! No value of `Authorization` makes the reader of tokens panic. An accepted token has only one
//! spelling.

#![no_main]

use cfapi_broker::auth::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    parsers::token(bytes);
    parsers::token(&[b"Bearer ".as_slice(), bytes].concat());
});
