//! Bounds for what the targets allocate at a time.

use std::alloc::System;

use cap::Cap;

/// Far more than the inputs, and the limits of the gateways that read them, allow. Beyond it the
/// process ends, which is a finding.
const BYTES_MAX: usize = 128 << 20;

/// How often a body is there in one form or another at the same time: parsed, rendered, parsed again.
const FORMS: usize = 4;

/// Runs a target on a body, which may allocate a number of times its size. Beyond it the process ends.
pub fn bounded(body: &[u8], target: impl FnOnce(&[u8])) {
    let most = FORMS * tidegate::fuzzing::bytes_max(body.len());
    let within = |bytes: usize| ALLOCATOR.set_limit(bytes).expect("less is allocated");
    within(BYTES_MAX.min(ALLOCATOR.allocated() + most));
    target(body);
    within(BYTES_MAX);
}

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, BYTES_MAX);
