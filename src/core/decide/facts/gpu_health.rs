//! What is wrong with a GPU itself: lost, to be reset, or to be drained. The driver's word decides, by NVML's recovery
//! action; the table of Xids only where that word does not come. What was found stays until a reading disproves it.

use std::time::Duration;

use super::xid::{Meaning, meaning};
use crate::model::gpu::RecoveryAction;
use crate::model::{Fault, HeldReason, Moment};

/// Upper bound for NVML to say what the driver wants, after an Xid that asks for it.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// What a GPU suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is off the bus.
    Lost,
    /// The driver wants this done.
    ResetNeeded(Cure),
    /// The driver wants running work to end, and a reset then.
    Draining,
}

/// What makes a GPU well that needs a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// A reset of the GPU.
    Reset,
    /// A reset of the GPU by its bus.
    BusReset,
    /// A reboot of the node.
    NodeReboot,
    /// A reboot of the whole system.
    SystemReboot,
}

/// A GPU on which nothing may be started, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ailment {
    pub kind: Kind,
    /// The evidence's own time.
    pub since: Moment,
    /// The evidence, for people.
    pub because: String,
    /// NVML refused to answer for it: an answer disproves it.
    refused: bool,
}

impl Ailment {
    /// The fault that it is.
    pub(crate) fn fault(&self) -> Fault {
        if self.kind == Kind::Lost { Fault::GpuLost } else { Fault::GpuResetNeeded }
    }

    /// Why a group on that GPU is held.
    pub(crate) fn held_reason(&self) -> HeldReason {
        if self.kind == Kind::Lost { HeldReason::GpuLost } else { HeldReason::GpuResetNeeded }
    }
}

/// An Xid that asks for the driver's word, while that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doubt {
    since: Moment,
    /// The last Xid of its kind: a reading must have been asked for after `since`, and another one after this.
    latest: Moment,
    xid: u32,
    /// What holds if the driver's word does not come; `None`: nothing.
    otherwise: Option<Kind>,
}

/// What is known of a GPU's health.
#[derive(Clone, Debug, Default)]
pub(crate) struct GpuHealth {
    ailment: Option<Ailment>,
    doubt: Option<Doubt>,
    /// When the last reading that found it well was asked for.
    well: Option<Moment>,
}

