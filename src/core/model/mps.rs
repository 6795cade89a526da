//! What the MPS control daemon and server say.

use serde::{Deserialize, Serialize};

use super::words::words;

words!(
    /// A server's state, as `get_server_status` has it, with the two that it has no word for.
    ServerState {
        /// There is no server.
        None = "none",
        /// The server's state INITIALIZING.
        Initializing = "initializing",
        /// The server's state ACTIVE.
        Active = "active",
        /// FAULT: no new client, every context dead.
        Fault = "fault",
        /// Not known, or not known for too long.
        Unknown = "unknown",
    }
);

words!(
    /// What became of one control command.
    CommandResult {
        /// The daemon answered.
        Answered = "answered",
        /// It serves another caller: try again.
        Refused = "refused",
        /// No daemon there.
        Unreachable = "unreachable",
        /// It took the command and never answered.
        Timeout = "timeout",
        /// It was never asked: mpswarden could not run the command. It says nothing of the daemon.
        NotAsked = "not_asked",
    }
);

/// One line of the server or the control daemon that says something (recorded in FACTS' daemon.log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerLine {
    /// `Starting new server N for user U`.
    Starting {
        /// The server's pid.
        server: u32,
        /// The user it serves.
        uid: u32,
    },
    /// `NEW SERVER N: Ready`: ACTIVE from here.
    Ready {
        /// The server's pid.
        server: u32,
    },
    /// `Server N exited with status S`.
    Exited {
        /// The server's pid.
        server: u32,
        /// Exit status of the server.
        status: i32,
    },
    /// `Server N terminated by signal S`.
    Signalled {
        /// The server's pid.
        server: u32,
        /// The signal.
        signal: i32,
    },
    /// `Client disconnected. Number of active client contexts is N`, of drivers that don't say whose: a context ends.
    SomeoneLeft {
        /// The server's pid.
        server: u32,
        /// Contexts that are left.
        contexts: u32,
    },
    /// `Client process disconnected`, of such drivers.
    SomeoneGone {
        /// The server's pid.
        server: u32,
    },
    /// `Exiting`: it ends in order, without a client, because the control daemon asked it to.
    Leaving {
        /// The server's pid.
        server: u32,
    },
    /// `Client {PID: n, Context: 1} encountered a fatal GPU error.`: names the client that connected first, whichever
    /// did it. Comes before `Fatal`, for memory faults only.
    Blamed {
        /// The server's pid.
        server: u32,
        /// The client that it names.
        client: u32,
    },
    /// `Server is handling a fatal GPU error.`: FAULT from here.
    Fatal {
        /// The server's pid.
        server: u32,
    },
    /// `Client {PID: n, Context ID: c} on device d to be torn down`: its contexts die with the fault. Follows `Fatal`, since
    /// driver 580.
    Torn {
        /// The server's pid.
        server: u32,
        /// The client's pid.
        client: u32,
    },
    /// `The following devices will be reset:`: it has named everyone whose contexts die.
    TornAll {
        /// The server's pid.
        server: u32,
    },
    /// `Client {PID: n, Context ID: c} connected`.
    Connected {
        /// The server's pid.
        server: u32,
        /// The client's pid.
        client: u32,
    },
    /// `Client {PID: n, Context ID: c} exiting. ...`: a context of it ends; the first word of a client's end, and of
    /// a killed one's long before its process is gone.
    Exiting {
        /// The server's pid.
        server: u32,
        /// The client's pid.
        client: u32,
    },
    /// `Client process n disconnected`.
    Disconnected {
        /// The server's pid.
        server: u32,
        /// The client's pid.
        client: u32,
    },
    /// `Failed to accept client {PID: n, ...} with status s`.
    Refused {
        /// The server's pid.
        server: u32,
        /// The client's pid.
        client: u32,
        /// The CUDA error it gets, 807 in a fault.
        status: u32,
    },
    /// `Failed to accept new client. Maximum number of clients (48) reached.`: the one that connected just before
    /// gets CUDA error 46, and is disconnected in the same millisecond.
    Full {
        /// The server's pid.
        server: u32,
        /// Clients that it takes.
        limit: u32,
    },
    /// `NEW CLIENT n from user u: Server is not ready, push client to pending list`.
    Pending {
        /// The client's pid.
        client: u32,
        /// User of the client.
        uid: u32,
    },
}
