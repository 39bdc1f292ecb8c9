//! No JOSE header and no claims make their readers panic.

#![no_main]

use cfapi_broker::auth::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    parsers::jose_header(bytes);
    parsers::claims(bytes);
});
