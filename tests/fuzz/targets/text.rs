#![no_main]

use tidegate::fuzzing;
use tidegate_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(data, fuzzing::text));
