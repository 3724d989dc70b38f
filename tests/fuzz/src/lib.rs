//! What all targets have in common: a bound for what they allocate at a time.

use std::alloc::System;

use cap::Cap;

/// Far more than the inputs, and the limits of the gateways that read them, allow. Beyond it the
/// process ends, which is a finding.
const BYTES_MAX: usize = 128 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, BYTES_MAX);
