//! No key set makes its reader panic, and what it keeps is within A5 (S11).

#![no_main]

use cfapi_broker::auth::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    parsers::key_set(bytes);
});
