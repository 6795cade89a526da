//! What silences what, asked of a real Alertmanager.

use crate::alerts::alertmanager::{Alertmanager, Known, Labels};
use crate::alerts::shipped::cases;
use crate::support::running::eventually;

/// Whom notifications go to: what is asked here is known without them.
const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

fn name(labels: &Labels) -> &str {
    &labels["alertname"]
}

/// Asserts that `source` itself silences those alerts and not these.
fn assert_silences(source: Labels, silenced: &[Labels], heard: &[Labels]) {
    let Some(alertmanager) = Alertmanager::start(NOBODY.into()) else { return };
    let all = [std::slice::from_ref(&source), silenced, heard].concat();
    alertmanager.fire(&all);
    let by_source = |known: &[Known]| -> Vec<Labels> {
        let fingerprint = &known.iter().find(|alert| alert.labels == source).unwrap().fingerprint;
        let silenced = known.iter().filter(|alert| alert.status.inhibited_by.contains(fingerprint));
        silenced.map(|alert| alert.labels.clone()).collect()
    };
    // The inhibitor hears of a source a moment after the API does.
    let found = eventually("all alerts, and as many silenced as should be", || {
        let known = alertmanager.alerts();
        let whole = known.len() == all.len() && by_source(&known).len() >= silenced.len();
        whole.then(|| by_source(&known))
    });
    assert!(silenced.iter().all(|labels| found.contains(labels)), "{} silences {found:?}", name(&source));
    assert_eq!(found.len(), silenced.len(), "{} silences {found:?}", name(&source));
}

