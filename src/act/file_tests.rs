//! Environment files, links in the place of outputs and directories of others, over real small processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::stage::{LONG, Stage};
use crate::host::clock;
use crate::model::{Action, Outcome};

/// An engine whose environment comes from this file.
struct Filed {
    stage: Stage,
    file: PathBuf,
}

impl Filed {
    fn new() -> Filed {
        let mut stage = Stage::new(&["cd \"$CUDA_MPS_PIPE_DIRECTORY/..\"; echo \"$A\" >told; sleep 1000"]);
        let file = stage.directory.path().join("env");
        stage.group.engines[0].environment_file = Some(file.clone());
        stage.executor.take_up(std::slice::from_ref(&stage.group));
        Filed { stage, file }
    }

    fn start(&self) -> Action {
        Action::StartEngine { instance: self.stage.key(0).instance(1), outside: false }
    }

    async fn why(&mut self) -> String {
        let start = self.start();
        match self.stage.outcome(start).await {
            Outcome::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_engine_has_what_its_file_says_at_each_start() {
    let mut engine = Filed::new();
    fs::write(&engine.file, "A=from the file\n").unwrap();
    engine.stage.start(0).await;
    assert_eq!(engine.stage.written("told").await, "from the file");
    engine.stage.kill_and_prove().await;
}

#[tokio::test]
async fn a_file_that_blocks_never_ends_or_says_nothing_fails_the_start_with_its_name() {
    let mut engine = Filed::new();
    assert!(engine.why().await.contains("can't read environment_file"), "it is not there");
    mkfifo(&engine.file, Mode::S_IRWXU).unwrap();
    assert!(engine.why().await.contains("env`: it is a FIFO"), "a FIFO");
    fs::remove_file(&engine.file).unwrap();
    symlink("/dev/zero", &engine.file).unwrap();
    assert!(engine.why().await.contains("it is a device"), "without an end");
    fs::remove_file(&engine.file).unwrap();
    fs::File::create(&engine.file).unwrap().set_len(1 << 40).unwrap();
    assert!(engine.why().await.contains("it is over 1 MiB"), "too long");
    fs::write(&engine.file, "A=1\nnonsense\n").unwrap();
    assert!(engine.why().await.contains("env:2: not a line"), "no line of a variable");
    fs::write(&engine.file, "A=1\n").unwrap();
    engine.stage.start(0).await;
    engine.stage.kill_and_prove().await;
}

#[tokio::test]
async fn an_engine_that_is_to_end_while_its_file_is_read_is_not_started() {
    let mut engine = Filed::new();
    fs::write(&engine.file, "A=1\n").unwrap();
    let deadline = clock::now().after(LONG);
    // Nothing else runs between the two: the file is not read yet.
    let start = engine.stage.order(engine.start(), deadline);
    let kill = engine.stage.order(engine.stage.kill_all(), deadline);
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let (id, outcome) = engine.stage.finished().await;
        outcomes.insert(id, outcome);
    }
    assert!(matches!(&outcomes[&start], Outcome::Failed { why } if why.contains("was to end")), "{outcomes:?}");
    assert_eq!(outcomes[&kill], Outcome::Killed { processes: vec![] });
    let gone = engine.stage.await_all(vec![]);
    assert_eq!(engine.stage.outcome(gone).await, Outcome::Gone { remaining: vec![] });
    engine.stage.start(0).await;
    engine.stage.kill_and_prove().await;
}

#[tokio::test]
async fn an_output_goes_past_no_link_and_into_no_fifo() {
    let mut stage = Stage::new(&["echo hello; sleep 1000"]);
    let (log, victim) = (stage.group.control.log_directory.join("e0.log"), stage.directory.path().join("victim"));
    fs::write(&victim, "precious\n").unwrap();
    symlink(&victim, &log).unwrap();
    let start = Action::StartEngine { instance: stage.key(0).instance(1), outside: false };
    let why = |outcome| match outcome {
        Outcome::Failed { why } => why,
        other => panic!("{other:?}"),
    };
    let told = why(stage.outcome(start.clone()).await);
    assert!(told.contains("e0.log`: it is a link") && told.contains("remove it"), "{told}");
    fs::remove_file(&log).unwrap();
    mkfifo(&log, Mode::S_IRWXU).unwrap();
    assert!(why(stage.outcome(start).await).contains("it is a FIFO"));
    symlink(&victim, stage.group.control.log_directory.join("daemon.log")).unwrap();
    let told = why(stage.outcome(Action::StartControl { domain: stage.group.domain.clone() }).await);
    assert!(told.contains("daemon.log`: it is a link"), "{told}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
}
