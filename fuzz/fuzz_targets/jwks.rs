//! No key set makes its reader panic. It keeps at most 64 keys of 2048 to 8192 bit.

#![no_main]

use cfapi_broker::auth::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    parsers::key_set(bytes);
});
