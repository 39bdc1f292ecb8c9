//! A request that passes is sent byte for byte as it was checked: request validation, policy,
//! permit and CF call.

#![no_main]

use cfapi_broker::http::test_harness::TestHarness;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static HARNESS: LazyLock<TestHarness> = LazyLock::new(|| TestHarness::new().expect("constants are valid"));

fuzz_target!(|bytes: &[u8]| {
    HARNESS.check(bytes);
    // Without a prefix most inputs would fail at their first bytes.
    HARNESS.check(&[b"/v3/".as_slice(), bytes].concat());
    HARNESS.check(&[b"/v3/spaces?".as_slice(), bytes].concat());
});
