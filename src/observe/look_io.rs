//! The I/O of looks as a test sets it.

use super::*;

/// Answers each command from a table; one that is not in it is never answered.
#[derive(Default)]
pub(super) struct FakeIo {
    pub answers: BTreeMap<&'static str, (CommandResult, &'static str)>,
    pub no_trees: bool,
    pub claimed: Option<ProcessId>,
}

impl LookIo for FakeIo {
    fn command(&self, _: &DomainId, text: &str, _: Duration) -> Answer<(CommandResult, String)> {
        match self.answers.get(text) {
            Some((result, answer)) => Box::pin(ready((*result, (*answer).to_owned()))),
            None => Box::pin(pending()),
        }
    }

    fn trees(&self, _: &DomainId) -> Result<Vec<(Member, Vec<ProcessUsage>)>, String> {
        if self.no_trees {
            return Err("no /proc".into());
        }
        Ok(vec![(engine(), vec![usage()])])
    }

    fn claimed(&self, _: &DomainId) -> Vec<(Member, Vec<ProcessId>)> {
        self.claimed.iter().map(|process| (engine(), vec![*process])).collect()
    }

    fn oom_kills(&self, _: &DomainId) -> Vec<(Member, u64)> {
        vec![(engine(), 1)]
    }

    fn host_memory(&self) -> Option<u64> {
        Some(5)
    }

    fn processes(&self, _: &Member) -> Vec<ProcessId> {
        Vec::new()
    }

    fn knocking(&self, _: &DomainId) -> Answer<Result<Vec<u32>, Blindness>> {
        Box::pin(ready(Ok(vec![9])))
    }

    fn environments(&self, _: &Member) -> Answer<Result<MpsEnvironments, String>> {
        Box::pin(ready(Ok(MpsEnvironments { processes: vec![told()], overwritten: vec![OVERWRITTEN] })))
    }
}
