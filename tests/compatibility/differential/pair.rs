//! The two programs side by side.

use std::collections::BTreeMap;
use std::process::ExitStatus;

use crate::differential::answers::{difference, head};
use crate::differential::explained::{Why, expected, reworded, with_head};
use crate::differential::http::{Answer, Request};
use support::eventually;
use support::programs::Program;

/// Both programs, and what differed so far.
#[derive(Debug)]
pub(crate) struct Pair {
    reference: Program,
    ours: Program,
    /// The subject of the requests to come, for messages.
    case: String,
    differences: Vec<String>,
    met: BTreeMap<Why, usize>,
    requests: usize,
    settled: usize,
}

impl Pair {
    /// Starts both with the same flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_each(flags, flags)
    }

    /// Starts each with flags of its own.
    pub(crate) fn start_each(reference: &[&str], ours: &[&str]) -> Self {
        let ours = [&["--ttl.default=never"], ours].concat();
        Self {
            reference: Program::reference(reference),
            ours: Program::ours(&ours),
            case: String::new(),
            differences: Vec::new(),
            met: BTreeMap::new(),
            requests: 0,
            settled: 0,
        }
    }

    /// A pair that tables can use: groups can be wiped between cases.
    pub(crate) fn with_wipe() -> Self {
        Self::start(&["--web.enable-admin-api"])
    }

    /// Says what the requests to come are about.
    pub(crate) fn case(&mut self, case: impl Into<String>) {
        self.case = case.into();
    }

    pub(crate) fn reference(&self) -> &Program {
        &self.reference
    }

    pub(crate) fn ours(&self) -> &Program {
        &self.ours
    }

    /// Whether a difference was met that this explains.
    pub(crate) fn met(&self, why: Why) -> bool {
        self.met.contains_key(&why)
    }

    pub(crate) fn send(&mut self, request: &Request) -> (Answer, Answer) {
        self.requests += 1;
        (request.send(self.reference.address()), request.send(self.ours.address()))
    }

    /// Sends a request to both, whose answers have to be the same but for what is explained.
    /// Returns ours.
    pub(crate) fn same(&mut self, request: &Request) -> Answer {
        let (mut reference, ours) = self.send(request);
        if request.method == "HEAD" {
            // It has to be what GET answers there, without the body.
            reference = request.with_method("GET").send(self.reference.address());
            self.meet(Why::Head);
        }
        let mut understood = request.clone();
        while let Some((why, other)) = reworded(&understood, &reference, &ours) {
            reference = other.send(self.reference.address());
            understood = other;
            self.meet(why);
        }
        if let Some((why, expected)) = expected(&understood, &reference, &ours) {
            reference = expected;
            self.meet(why);
        }
        if with_head(&mut reference) {
            self.meet(Why::Head);
        }
        if request.method == "HEAD" {
            reference.body.clear();
        }
        if let Some(difference) = difference(&reference, &ours) {
            self.differ(request, &difference);
        }
        ours
    }

    /// Sends a request to both, whose answers have to differ for this reason, and ours have this
    /// status. Returns it.
    pub(crate) fn differs(&mut self, why: Why, request: &Request, status: u16) -> Answer {
        let (reference, ours) = self.send(request);
        self.meet(why);
        if difference(&reference, &ours).is_none() {
            self.differ(request, &format!("{why:?} is no longer a difference: {}", head(&ours)));
        } else if ours.status != Some(status) {
            let text = ours.text();
            self.differ(request, &format!("{why:?}: not a {status} but {} {text:?}", head(&ours)));
        }
        ours
    }

    /// Sends a push that the reference takes and that is refused here, in words among which are these.
    /// Then both forget everything, so that what follows can be compared. Needs the admin API.
    pub(crate) fn refuses(&mut self, why: Why, request: &Request, words: &str) {
        let (reference, ours) = self.send(request);
        self.meet(why);
        if reference.status != Some(200) {
            self.differ(request, &format!("the reference refuses it: {}", head(&reference)));
        }
        if ours.status != Some(400) || !ours.text().contains(words) {
            let text = ours.text();
            self.differ(request, &format!("no 400 with {words:?}: {} {text:?}", head(&ours)));
        }
        self.wipe();
    }

    /// Sends a request to this gateway alone.
    pub(crate) fn only_ours(&self, request: &Request) -> Answer {
        request.send(self.ours.address())
    }

    /// Sends a request to the reference alone.
    pub(crate) fn only_reference(&self, request: &Request) -> Answer {
        request.send(self.reference.address())
    }

    fn meet(&mut self, why: Why) {
        *self.met.entry(why).or_default() += 1;
    }

    /// Notes a difference that nothing explains.
    pub(crate) fn differ(&mut self, what: &impl std::fmt::Display, difference: &str) {
        let case = &self.case;
        let colon = if case.is_empty() { "" } else { ": " };
        self.differences.push(format!("{case}{colon}{what}\n{difference}"));
    }

    /// Takes a promise about us as broken if it is.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.differ(&what, "does not hold");
        }
    }

    /// Waits until all that was sent to both is applied: deletes, wipes and unchecked pushes are
    /// only queued when they are answered, behind each other.
    pub(crate) fn settle(&mut self) {
        let marker = |round| format!("/metrics/job/settled/round/{round}");
        let previous = Request::delete(marker(self.settled));
        self.settled += 1;
        let push = Request::put(marker(self.settled), "");
        let mark = format!("\"round\":\"{}\"", self.settled);
        for address in [self.reference.address(), self.ours.address()] {
            previous.send(address);
            push.send(address);
            eventually("the push that marks the end of the queue", || {
                let groups = Request::get("/api/v1/metrics").send(address);
                // Where there is no list yet, pushes are at least applied in order.
                (groups.status != Some(200) || groups.text().contains(&mark)).then_some(())
            });
        }
    }

    /// The stores of both have to be the same, however one looks at them.
    pub(crate) fn same_state(&mut self) {
        self.settle();
        self.same(&Request::get("/metrics"));
        self.same(&Request::get("/api/v1/metrics"));
    }

    /// Has both forget everything. Needs the admin API.
    pub(crate) fn wipe(&mut self) {
        // Compared in full in `lifecycle`.
        let (reference, ours) = self.send(&Request::new("PUT", "/api/v1/admin/wipe"));
        assert_eq!((reference.status, ours.status), (Some(202), Some(202)));
        self.settled = 0;
        self.settle();
    }

    /// Waits until both have ended by themselves; the reference comes first. Nothing may have
    /// differed until then.
    #[track_caller]
    pub(crate) fn ended(mut self) -> [ExitStatus; 2] {
        let differences = self.take_differences();
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
        [self.reference.ended(), self.ours.ended()]
    }

    /// Takes what differed so far.
    pub(crate) fn take_differences(&mut self) -> Vec<String> {
        std::mem::take(&mut self.differences)
    }

    /// Fails if anything differed without a reason.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        let differences = self.take_differences();
        assert!(
            differences.is_empty(),
            "{} of {} requests differ:\n\n{}\n",
            differences.len(),
            self.requests,
            differences.join("\n\n")
        );
    }
}
