#![no_main]

use tidegate_fuzz as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::fuzzing::gob(data));
