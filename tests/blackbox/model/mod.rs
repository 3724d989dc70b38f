//! Random operations on a gateway, next to a model that is too simple to be wrong.
//!
//! In the model, time passes for every group at once, the whole would-be state is judged for every
//! push, and [`Op::Reap`] and [`Op::Restart`] do nothing: neither may be observable, not even in a
//! help text.

mod ops;
mod real;
mod reference;

use proptest::prelude::*;

use ops::{Op, ops};
use real::Real;
use reference::Reference;

/// Does the same to both, and compares what they answer and what they show. `pause`: deadlines stand
/// still while the gateway is down.
fn check(pause: bool, ops: &[Op]) {
    let mut real = Real::start(pause);
    let mut reference = Reference::new(real.start_millis());
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Push(push) => {
                assert_eq!(real.push(push), reference.push(push), "operation {at}, {op:?}");
            }
            Op::Delete(key) => {
                real.delete(key);
                reference.delete(key);
            }
            Op::Wipe => {
                real.wipe();
                reference.wipe();
            }
            Op::Override(key, ttl) => {
                real.set_ttl(key, *ttl);
                reference.set_ttl(key, *ttl);
            }
            Op::Touch(key) => {
                real.touch(key);
                reference.touch(key);
            }
            Op::Policy(policy) => {
                let foretold = real.preview_policy(*policy);
                real.set_policy(*policy);
                reference.set_policy(*policy);
                assert_eq!(real.deadlines(), foretold, "the preview of operation {at}, {op:?}");
            }
            Op::Restore(key) => {
                assert_eq!(real.restore(key), reference.restore(key), "operation {at}, {op:?}");
            }
            Op::Advance(millis) => {
                let stay = real.preview(*millis);
                real.advance(*millis);
                reference.advance(*millis);
                assert_eq!(real.deadlines(), stay, "the preview of operation {at}, {op:?}");
            }
            Op::Down(millis) => {
                real.go_down(*millis);
                reference.go_down(*millis, pause);
            }
            Op::StepWall(millis) => {
                real.step_wall(*millis);
                reference.step_wall(*millis);
            }
            Op::Reap => real.reap(),
            Op::Restart => real.restart(),
        }
        assert_eq!(real.scrape(), reference.scrape(), "after operation {at}, {op:?}");
        assert_eq!(real.deadlines(), reference.deadlines(), "after operation {at}, {op:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_gateway_shows_what_the_model_shows(pause in any::<bool>(), ops in ops()) {
        check(pause, &ops);
    }
}