macro_rules! alert {
    ($name:literal $(, $label:ident = $value:literal)*) => {{
        let labels = [("alertname", $name), ("instance", "host-1") $(, (stringify!($label), $value))*];
        Labels::from(labels.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }};
}

#[test]
fn a_recovery_in_progress_silences_the_engines_of_its_group_and_nothing_else() {
    assert_silences(
        alert!("MpsRecoveryInProgress", group = "a", severity = "info"),
        &[
            alert!("MpsEngineNotServing", group = "a", engine = "x"),
            alert!("MpsEngineDied", group = "a", engine = "x"),
            alert!("MpsEngineQuarantined", group = "a", engine = "x", severity = "critical"),
        ],
        &[
            alert!("MpsEngineNotServing", group = "b", engine = "x"),
            alert!("MpsRecoveryStuck", group = "a"),
            alert!("MpsGroupHeld", group = "a", reason = "memory_not_back"),
            alert!("MpsGroupDown", group = "a"),
            alert!("MpsServerFault", group = "a"),
            alert!("MpsGpuResetNeeded", gpu = "0"),
            alert!("MpswardenBlind", source = "nvml"),
        ],
    );
}

#[test]
fn a_fault_of_the_whole_fleet_is_one_message() {
    assert_silences(
        alert!("MpsFaultsAcrossFleet", job = "mpswarden", severity = "critical"),
        &[
            alert!("MpsGroupHeld", job = "mpswarden", group = "a", reason = "mps_binary_missing"),
            alert!("MpsServerCannotStart", job = "mpswarden", group = "b"),
            alert!("MpsEngineQuarantined", job = "mpswarden", group = "c", engine = "x", severity = "critical"),
            alert!("MpsFaultStorm", job = "mpswarden", group = "d", fault = "server_died"),
        ],
        &[
            alert!("MpsGpuLost", job = "mpswarden", gpu = "0"),
            alert!("MpswardenDown", job = "mpswarden"),
            alert!("MpsGroupHeld", job = "another", group = "a", reason = "memory_not_back"),
        ],
    );
}

#[test]
fn a_held_group_silences_what_follows_from_it() {
    assert_silences(
        alert!("MpsGroupHeld", group = "a", reason = "budget_spent", severity = "critical"),
        &[
            alert!("MpsGroupDown", group = "a"),
            alert!("MpsRecoveryOverdue", group = "a"),
            alert!("MpsServerFault", group = "a"),
            alert!("MpsControlDaemonDown", group = "a"),
            alert!("MpsEngineNotServing", group = "a", engine = "x"),
            alert!("MpsRestartBudgetSpent", group = "a"),
        ],
        &[
            alert!("MpsRecoveryStuck", group = "a"),
            alert!("MpsEngineHang", group = "a", engine = "x"),
            alert!("MpsGroupDown", group = "b"),
        ],
    );
}

#[test]
fn a_group_held_for_another_reason_still_says_that_its_budget_is_spent() {
    assert_silences(
        alert!("MpsGroupHeld", group = "a", reason = "process_stuck"),
        &[alert!("MpsGroupDown", group = "a")],
        &[alert!("MpsRestartBudgetSpent", group = "a")],
    );
}

#[test]
fn a_stuck_recovery_does_not_silence_that_the_group_is_held() {
    assert_silences(
        alert!("MpsRecoveryStuck", group = "a", step = "gone"),
        &[alert!("MpsGroupDown", group = "a")],
        &[alert!("MpsGroupHeld", group = "a")],
    );
}

#[test]
fn a_group_that_is_down_silences_engines_that_do_not_serve() {
    assert_silences(
        alert!("MpsGroupDown", group = "a"),
        &[alert!("MpsEngineNotServing", group = "a", engine = "x")],
        &[alert!("MpsEngineHostOom", group = "a", engine = "x")],
    );
}

#[test]
fn a_quarantined_engine_silences_only_its_own_absence() {
    assert_silences(
        alert!("MpsEngineQuarantined", group = "a", engine = "x"),
        &[alert!("MpsEngineNotServing", group = "a", engine = "x")],
        &[alert!("MpsEngineHang", group = "a", engine = "y")],
    );
}

#[test]
fn a_lost_gpu_silences_the_xids_of_that_gpu() {
    assert_silences(
        alert!("MpsGpuLost", gpu = "0", xid = "79"),
        &[alert!("MpsGpuXidSevere", gpu = "0", xid = "48")],
        &[alert!("MpsGpuXidSevere", gpu = "1", xid = "48")],
    );
}

#[test]
fn a_probe_that_does_not_work_silences_that_its_group_has_no_windows() {
    assert_silences(
        alert!("MpsProbeUnavailable", group = "a", engine = "x", severity = "info"),
        &[alert!("MpswardenSourceDown", source = "probe", group = "a")],
        &[
            alert!("MpswardenSourceDown", source = "probe", group = "b"),
            alert!("MpswardenSourceDown", source = "kmsg"),
            alert!("MpsEngineSlowedDown", group = "a", engine = "x"),
        ],
    );
}

#[test]
fn a_watchdog_that_is_down_silences_nothing_that_its_groups_had_to_say() {
    assert_silences(
        alert!("MpswardenDown", severity = "critical"),
        &[alert!("MpswardenStatusStale")],
        &[
            alert!("MpswardenBlind", source = "nvml"),
            alert!("MpsGroupHeld", group = "a"),
            alert!("MpsGroupDown", group = "a"),
            alert!("MpsEngineNotServing", group = "a", engine = "x"),
        ],
    );
}

/// Fires everything that can fire at once, in one group of one instance, but for a fault of the whole fleet.
#[test]
fn a_held_group_and_a_stuck_recovery_are_never_silenced() {
    let Some(alertmanager) = Alertmanager::start(NOBODY.into()) else { return };
    let firing = cases().into_iter().flat_map(|case| {
        let name = case.alertname;
        case.exp_alerts.into_iter().map(move |mut alert| {
            alert.exp_labels.insert("alertname".to_owned(), name.clone());
            alert.exp_labels
        })
    });
    let all: Vec<Labels> = firing.filter(|labels| name(labels) != "MpsFaultsAcrossFleet").collect();
    alertmanager.fire(&all);
    let silent = |alert: &Known| !alert.status.inhibited_by.is_empty();
    eventually("some that are silenced", || alertmanager.alerts().iter().any(silent).then_some(()));
    let loud = ["MpsGroupHeld", "MpsRecoveryStuck", "MpswardenDown", "MpswardenBlind", "MpsGpuLost"];
    for alert in alertmanager.alerts() {
        assert!(!silent(&alert) || !loud.contains(&name(&alert.labels)), "{alert:?}");
    }
}
