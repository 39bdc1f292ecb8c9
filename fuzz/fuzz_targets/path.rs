//! What passes is what is sent: the gate, the policy, the permit and the call of the broker, byte for byte (S26).

#![no_main]

use cfapi_broker::http::test_harness::TestHarness;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static HARNESS: LazyLock<TestHarness> = LazyLock::new(|| TestHarness::new().expect("constants are valid"));

fuzz_target!(|bytes: &[u8]| {
    HARNESS.check(bytes);
    // Most inputs would fail by their first bytes.
    HARNESS.check(&[b"/v3/".as_slice(), bytes].concat());
    HARNESS.check(&[b"/v3/spaces?".as_slice(), bytes].concat());
});
