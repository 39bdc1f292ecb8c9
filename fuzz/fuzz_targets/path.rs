//! What passes is what is sent: the gate, the policy, the permit and the call of the broker, byte for byte (S26).

#![no_main]

use cfapi_broker::http::passage::Passage;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static HOUSE: LazyLock<Passage> = LazyLock::new(|| Passage::new().expect("constants are lawful"));

fuzz_target!(|bytes: &[u8]| {
    HOUSE.check(bytes);
    // Most inputs would fail by their first bytes.
    HOUSE.check(&[b"/v3/".as_slice(), bytes].concat());
    HOUSE.check(&[b"/v3/spaces?".as_slice(), bytes].concat());
});
