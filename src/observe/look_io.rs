//! The I/O and the driver of looks as a test sets them.

use super::*;

/// A driver that hangs until it is released; it counts its readings.
#[derive(Default)]
pub(super) struct FakeDriver {
    pub hangs: Mutex<bool>,
    pub goes_on: Condvar,
    pub readings: AtomicU32,
    pub fails: bool,
}

impl FakeDriver {
    pub(super) fn hanging() -> Arc<Self> {
        Arc::new(FakeDriver { hangs: Mutex::new(true), ..FakeDriver::default() })
    }

    pub(super) fn let_go(&self) {
        *self.hangs.lock().unwrap() = false;
        self.goes_on.notify_all();
    }
}

impl Gpus for FakeDriver {
    fn read(&self, _: &GpuUuid) -> Result<GpuReading, Unread> {
        self.readings.fetch_add(1, Ordering::SeqCst);
        let hangs = self.hangs.lock().unwrap();
        let _hangs = self.goes_on.wait_while(hangs, |hangs| *hangs).unwrap();
        if self.fails { Err(Unread::Lost("the GPU is lost".into())) } else { Ok(reading()) }
    }

    fn follow_xids(&self, _: &GpuUuid, _: &mut dyn FnMut(Option<u32>) -> ControlFlow<()>) -> Result<(), Unread> {
        Ok(())
    }

    fn close(&self, _: Duration) -> bool {
        true
    }
}

pub(super) fn reading() -> GpuReading {
    GpuReading {
        activity: None,
        memory_used: Some(1),
        memory_total: Some(2),
        busy: None,
        compute: Some(Vec::new()),
        mps: Some(Vec::new()),
        recovery_action: None,
    }
}

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