impl GpuHealth {
    /// That of several GPUs as one: the first that is sick or in doubt, else the one that was found well longest ago.
    pub(crate) fn worst<'a>(all: impl Iterator<Item = &'a GpuHealth>) -> GpuHealth {
        let worst = all.min_by_key(|health| (health.ailment.is_none(), health.doubt.is_none(), health.well));
        worst.cloned().unwrap_or_default()
    }

    /// The ailment that it has.
    pub(crate) fn ailment(&self) -> Option<&Ailment> {
        self.ailment.as_ref()
    }

    /// Whether a reading that was asked for after `moment` found it well, and nothing has been wrong with it since.
    pub(crate) fn well_since(&self, moment: Moment) -> bool {
        self.ailment.is_none() && self.well.is_some_and(|asked| asked >= moment)
    }

    /// Whether the driver's word is wanted at once.
    pub(crate) fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// When the driver's word is out for too long.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.doubt.as_ref().map(|doubt| doubt.since.after(ANSWER_BOUND))
    }

    /// An Xid of it.
    pub(crate) fn xid(&mut self, xid: u32, now: Moment) {
        match meaning(xid) {
            Meaning::Gone => self.lost(format!("Xid {xid}: it has fallen off the bus"), now),
            Meaning::NeedsReset => self.doubt(xid, Some(Kind::ResetNeeded(Cure::Reset)), now),
            Meaning::ActionChanged => self.doubt(xid, None, now),
            Meaning::Evidence => {}
        }
    }

    /// The kernel log says what the driver wants from now on. NVML has the last word.
    pub(crate) fn announced(&mut self, action: RecoveryAction, now: Moment) {
        self.doubt(154, kind_of(action), now);
        if let Some(doubt) = &mut self.doubt {
            // It is of the driver, and so overrules the table. A well GPU must be seen, though.
            doubt.otherwise = kind_of(action).or(doubt.otherwise);
            doubt.xid = 154;
        }
    }

    /// NVML, or Xid 79, says that it is gone.
    pub(crate) fn lost(&mut self, because: String, now: Moment) {
        self.doubt = None;
        self.ails(Kind::Lost, because, now);
        self.refused();
    }

    /// NVML answers to a call that the GPU needs a reset, and to most calls nothing else. What the driver said before of
    /// how stays.
    pub(crate) fn reset_needed(&mut self, because: String, now: Moment) {
        let known = self.ailment.as_ref().is_some_and(|ailment| ailment.kind != Kind::Lost);
        if !known {
            let announced = self.doubt.take().and_then(|doubt| doubt.otherwise);
            self.ails(announced.unwrap_or(Kind::ResetNeeded(Cure::Reset)), because, now);
        }
        self.refused();
    }

    fn refused(&mut self) {
        if let Some(ailment) = &mut self.ailment {
            ailment.refused = true;
        }
    }

    /// A reading that was asked for at `asked` shows this action; `None`: the driver has no such field.
    pub(crate) fn read(&mut self, action: Option<RecoveryAction>, asked: Moment, now: Moment) {
        use RecoveryAction::{NotUnderstood, Unknown};
        // A word that is not understood overrules nothing, and heals nothing.
        let word = action.filter(|action| !matches!(action, Unknown | NotUnderstood));
        let doubt = self.doubt.take_if(|doubt| doubt.since <= asked);
        match (word, &doubt) {
            (Some(action), _) => match kind_of(action) {
                Some(kind) => self.ails(kind, wanted(action, doubt.as_ref()), now),
                None => self.is_well(asked),
            },
            (None, Some(doubt)) => {
                let why = "the driver shows no recovery action, so it can't be known when it is well again";
                self.decide_without(doubt, why, now);
                if self.ailment.is_none() {
                    self.is_well(asked);
                }
            }
            // It answers: it is not lost, and no reset is wanted any more by a call. Whether one that an Xid asked for
            // was done is not known.
            (None, None) if self.ailment.as_ref().is_none_or(|ailment| ailment.refused) => {
                self.is_well(asked);
            }
            (None, None) => {}
        }
        if let Some(doubt) = doubt.filter(|doubt| doubt.latest > asked) {
            self.doubt = Some(Doubt { since: doubt.latest, ..doubt });
        }
    }

    /// A reading that was asked for at `asked` failed.
    pub(crate) fn unread(&mut self, asked: Moment, now: Moment) {
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.since <= asked) {
            self.decide_without(&doubt, "NVML could not read the recovery action", now);
        }
    }

    /// Time has passed. `true`: the driver's word is overdue.
    pub(crate) fn waited(&mut self, now: Moment) -> bool {
        let overdue = self.doubt.take_if(|doubt| doubt.since.after(ANSWER_BOUND) <= now);
        if let Some(doubt) = &overdue {
            let why = format!("NVML did not say what the driver wants within {} s", ANSWER_BOUND.as_secs());
            self.decide_without(doubt, &why, now);
        }
        overdue.is_some()
    }

    pub(crate) fn doubt(&mut self, xid: u32, otherwise: Option<Kind>, now: Moment) {
        match &mut self.doubt {
            Some(doubt) => {
                doubt.latest = now;
                doubt.otherwise = doubt.otherwise.or(otherwise);
            }
            None => self.doubt = Some(Doubt { since: now, latest: now, xid, otherwise }),
        }
    }

    fn decide_without(&mut self, doubt: &Doubt, why: &str, now: Moment) {
        let lost = self.ailment.as_ref().is_some_and(|ailment| ailment.kind == Kind::Lost);
        let Some(kind) = doubt.otherwise.filter(|_| !lost) else { return };
        let says = match (doubt.xid, kind) {
            (154, Kind::ResetNeeded(Cure::NodeReboot)) => "the driver announced that it needs a reboot of the node",
            (154, Kind::ResetNeeded(Cure::SystemReboot)) => "the driver announced that it needs a reboot of the system",
            (154, Kind::ResetNeeded(Cure::BusReset)) => "the driver announced that it needs a reset of its bus",
            (154, Kind::Draining) => "the driver announced that it is to be drained and reset",
            (154, _) => "the driver announced that it needs a reset",
            _ => "it goes with a GPU that needs a reset",
        };
        self.ails(kind, format!("Xid {}: {says}; {why}", doubt.xid), now);
        if let Some(ailment) = &mut self.ailment {
            ailment.since = ailment.since.min(doubt.since);
        }
    }

    /// The same again is no news.
    fn ails(&mut self, kind: Kind, because: String, now: Moment) {
        if self.ailment.as_ref().is_none_or(|ailment| ailment.kind != kind) {
            self.ailment = Some(Ailment { kind, since: now, because, refused: false });
        }
    }

    /// A reading from before the evidence disproves nothing.
    fn is_well(&mut self, asked: Moment) {
        self.ailment.take_if(|ailment| ailment.since <= asked);
        self.well = Some(asked);
    }
}

