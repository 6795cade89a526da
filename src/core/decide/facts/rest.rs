//! Why an engine is to have no process: the stage that it stays in, and that in words.

use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::Stage;

/// The stage of an engine that is out for this reason.
pub(crate) fn stage_of(rest: Rest) -> Stage {
    match rest {
        Rest::Stopped | Rest::Apart | Rest::Done => Stage::Stopped,
        Rest::Quarantined | Rest::CrashLoop | Rest::Guilty => Stage::Quarantined,
    }
}

/// Why an engine is out, for people; of one that failed too often its last failure says it.
pub(crate) fn note_of(rest: Option<Rest>) -> Option<String> {
    match rest? {
        Rest::Stopped => Some("an operator stopped it".to_owned()),
        Rest::Quarantined => Some("an operator took it out for good".to_owned()),
        Rest::CrashLoop => None,
        Rest::Done => Some("its work is done: it ended in order, and on_clean_end says to leave it so".to_owned()),
        Rest::Apart => Some(
            "stopped while its group's faults repeat: it may be the cause, and starts by itself once that is decided"
                .to_owned(),
        ),
        Rest::Guilty => Some("it was proven guilty of its group's repeated faults".to_owned()),
    }
}