/// What an action of the driver's makes of a GPU; `None`: it may be used.
fn kind_of(action: RecoveryAction) -> Option<Kind> {
    match action {
        RecoveryAction::GpuReset => Some(Kind::ResetNeeded(Cure::Reset)),
        RecoveryAction::BusReset => Some(Kind::ResetNeeded(Cure::BusReset)),
        RecoveryAction::NodeReboot => Some(Kind::ResetNeeded(Cure::NodeReboot)),
        RecoveryAction::SystemReboot => Some(Kind::ResetNeeded(Cure::SystemReboot)),
        RecoveryAction::DrainAndReset => Some(Kind::Draining),
        RecoveryAction::None | RecoveryAction::DrainP2p | RecoveryAction::RecoverImexDomain => None,
        RecoveryAction::NotUnderstood | RecoveryAction::Unknown => None,
    }
}

fn wanted(action: RecoveryAction, doubt: Option<&Doubt>) -> String {
    let after = doubt.map_or_else(String::new, |doubt| format!(", after Xid {}", doubt.xid));
    format!("NVML shows the recovery action {action}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    fn kind(health: &GpuHealth) -> Option<Kind> {
        health.ailment().map(|ailment| ailment.kind)
    }

    /// An Xid that goes with a reset, at 1 s.
    fn in_doubt() -> GpuHealth {
        let mut health = GpuHealth::default();
        health.xid(95, at(1000));
        health
    }

    const RESET: Option<Kind> = Some(Kind::ResetNeeded(Cure::Reset));

    #[test]
    fn a_reading_from_before_an_xid_neither_clears_nor_convicts_the_gpu() {
        let mut health = in_doubt();
        health.read(Some(RecoveryAction::None), at(999), at(1001));
        health.unread(at(999), at(1002));
        assert!(health.in_doubt() && health.ailment().is_none());
        health.read(Some(RecoveryAction::None), at(1002), at(1003));
        assert!(!health.in_doubt() && health.well_since(at(1002)));
    }

    #[test]
    fn an_xid_that_comes_while_the_driver_answers_is_asked_about_again() {
        let mut health = in_doubt();
        health.xid(48, at(1003));
        health.read(Some(RecoveryAction::None), at(1002), at(1004));
        assert_eq!((health.deadline(), kind(&health)), (Some(at(3003)), None));
        health.read(Some(RecoveryAction::None), at(1005), at(1006));
        assert!(!health.in_doubt());
    }

    #[test]
    fn without_the_drivers_word_the_table_decides_once() {
        let mut no_field = in_doubt();
        no_field.read(None, at(1001), at(1002));
        let mut fails = in_doubt();
        fails.unread(at(1001), at(1002));
        let mut hangs = in_doubt();
        assert!(!hangs.waited(at(2999)) && hangs.waited(at(3000)) && !hangs.waited(at(3001)));
        assert_eq!((kind(&no_field), kind(&fails), kind(&hangs)), (RESET, RESET, RESET));
        assert_eq!(hangs.ailment().map(|ailment| ailment.since), Some(at(1000)));
    }

    #[test]
    fn what_the_kernel_log_announced_holds_where_nvml_is_silent_and_overrules_the_table() {
        let mut health = in_doubt();
        health.xid(154, at(1001));
        health.announced(RecoveryAction::NodeReboot, at(1001));
        health.unread(at(1001), at(1002));
        assert_eq!(kind(&health), Some(Kind::ResetNeeded(Cure::NodeReboot)));
    }

    #[test]
    fn an_announcement_that_nothing_is_to_be_done_clears_no_gpu_by_itself() {
        let mut health = GpuHealth::default();
        health.read(Some(RecoveryAction::GpuReset), at(0), at(1));
        health.announced(RecoveryAction::None, at(2));
        health.waited(at(9000));
        assert_eq!(kind(&health), RESET);
    }

    #[test]
    fn a_lost_gpu_stays_lost_whatever_the_table_says_until_it_answers() {
        let mut health = GpuHealth::default();
        health.xid(79, at(10));
        health.xid(154, at(20));
        health.announced(RecoveryAction::NodeReboot, at(20));
        health.waited(at(9000));
        assert_eq!(kind(&health), Some(Kind::Lost));
        health.read(None, at(9), at(9001));
        assert_eq!(kind(&health), Some(Kind::Lost), "asked before it was lost");
        health.read(None, at(9002), at(9003));
        assert_eq!(kind(&health), None);
    }

    #[test]
    fn a_driver_without_the_field_can_not_clear_a_gpu_that_needs_a_reset() {
        let mut health = in_doubt();
        health.unread(at(1001), at(1002));
        health.read(None, at(2000), at(2001));
        health.read(Some(RecoveryAction::Unknown), at(3000), at(3001));
        health.read(Some(RecoveryAction::NotUnderstood), at(4000), at(4001));
        assert_eq!(kind(&health), RESET);
    }

    #[test]
    fn a_gpu_for_which_a_call_asked_for_a_reset_is_well_once_it_answers() {
        let mut health = GpuHealth::default();
        health.reset_needed("requires a reset".into(), at(10));
        assert_eq!(kind(&health), RESET);
        health.read(None, at(9), at(11));
        assert_eq!(kind(&health), RESET, "asked before");
        health.read(None, at(12), at(13));
        assert!(kind(&health).is_none() && health.well_since(at(12)));
    }

    #[test]
    fn what_the_driver_said_of_the_cure_stays_when_calls_are_refused() {
        let mut announced = GpuHealth::default();
        announced.announced(RecoveryAction::SystemReboot, at(1));
        announced.reset_needed("requires a reset".into(), at(2));
        let mut read = GpuHealth::default();
        read.read(Some(RecoveryAction::BusReset), at(1), at(2));
        read.reset_needed("requires a reset".into(), at(3));
        assert_eq!(kind(&announced), Some(Kind::ResetNeeded(Cure::SystemReboot)));
        assert_eq!(kind(&read), Some(Kind::ResetNeeded(Cure::BusReset)));
    }

    #[test]
    fn what_is_not_for_this_gpu_or_is_not_understood_ails_nobody() {
        for number in [3, 5, 8, 77, u64::MAX] {
            let mut health = GpuHealth::default();
            health.announced(RecoveryAction::of_number(number), at(1));
            health.read(Some(RecoveryAction::of_number(number)), at(2), at(3));
            assert!(kind(&health).is_none() && health.well_since(at(2)), "{number}");
        }
    }
}
